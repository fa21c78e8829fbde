"""The surroundings of a run: machine, Python, packages, code. Facts only, and no secrets."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime
from importlib import metadata
from pathlib import Path

from runkit.records.manifest import Code, Gpu, Hardware, Software

RELEVANT_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "SLURM_JOB_ID",
    "SLURM_JOB_NUM_NODES",
)
"""The environment variables that are recorded when they are set; none of them holds a secret."""


def now() -> str:
    """Return the time in ISO 8601 with the machine's offset, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def relevant_environment() -> dict[str, str]:
    """Return those of :data:`RELEVANT_VARIABLES` that are set."""
    return {name: os.environ[name] for name in RELEVANT_VARIABLES if name in os.environ}


def captured_hardware() -> Hardware:
    """Return this machine's processors, memory and NVIDIA GPUs."""
    return Hardware(
        gpus=_gpus(),
        cpu_model=_cpu_model(),
        num_cpus=os.cpu_count(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        evidence=None,
    )


def captured_software(code_folder: Path) -> Software:
    """Return Python, installed packages, and the git state of *code_folder*."""
    packages = {
        distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()
    }
    return Software(
        python_version=platform.python_version(),
        packages=dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
        code=_code(code_folder),
    )


def _code(folder: Path) -> Code:
    is_tracked = _output("git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py") is not None
    commit = _output("git", "-C", str(folder), "rev-parse", "HEAD") if is_tracked else None
    if commit is None:
        return Code(
            git_commit=None, is_dirty=None, missing_because="the code does not run from a git checkout"
        )
    changes = _output("git", "-C", str(folder), "status", "--porcelain")
    return Code(git_commit=commit, is_dirty=None if changes is None else bool(changes), missing_because=None)


def _gpus() -> tuple[Gpu, ...]:
    listing = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    kinds: dict[tuple[str, int], int] = {}
    for line in (listing or "").splitlines():
        name, _comma, mebibytes = line.rpartition(", ")
        if name and mebibytes.strip().isdigit():
            kind = (name, int(mebibytes) << 20)
            kinds[kind] = kinds.get(kind, 0) + 1
    return tuple(
        Gpu(name=name, count=count, memory_bytes=memory) for (name, memory), count in sorted(kinds.items())
    )


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None


def _output(*command: str) -> str | None:
    """Return what *command* prints, or None when it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
