"""The surroundings of a run: machine, Python, packages, code. Facts only, and no secrets."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from runkit.archive.code import captured_code, is_tracked
from runkit.archive.environment import captured_arguments, captured_environment
from runkit.archive.gpus import installed_gpus, processes_on_gpus
from runkit.archive.processes import descendants, environment_of
from runkit.records.manifest import Code, Command, Gpu, Hardware, RankDevice, Software

_LAUNCHERS = (
    ("ACCELERATE_MIXED_PRECISION", "accelerate"),  # it starts torchrun
    ("TORCHELASTIC_RUN_ID", "torchrun"),
    ("SLURM_PROCID", "slurm"),
    ("OMPI_COMM_WORLD_RANK", "mpirun"),
)
"""Variables that launchers set for what they launch; the first that is set names the launcher."""


def captured_command(argv: Sequence[str], *, world_size: int | None, also: Sequence[str] = ()) -> Command:
    """Return how this process was started, without what may be secret.

    Args:
        also: Names of more environment variables to write down.
    """
    arguments = captured_arguments(argv)
    environment = captured_environment(os.environ, also=also)
    return Command(
        argv=arguments.argv,
        launcher=next((launcher for name, launcher in _LAUNCHERS if name in os.environ), None),
        world_size=world_size,
        environment=environment.kept,
        missing_because=None,
        cwd=os.fsencode(Path.cwd()).decode(errors="backslashreplace"),
        dropped=(*arguments.dropped, *environment.dropped),
    )


def seen_ranks(pid: int) -> tuple[RankDevice, ...]:
    """Return the ranks among the processes that *pid* started, as they are now, each with its device."""
    on_gpus = processes_on_gpus()
    ranks: dict[int, RankDevice] = {}
    for child in descendants(pid):
        variables = environment_of(child)
        rank, local = variables.get("RANK", ""), variables.get("LOCAL_RANK", "")
        if rank.isdigit() and (int(rank) not in ranks or child in on_gpus):
            ranks[int(rank)] = RankDevice(
                rank=int(rank),
                local_rank=int(local) if local.isdigit() else None,
                host=socket.gethostname(),
                visible_devices=variables.get("CUDA_VISIBLE_DEVICES"),
                gpu=on_gpus.get(child),
            )
    return tuple(ranks[rank] for rank in sorted(ranks))


def captured_hardware() -> Hardware:
    """Return this machine's processors, memory and NVIDIA GPUs."""
    found = installed_gpus()
    kinds: dict[tuple[str, int | None], int] = {}
    for gpu in found.gpus:
        kinds[gpu] = kinds.get(gpu, 0) + 1
    return Hardware(
        gpus=tuple(
            Gpu(name=name, count=count, memory_bytes=memory_bytes)
            for (name, memory_bytes), count in sorted(kinds.items(), key=str)
        ),
        gpu_driver=found.driver,
        cpu_model=_cpu_model(),
        num_cpus=os.cpu_count(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        evidence=None,
    )


def captured_software(code_folder: Path, *, run_folder: Path | None = None) -> Software:
    """Return Python, installed packages, and the state of the package in *code_folder*.

    Args:
        run_folder: Where the difference to the commit is kept; None: it is not kept.
    """
    return Software(
        python_version=platform.python_version(),
        packages=installed_packages(),
        code=_package_code(code_folder, run_folder),
    )


def installed_packages() -> dict[str, str]:
    """Return every installed distribution with its version."""
    packages = {
        distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()
    }
    return dict(sorted(packages.items(), key=lambda pair: pair[0].lower()))


def _package_code(folder: Path, run_folder: Path | None) -> Code:
    """Return the state of the checkout that the package in *folder* belongs to, if it is part of one."""
    if not is_tracked(folder / "__init__.py"):
        return Code(
            git_commit=None, is_dirty=None, missing_because="the code does not run from a git checkout"
        )
    return captured_code(folder, run_folder=run_folder)


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None
