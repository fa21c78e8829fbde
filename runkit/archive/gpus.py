"""NVIDIA GPUs of this machine, asked through NVML, or through ``nvidia-smi`` where NVML is not installed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class InstalledGpus(NamedTuple):
    """The GPUs of a machine."""

    gpus: tuple[tuple[str, int | None], ...]
    """Name and memory in bytes of each, by index."""
    driver: str | None


def installed_gpus() -> InstalledGpus:
    """Return the GPUs of this machine; none where there is no driver."""
    with _nvml() as nvml:
        if nvml is None:
            return _by_smi()
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            gpus = tuple(
                (_text(nvml.nvmlDeviceGetName(handle)), int(nvml.nvmlDeviceGetMemoryInfo(handle).total))
                for handle in handles
            )
            return InstalledGpus(gpus, _text(nvml.nvmlSystemGetDriverVersion()))
        except nvml.NVMLError:
            return _by_smi()


def processes_on_gpus() -> dict[int, str]:
    """Return the processes that hold memory on a GPU now, each with the GPU's name and index."""
    holding: dict[int, str] = {}
    with _nvml() as nvml:
        if nvml is None:
            return holding
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    holding[int(process.pid)] = f"{_text(nvml.nvmlDeviceGetName(handle))} {index}"
        except nvml.NVMLError:
            return holding
    return holding


@contextmanager
def _nvml() -> Iterator[Any]:
    """Provide NVML, or None where it is not installed or finds no driver."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _by_smi() -> InstalledGpus:
    command = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return InstalledGpus((), None)
    rows = [line.rsplit(", ", 2) for line in listing.splitlines()]
    known = [row for row in rows if len(row) == 3]
    gpus = tuple(
        (name, int(mebibytes) << 20 if mebibytes.isdigit() else None) for name, mebibytes, _ in known
    )
    return InstalledGpus(gpus, known[0][2] if known else None)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
