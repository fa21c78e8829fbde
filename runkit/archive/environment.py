"""Which environment variables and arguments are written down; the deny list is in :mod:`runkit.secrets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from runkit.secrets.arguments import CleanArguments, clean_arguments
from runkit.secrets.names import Verdict, verdict_on
from runkit.secrets.text import DROPPED, secrets_in

__all__ = [
    "DROPPED",
    "CapturedEnvironment",
    "captured_arguments",
    "captured_environment",
]

_PREFIXES = (
    "CUBLAS_", "CUDA_", "CUDNN_", "GLOO_", "HF_", "HIP_", "LOCAL_", "MASTER_", "MKL_", "NCCL_", "NVIDIA_",
    "OMP_", "OPENBLAS_",
    "PMI_", "PYTHON", "PYTORCH_", "RAY_", "ROCR_", "RUNKIT_", "SLURM_", "TOKENIZERS_", "TORCH",
    "TRANSFORMERS_", "WORLD_", "XLA_",
)  # fmt: skip
_NAMES = frozenset({"RANK", "GROUP_RANK", "ROLE_RANK", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "LANG", "TZ"})


class CapturedEnvironment(NamedTuple):
    """The variables that are written down, and the names of those that are not."""

    kept: dict[str, str]
    dropped: tuple[str, ...]


def captured_environment(environment: Mapping[str, str], *, also: Sequence[str] = ()) -> CapturedEnvironment:
    """Return what of *environment* tells how a run computed: launcher, devices, libraries, threads.

    Args:
        also: More names that a person asked for; the deny list holds for them too.
    """
    chosen = sorted(
        name for name in environment if name in _NAMES or name in also or name.startswith(_PREFIXES)
    )
    dropped = tuple(
        name
        for name in chosen
        if (environment[name] and verdict_on(name) is not Verdict.ORDINARY) or secrets_in(environment[name])
    )
    return CapturedEnvironment(
        {name: _storable(environment[name]) for name in chosen if name not in dropped}, dropped
    )


def captured_arguments(argv: Sequence[str]) -> CleanArguments:
    """Return *argv* with :data:`DROPPED` in the place of what may be secret, as any file can hold it."""
    clean = clean_arguments(argv)
    return clean._replace(argv=tuple(map(_storable, clean.argv)))


def _storable(text: str) -> str:
    """Return *text* as any file can hold it: bytes that are no UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode()
