"""Which names of settings, options and variables say that their value is a secret; looks at no value.

A name is read as words, whatever its style: ``hubToken``, ``HF_TOKEN`` and ``model_args.hf-token`` end alike.
The last words decide, so that ``max_tokens``, ``token_type`` and ``password_field_name`` are ordinary.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class Verdict(Enum):
    """What a name says of its value."""

    ORDINARY = "ordinary"
    MAYBE = "maybe"
    """Words that models and data have too (``key``, ``mask_token``): only a value that looks drawn at random
    is taken for a secret."""
    SECRET = "secret"  # noqa: S105  # no secret, the word for it
    PASSWORD = "password"  # noqa: S105
    """A secret that people choose: a number or a common word can be one."""


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_COUNTS = frozenset({"num", "n", "max", "min", "count", "len", "size", "total", "sort", "per", "show"})
_ENCODINGS = frozenset({"b64", "base64", "plain", "plaintext", "data", "value"})
_PASSWORDS = frozenset({"password", "passwords", "passwd", "passphrase", "passcode", "pwd", "passwort"})
_SECRETS = frozenset(
    {
        "secret", "secrets", "credential", "credentials", "creds", "jwt", "bearer", "authorization", "auth",
        "dsn",
        "webhook", "cookie", "cookies", "apikey", "apikeys", "secretkey", "accesskey", "privatekey",
        "authtoken",
        "accesstoken", "phpsessid", "jsessionid", "csrftoken", "netrc",
    }
)  # fmt: skip
_LONG_ENDINGS = ("password", "passwd", "passphrase", "apikey", "secretkey", "accesskey", "authtoken")
_KEY_OF = frozenset(
    {
        "account", "admin", "api", "app", "auth", "access", "client", "deploy", "deployment", "encryption",
        "gpg",
        "ingest", "integration", "license", "master", "pgp", "private", "rsa", "secret", "server", "service",
        "session", "shared", "signing", "ssh", "ssl", "storage", "subscription", "tls", "anthropic", "aws",
        "azure",
        "cohere", "comet", "datadog", "gcp", "gemini", "google", "groq", "hf", "huggingface", "mistral",
        "neptune",
        "openai", "openrouter", "replicate", "sendgrid", "stripe", "together", "twilio", "wandb",
    }
)  # fmt: skip
_OWNERS = _KEY_OF | frozenset(
    {
        "bot", "clearml", "csrf", "github", "gitlab", "hub", "id", "identity", "kaggle", "login", "modal",
        "npm", "oauth",
        "personal", "pypi", "read", "refresh", "security", "slack", "telegram", "user", "vault", "write",
        "xsrf",
    }
)  # fmt: skip
_OF_MODELS = frozenset(
    {
        "audio", "begin", "bos", "class", "cls", "decoder", "each", "end", "eoi", "eos", "eot", "eou", "fake",
        "first", "forced", "gen", "generated", "image", "im", "img", "input", "label", "last", "mask",
        "new", "next",
        "one", "output", "pad", "padding", "prefix", "prev", "previous", "prompt", "query", "register",
        "sep", "single",
        "soft", "special", "start", "stop", "suffix", "system", "target", "think", "thinking", "trigger",
        "unk",
        "unknown", "video", "vision", "word", "added", "additional", "extra",
    }
)  # fmt: skip
"""What stands before *token* where a tokenizer speaks."""
_PASS_OF = frozenset(
    {
        "admin",
        "auth",
        "db",
        "ftp",
        "http",
        "login",
        "mysql",
        "pg",
        "proxy",
        "redis",
        "root",
        "smtp",
        "ssh",
        "user",
    }
)
_PHRASES = (
    ("access", "key", "id"), ("private", "key", "id"), ("session", "id"), ("connection", "string"),
    ("webhook", "url"), ("sas", "url"), ("shared", "access", "signature"), ("pass", "word"), ("pass",
    "phrase"),
    ("github", "pat"), ("gitlab", "pat"), ("git", "pat"), ("azure", "pat"), ("devops", "pat"), ("ado", "pat"),
)  # fmt: skip
_MAYBE = frozenset({"key", "keys", "pat", "sas", "session", "sig", "signature", "sid", "tokens"})
_PARAMETERS = frozenset(
    {
        "sig",
        "signature",
        "token",
        "key",
        "auth",
        "code",
        "st",
        "sastoken",
        "awsaccesskeyid",
        "apikey",
        "passwd",
        "pass",
    }
)
"""Of an address, where a value of these grants access by itself."""


@lru_cache(maxsize=4096)
def verdict_on(name: str) -> Verdict:
    """Return what *name* says of the value that it names.

    >>> verdict_on("WANDB_API_KEY").value, verdict_on("db.passwd").value, verdict_on("max_new_tokens").value
    ('secret', 'password', 'ordinary')
    """
    words = [word.lower() for word in _WORD.findall(name[-200:])]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _ENCODINGS):
        words.pop()
    if not words or _COUNTS & set(words[:-1]):
        return Verdict.ORDINARY
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _PASSWORDS or last.endswith(_LONG_ENDINGS[:3]):
        return Verdict.PASSWORD
    if last in {"pass", "pw"} and (not before or before in _PASS_OF):
        return Verdict.PASSWORD
    if last in {f"{owner}pass" for owner in _PASS_OF}:
        return Verdict.PASSWORD
    if last in _SECRETS or last.endswith(_LONG_ENDINGS):
        return Verdict.SECRET
    if any(tuple(words[-len(phrase) :]) == phrase for phrase in _PHRASES):
        return Verdict.SECRET
    if last in {"key", "keys"} and before in _KEY_OF:
        return Verdict.SECRET
    if last == "token":
        return Verdict.MAYBE if before in _OF_MODELS else Verdict.SECRET
    if last == "tokens" and before in _OWNERS:
        return Verdict.SECRET
    return Verdict.MAYBE if last in _MAYBE else Verdict.ORDINARY


def has_owner(name: str) -> bool:
    """Return whether *name* says whose token or key it is, so that no tokenizer can be meant."""
    words = [word.lower() for word in _WORD.findall(name[-200:])]
    return len(words) > 1 and words[-2] in _OWNERS


def grants_access(parameter: str) -> bool:
    """Return whether the value of *parameter* in an address lets its reader in.

    >>> grants_access("X-Amz-Signature"), grants_access("sig"), grants_access("page_token_count")
    (True, True, False)
    """
    plain = parameter.lower()
    if plain.startswith(("x-amz-", "x-goog-")):
        return plain.endswith(("signature", "credential", "security-token"))
    return plain in _PARAMETERS or verdict_on(parameter) in {Verdict.SECRET, Verdict.PASSWORD}
