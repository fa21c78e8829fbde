"""Faults in each system call that changes the disk, one at a time, in a real process.

Run as a program, so that each fault happens in a fresh fork of a small process without threads::

    python -m tests.archive.faults FOLDER

In the fork, the functions of :mod:`os` through which Python changes the disk are replaced by ones that
count, and at the chosen call fail, kill the process before or after it, or write half. What lies on the
disk afterwards is real. ``test_faults.py`` asserts what this prints and, with strace, that no call is
missed.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401  # once here, not again in every fork

from runkit.archive.collecting import leftovers
from runkit.archive.workspace import Workspace
from runkit.errors import AlreadyExists, RunkitError
from runkit.ingest.readers import ingest
from runkit.workflows.gc import collect
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.verify import verify

CHANGING = (
    "open",
    "write",
    "fsync",
    "link",
    "rename",
    "replace",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
    "chmod",
    "utime",
    "truncate",
    "symlink",
)
"""Functions of :mod:`os` that are one system call each; ``open`` counts when it may create a file."""

MODES = ("fails with EIO", "disk full from here", "killed before", "killed after", "half written, killed")

DONE, REFUSED, BROKEN = 0, 3, 4
"""Exit statuses of a fork: it succeeded, it said in one line why not, or it did neither."""

SPACE_TAKING = frozenset({"open", "write", "link", "mkdir", "symlink", "fsync"})


@dataclass
class Fault:
    """The call that goes wrong, and what was counted on the way."""

    at: int | None
    mode: str = MODES[0]
    names: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Replace the functions of :mod:`os` in this process."""
        for name in CHANGING:
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC):
                return real(*arguments, **options)
            index = len(self.names)
            self.names.append(name)
            if index == self.at:
                return self._now(name, real, arguments, options)
            if self.at is not None and index > self.at and self.mode == MODES[1] and name in SPACE_TAKING:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        return call

    def _now(self, name: str, real: Callable[..., Any], arguments: Any, options: Any) -> Any:
        if self.mode == "fails with EIO":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.mode == "disk full from here":
            if name in SPACE_TAKING:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)
        if self.mode == "killed after":
            with suppress(OSError):
                real(*arguments, **options)
        if self.mode == "half written, killed" and name == "write":
            descriptor, content = arguments
            real(descriptor, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")


@dataclass(frozen=True)
class Scene:
    """A workspace with one preserved run, and a run directory that is to be preserved beside it."""

    folder: Path
    request: dict[str, Any]
    run_id: str = "new"

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "workspace")

    @property
    def run(self) -> Path:
        return self.workspace.runs / "new"

    def preserve(self) -> None:
        """Do what is tested."""
        preserve(self.workspace, PreserveRequest(self.run, run_id=self.run_id, **self.request))


