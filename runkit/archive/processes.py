"""Processes of this machine: telling one from every other, and whether it still lives. Ends none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from runkit.records.capture import ProcessIdentity

_PROC = Path("/proc")
_STATE, _PARENT, _STARTED = 0, 1, 19
"""Places of the fields of ``/proc/<pid>/stat`` after the program's name; proc(5)."""


def identity_of(pid: int) -> ProcessIdentity | None:
    """Return the identity of the living process *pid*, or None when there is none."""
    fields = _stat(pid)
    if fields is None or fields[_STATE] in "ZX":
        return None
    return ProcessIdentity(
        host=socket.gethostname(), boot_id=boot_id(), pid=pid, started_ticks=int(fields[_STARTED])
    )


def own_identity() -> ProcessIdentity:
    """Return the identity of this process."""
    identity = identity_of(os.getpid())
    if identity is None:
        raise RuntimeError("this process is not in /proc")
    return identity


def boot_id() -> str:
    """Return the kernel's id of the time since the machine was started; containers share the host's."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def is_alive(process: ProcessIdentity) -> bool | None:
    """Return whether *process* still lives, or None when it was on another machine.

    A number that was given to another process since, or a machine that was started again, is no life.
    """
    if process.host != socket.gethostname():
        return None
    return identity_of(process.pid) == process


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that *pid* started, and those that they did, as far as they live now."""
    children: dict[int, list[int]] = {}
    for path in _PROC.iterdir():
        if path.name.isdigit() and (fields := _stat(int(path.name))) is not None:
            children.setdefault(int(fields[_PARENT]), []).append(int(path.name))
    waiting = [*children.get(pid, ())]
    while waiting:
        found = waiting.pop(0)
        yield found
        waiting += children.get(found, ())


def environment_of(pid: int) -> dict[str, str]:
    """Return the variables that process *pid* was started with; empty when they cannot be read."""
    try:
        content = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in content.decode(errors="replace").split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def arguments_of(pid: int) -> list[str]:
    """Return the command that process *pid* is now; empty when it cannot be read."""
    try:
        content = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(part) for part in content.split(b"\0")[:-1]]


def executable_of(pid: int) -> str | None:
    """Return the file that process *pid* runs, with all links followed; None when it cannot be read."""
    return _link(pid, "exe")


def folder_of(pid: int) -> str | None:
    """Return the folder that process *pid* is in; None when it cannot be read."""
    return _link(pid, "cwd")


def _link(pid: int, name: str) -> str | None:
    try:
        return str((_PROC / str(pid) / name).readlink())
    except OSError:
        return None


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
