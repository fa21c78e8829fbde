"""Which paths say that a file holds secrets; such a file is never read into a record of code."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from runkit.secrets.names import Verdict, verdict_on

_FOLDERS = frozenset(
    {
        ".aws", ".ssh", ".gnupg", ".kube", ".docker", ".azure", ".gcloud", "gcloud", ".oci",
        ".password-store",
        ".secrets", "secrets", ".vault", ".credentials", ".huggingface", ".kaggle", ".modal",
    }
)  # fmt: skip
_NAMES = re.compile(
    r"\.env(rc|\..+)?|.+\.env|[._]netrc|\.npmrc|\.yarnrc(\.yml)?|\.pypirc|\.pgpass|\.my\.cnf|\.htpasswd|htpasswd"
    r"|\.git-credentials|\.gitconfig|\.dockercfg|\.dockerconfigjson|\.boto|\.s3cfg|\.condarc|\.renviron|\.terraformrc"
    r"|\.vault-token|\.mylogin\.cnf|rclone\.conf|pip\.conf|kaggle\.json|kubeconfig|shadow|cookies(\..+)?|stored_tokens"
    r"|credentials?(\..+)?|client_secrets?.*\.json|service[_-]?account.*\.json|.*-service-account\.json"
    r"|application_default_credentials\.json|token\.(json|pickle|txt)|secrets?\.(ya?ml|toml|json|ini|txt|env)"
    r"|terraform\.tfstate(\..+)?|\.?\w+_history|.*\.(pem|key|p12|pfx|pkcs12|jks|keystore|kdbx?|ppk|p8|gpg|asc|ovpn"
    r"|kubeconfig|tfvars|agekey)|(id|ssh)_(rsa|dsa|ecdsa|ed25519)(_sk)?([._-].+)?",
    re.IGNORECASE,
)
_SAMPLES = re.compile(
    r"\.(example|sample|template|dist|pub)$|[._-](example|sample|template)\b", re.IGNORECASE
)
PROGRAMS = frozenset(
    {
        ".py", ".pyi", ".pyx", ".pxd", ".ipynb", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".js",
        ".jsx", ".ts", ".tsx", ".mjs", ".go", ".rs", ".java", ".kt", ".scala", ".jl", ".r", ".rb", ".php",
        ".lua", ".m", ".swift", ".proto", ".sql", ".cmake", ".gradle",
    }
)  # fmt: skip
"""Suffixes of files that people write programs in."""
_SOURCES = PROGRAMS | frozenset([".md", ".rst", ".tex", ".html", ".css"])
"""A program may be called ``secrets.py``; what it holds is looked at, its name says nothing."""


def says_secret(path: str) -> bool:
    """Return whether *path*, with forward slashes, is where programs and people keep secrets.

    >>> [says_secret(one) for one in (".aws/config", "my_api_key.txt", "tokenizer.json", "secrets.py")]
    [True, True, False, False]
    """
    inside = PurePosixPath(path)
    if any(part.lower() in _FOLDERS for part in inside.parts[:-1]):
        return inside.suffix.lower() not in _SOURCES
    if inside.suffix.lower() in _SOURCES or _SAMPLES.search(inside.name):
        return False
    stem = inside.name.partition(".")[0] or inside.stem.lstrip(".")
    return bool(_NAMES.fullmatch(inside.name)) or verdict_on(stem) in {Verdict.SECRET, Verdict.PASSWORD}