def forked(action: Callable[[], None], fault: Fault | None = None) -> tuple[int, str, list[str]]:
    """Run *action* in a fork; return how it ended, what it said, and the calls that it made."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status, said = BROKEN, ""
        try:
            if fault is not None:
                fault.install()
            action()
            status = DONE
        except RunkitError as error:
            status, said = REFUSED, f"{type(error).__name__}: {error}"
        except BaseException:  # noqa: BLE001  # told to the parent, which fails
            said = traceback.format_exc()
        names = fault.names if fault is not None else []
        with os.fdopen(writing, "w") as pipe:
            json.dump([said, names], pipe)
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _pid, ended = os.waitpid(child, 0)
    said, names = json.loads(text) if text else ("", [])
    return os.waitstatus_to_exitcode(ended), said, names


def files_below(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Return kind, mode and bytes of everything below *folder*."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        found[path.relative_to(folder).as_posix()] = (mode, path.read_bytes() if stat.S_ISREG(mode) else None)
    return found


def states_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Return when each file below *folder* was written, and whether it is still the same one."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in folder.rglob("*")
    }


def broken_laws(scene: Scene, fault: Fault, expected: set[str], run_before: Any) -> Iterator[str]:
    """Preserve with *fault* and yield each promise that what is on the disk then breaks."""
    status, said, names = forked(scene.preserve, fault)
    name = names[fault.at] if names and fault.at is not None and fault.at < len(names) else "?"
    workspace = scene.workspace
    is_whole = workspace.manifest_path(scene.run_id).exists()
    if status == BROKEN or ("killed" in fault.mode) != (status == -signal.SIGKILL):
        yield f"ended with {status}: {said}"
    if run_before != (files_below(scene.run), states_below(scene.run)):
        yield "the user's run changed"
    if found := verify(workspace).findings:
        yield f"the archive is damaged: {found}"
    if status == DONE and not is_whole:
        yield "it said that it succeeded"
    if status == REFUSED:
        if is_whole:
            yield f"it said that it failed, and the run is there: {said}"
        if "\n" in said or "StorageFailed" not in said:
            yield f"it did not say in one line that the disk refused: {said}"
        is_cleaning = name in {"unlink", "remove", "rmdir"}
        left = [
            one.path for one in leftovers(workspace) if not one.path.startswith("preserved_runs/.objects")
        ]
        if left and not is_cleaning and "EIO" not in fault.mode:
            yield f"half-written: {left}"
        if left and "EIO" in fault.mode and name in {"open", "write", "link", "mkdir"}:
            yield f"half-written: {left}"
    again, said, _names = forked(scene.preserve)
    if again != (REFUSED if is_whole else DONE) or (is_whole and AlreadyExists.__name__ not in said):
        yield f"the same command ended with {again}: {said}"
    if found := verify(workspace).findings:
        yield f"the archive is damaged after the same command: {found}"
    collect(workspace, dry_run=False)
    now = set(files_below(workspace.root))
    if too_much := now - expected:
        yield f"left over: {sorted(too_much)}"
    # Killed after the manifest, contents may not have been offered to later runs; nothing else may lack.
    if too_little := {one for one in expected - now if not one.startswith("preserved_runs/.objects")}:
        yield f"lacking: {sorted(too_little)}"


def scene_in(folder: Path, request: dict[str, Any]) -> Scene:
    """Return the scene whose workspace lies in *folder*, as the test made it; one run is preserved."""
    return Scene(folder, request)


def try_all(template: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Inject every fault at every call of one ``preserve``; return counts and the promises that broke."""
    rehearsal = Fault(at=None)
    scene = _fresh(template, request)
    # All readers are imported and all schemas built here, once, and not again in each of the forks.
    ingest(scene.run, run_id=scene.run_id, directory_name=scene.run.name)
    gc.freeze()
    _status, said, names = forked(scene.preserve, rehearsal)
    assert names, said
    expected = set(files_below(scene.workspace.root))
    broken, injected = [], Counter[str]()
    for index, name in enumerate(names):
        for mode in MODES:
            if mode == MODES[4] and name != "write":
                continue
            # Nothing changes the disk between two calls: killed before one is killed after the one before.
            if mode == MODES[2] and index > 0:
                continue
            scene = _fresh(template, request)
            before = (files_below(scene.run), states_below(scene.run))
            injected[mode] += 1
            broken += [
                f"call {index} ({name}) {mode}: {law}"
                for law in broken_laws(scene, Fault(index, mode), expected, before)
            ]
    return {"calls": Counter(names), "injected": injected, "broken": broken}


def _fresh(template: Path, request: dict[str, Any]) -> Scene:
    folder = template.parent / "work"
    if folder.exists():
        shutil.rmtree(folder)
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    return scene_in(folder, request)


def unsynced_at_manifest(scene: Scene, *, ignore: str | None = None) -> list[str]:
    """Return what a power cut could take although the manifest survives it.

    Args:
        ignore: Do not do this call and do not count it, to see whether that is found: ``fsync of files``
            or ``fsync of folders``.
    """
    return forked_list(lambda: _watch_syncs(scene, ignore))


