"""Which environment variables and arguments are written down, and which may be secrets and never are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

DROPPED = "[dropped]"
"""Stands where a value was left out."""

_PREFIXES = (
    "CUBLAS_", "CUDA_", "CUDNN_", "GLOO_", "HF_", "HIP_", "LOCAL_", "MASTER_", "MKL_", "NCCL_", "NVIDIA_",
    "OMP_", "OPENBLAS_",
    "PMI_", "PYTHON", "PYTORCH_", "RAY_", "ROCR_", "RUNKIT_", "SLURM_", "TOKENIZERS_", "TORCH",
    "TRANSFORMERS_", "WORLD_", "XLA_",
)  # fmt: skip
_NAMES = frozenset({"RANK", "GROUP_RANK", "ROLE_RANK", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "LANG", "TZ"})
_SECRET_NAME = re.compile(
    r"TOKEN(?!IZER)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|PRIVATE|COOKIE|JWT|SESSION|SIGNATURE|BEARER|WEBHOOK"
    r"|API_?KEY|ACCESS_?KEY|(^|[_-])(KEY|KEYS|AUTH|PAT|PWD|DSN|SAS)($|[_-])|CONNECTION_STRING",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@|\b(?:hf|ghp|gho|ghs|github_pat|sk|xox[abp])[_-][A-Za-z0-9_-]{16,}|\bAKIA[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w.-]*)(?:=(?P<value>.*))?", re.DOTALL)
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][\w.]*)=(?P<value>.*)", re.DOTALL)


class CapturedEnvironment(NamedTuple):
    """The variables that are written down, and the names of those that are not."""

    kept: dict[str, str]
    dropped: tuple[str, ...]


class CapturedArguments(NamedTuple):
    """A command without what may be secret in it."""

    argv: tuple[str, ...]
    dropped: tuple[str, ...]
    """Names of the options whose values were left out; ``argument 3`` for a value without a name."""


def may_be_secret(name: str, value: str = "") -> bool:
    """Return whether a variable or option called *name* must not be written down with its *value*."""
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def captured_environment(environment: Mapping[str, str], *, also: Sequence[str] = ()) -> CapturedEnvironment:
    """Return what of *environment* tells how a run computed: launcher, devices, libraries, threads.

    Args:
        also: More names that a person asked for; the deny list holds for them too.
    """
    chosen = sorted(
        name for name in environment if name in _NAMES or name in also or name.startswith(_PREFIXES)
    )
    dropped = tuple(name for name in chosen if may_be_secret(name, environment[name]))
    return CapturedEnvironment(
        {name: _storable(environment[name]) for name in chosen if name not in dropped}, dropped
    )


def captured_arguments(argv: Sequence[str]) -> CapturedArguments:
    """Return *argv* with the values of options that may be secrets replaced by :data:`DROPPED`."""
    kept: list[str] = []
    dropped: list[str] = []
    next_is_secret = False
    for place, argument in enumerate(argv):
        option = _OPTION.fullmatch(argument) or _ASSIGNMENT.fullmatch(argument)
        if next_is_secret and not argument.startswith("-"):
            kept.append(DROPPED)
            next_is_secret = False
            continue
        next_is_secret = False
        if option is not None and may_be_secret(option["name"], option["value"] or ""):
            dropped.append(option["name"])
            has_value = option["value"] is not None
            kept.append(argument[: option.start("value")] + DROPPED if has_value else argument)
            next_is_secret = not has_value
        elif _SECRET_VALUE.search(argument):
            dropped.append(f"argument {place}")
            kept.append(DROPPED)
        else:
            kept.append(_storable(argument))
    return CapturedArguments(tuple(kept), tuple(dropped))


def _storable(text: str) -> str:
    """Return *text* as any file can hold it: bytes that are no UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode()