def forked_list(action: Callable[[], list[str]]) -> list[str]:
    """Return what *action* returns in a fork."""

    def told() -> None:
        raise RunkitError(json.dumps(action()))

    _status, said, _names = forked(told)
    return [str(one) for one in json.loads(said.removeprefix("RunkitError: "))]


def _watch_syncs(scene: Scene, ignore: str | None) -> list[str]:
    dirty_files: set[int] = set()
    new_names: dict[tuple[int, str], None] = {}
    unsynced: list[str] = []
    real = {
        name: getattr(os, name) for name in ("open", "write", "fsync", "link", "rename", "replace", "mkdir")
    }

    def named(path: Any) -> tuple[int, str]:
        place = Path(path)
        return place.parent.stat().st_ino, place.name

    def opened(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        is_new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        descriptor: int = real["open"](path, flags, *rest, **options)
        if is_new:
            new_names[named(path)] = None
            dirty_files.add(os.fstat(descriptor).st_ino)
        return descriptor

    def written(descriptor: int, content: Any) -> int:
        dirty_files.add(os.fstat(descriptor).st_ino)
        return int(real["write"](descriptor, content))

    def synced(descriptor: int) -> None:
        found = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(found.st_mode)
        if ignore == ("fsync of folders" if is_folder else "fsync of files"):
            return
        real["fsync"](descriptor)
        dirty_files.discard(found.st_ino)
        for key in [key for key in new_names if key[0] == found.st_ino]:
            del new_names[key]

    def made(path: Any, *rest: Any, **options: Any) -> None:
        real["mkdir"](path, *rest, **options)
        new_names[named(path)] = None

    def moved(name: str) -> Callable[..., None]:
        def move(source: Any, target: Any, **options: Any) -> None:
            if Path(target) == scene.workspace.manifest_path(scene.run_id):
                unsynced.extend(_lost(scene, dirty_files, set(new_names), Path(source)))
            real[name](source, target, **options)
            new_names[named(target)] = None
            if name != "link":
                new_names.pop(named(source), None)

        return move

    for name, function in {
        "open": opened, "write": written, "fsync": synced, "mkdir": made,
        "link": moved("link"), "rename": moved("rename"), "replace": moved("replace"),
    }.items():  # fmt: skip
        setattr(os, name, function)
    scene.preserve()
    manifest = scene.workspace.manifest_path(scene.run_id)
    if named(manifest) in new_names:
        unsynced.append("manifest")
    return sorted(unsynced)


def _lost(
    scene: Scene, dirty_files: set[int], new_names: set[tuple[int, str]], manifest: Path
) -> Iterator[str]:
    workspace = scene.workspace
    run = workspace.preserved_path(scene.run_id)
    outcomes = workspace.outcomes_path(scene.run_id)
    for path in (workspace.manifests, workspace.preserved_runs, run, outcomes, manifest, *run.rglob("*")):
        inside = "manifest" if path == manifest else path.relative_to(workspace.root).as_posix()
        if path.is_file() and path.stat().st_ino in dirty_files:
            yield f"bytes of {inside}"
        if path != manifest and (path.parent.stat().st_ino, path.name) in new_names:
            yield f"name of {inside}"


def main() -> None:
    """Try all faults on the template in the folder that the command line names."""
    folder = Path(sys.argv[1])
    template = folder / "template"
    wanted = sys.argv[2]
    if wanted == "faults":
        print(json.dumps(try_all(template, json.loads(sys.argv[3]))))
    elif wanted == "syncs":
        ignored = json.loads(sys.argv[3])
        print(json.dumps([unsynced_at_manifest(_fresh(template, {}), ignore=one) for one in ignored]))
    elif wanted == "calls":
        fault = Fault(at=None)
        fault.install()
        scene = scene_in(template, {})
        (folder / "from here on").exists()  # a mark in the trace
        scene.preserve()
        print(json.dumps(Counter(fault.names)))


if __name__ == "__main__":
    main()
