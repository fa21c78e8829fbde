"""Reading the kept files of runs again, with the reader that read them first: in parallel, and each once.

Runs as a program too, for its own worker processes: ``python -m runkit.ingest.rereading`` reads one run as a
line of JSON and answers with a line. Whatever goes wrong in a reader is an answer, not an error, because the
other runs must be read all the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import Any, Protocol

import runkit
from runkit import __version__
from runkit.errors import RecordInvalid, RunkitError, UnknownName
from runkit.ingest.readers import BUILT_IN, ingest
from runkit.records.items import item_digests
from runkit.records.manifest import RunFacts
from runkit.records.outcomes import outcome_digests
from runkit.records.record import canonical_digest
from runkit.records.rereading import KeptFile, KeptRun, Rereading

_WORTH_PROCESSES_BYTES = 48 << 20
"""Starting processes for less than this takes longer than reading it."""

_DO_NOT_READ = frozenset({"cli", "workflows", "engine", "archive", "checks", "audit", "tables", "render"})
"""Packages that no reader stands on."""

_REPLACED = frozenset({"lm-eval"})
"""Readers of older versions that read a run differently from what does so now."""

Progress = Callable[[int, int], object]
"""Is given how many runs were read, and of how many."""


class Cache(Protocol):
    """Where answers are kept, by a digest of all that they depend on."""

    def get(self, key: str) -> bytes | None:
        """Return what was kept under *key*, or None."""

    def put(self, key: str, content: bytes) -> None:
        """Keep *content* under *key*, if that is possible."""


@dataclass(frozen=True)
class _Answer:
    """What one run's files say, as it goes between processes and into the cache."""

    facts: dict[str, Any] | None
    outcomes_sha256: Mapping[str, Mapping[str, str]]
    trouble: str | None
    reader_is_missing: bool = False


def read_again(
    runs: Sequence[KeptRun], *, cache: Cache, jobs: int | None = None, progress: Progress | None = None
) -> Iterator[Rereading]:
    """Yield what the files of each of *runs* say now, in their order.

    Args:
        jobs: Runs that are read at once; None: one a core.
    """
    sources = _sources_digest()
    keys = [_key(run, sources) for run in runs]
    known = [_kept_answer(cache, key) for key in keys]
    num_bytes = sum(
        run.num_bytes for run, answer in zip(runs, known, strict=True) if answer is None and _can_read(run)
    )
    num_processes = (jobs or os.cpu_count() or 1) if num_bytes >= _WORTH_PROCESSES_BYTES else 1
    with _readers(num_processes) as read:
        todo = deque(zip(runs, keys, known, strict=True))
        waiting: deque[tuple[KeptRun, str | None, Future[_Answer] | _Answer | None]] = deque()
        num_read = 0
        while todo or waiting:
            while todo and len(waiting) < 4 * num_processes:
                run, key, answer = todo.popleft()
                waiting.append((run, key, answer or (read(run) if _can_read(run) else None)))
            run, key, found = waiting.popleft()
            if isinstance(found, Future):
                found = found.result()
                if key is not None and found.trouble is None:
                    cache.put(key, json.dumps({"key": key, "answer": asdict(found)}).encode())
            num_read += 1
            if progress is not None:
                progress(num_read, len(runs))
            yield _rereading(run, found)


def _rereading(run: KeptRun, answer: _Answer | None) -> Rereading:
    if answer is None:
        foreign = f"nobody knows what the reader {run.reader!r} reads of files that are not at hand"
        return Rereading(None, not_read_because=run.not_read_because or foreign)
    if answer.reader_is_missing:
        return Rereading(None, not_read_because=answer.trouble)
    if answer.facts is None:
        return Rereading(None, trouble=answer.trouble, not_read_because=run.not_read_because)
    return Rereading(
        facts=RunFacts.from_mapping(answer.facts, origin=run.run_id),
        outcomes_sha256=answer.outcomes_sha256,
        absent=run.absent,
        not_read_because=run.not_read_because,
    )


def _can_read(run: KeptRun) -> bool:
    """Return whether enough is at hand; of readers that are not ours nobody knows what they only look for."""
    return run.is_readable and (run.reader in BUILT_IN or not run.stand_ins)


def _read(run: KeptRun) -> _Answer:
    """Return what the reader of *run* makes of its files."""
    try:
        with _folder_of(run) as root:
            found = ingest(root, run_id=run.run_id, directory_name=run.directory_name, reader=run.reader)
            document: dict[str, Any] = found.facts.model_dump(mode="json")
            return _Answer(document, outcome_digests(found.outcomes) | item_digests(found.items), None)
    except UnknownName:
        reason = f"the reader {run.reader!r} is not installed"
        if run.reader in _REPLACED:
            reason = f"an older runkit read it as {run.reader!r}; preserve it again under a new id"
        return _Answer(None, {}, reason, reader_is_missing=True)
    except RunkitError as error:
        return _Answer(None, {}, str(error))
    except Exception as error:  # noqa: BLE001  # a reader is code of anybody's, and its failing must not hide other runs
        return _Answer(None, {}, f"the reader {run.reader!r} failed: {type(error).__name__}: {error}")


@contextmanager
def _folder_of(run: KeptRun) -> Iterator[Path]:
    """Give a folder that holds the files of *run*, and no others."""
    if run.folder is not None:
        yield Path(run.folder)
        return
    with tempfile.TemporaryDirectory(prefix="runkit-") as folder:
        for file in run.files:
            _below(folder, file.path).symlink_to(file.place)
        for path in run.stand_ins:
            _below(folder, path).touch()
        yield Path(folder)


def _below(folder: str, inside: str) -> Path:
    path = Path(folder, inside)
    if PurePosixPath(inside).is_absolute() or ".." in PurePosixPath(inside).parts:
        raise RecordInvalid(f"the path {inside!r} leads out of the run directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _sources_digest() -> str:
    """Return a digest of the code that reads: the readers, and all that they stand on."""
    digest = hashlib.sha256(__version__.encode())
    root = Path(runkit.__path__[0])
    for path in sorted(root.glob("*/**/*.py")):
        if path.relative_to(root).parts[0] not in _DO_NOT_READ:
            digest.update(f"\n{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _key(run: KeptRun, sources: str) -> str | None:
    """Return the digest of all that the answer for *run* depends on; None when nobody can know it."""
    if run.reader not in BUILT_IN or not run.is_readable:
        return None
    files = [[file.path, file.sha256] for file in run.files]
    names = [run.run_id, run.directory_name, run.reader, run.seal_digest]
    return canonical_digest([sources, names, files, sorted(run.stand_ins)])


def _kept_answer(cache: Cache, key: str | None) -> _Answer | None:
    content = cache.get(key) if key is not None else None
    if content is None:
        return None
    try:
        document = json.loads(content)
        if document["key"] != key:
            return None
        answer = _Answer(**document["answer"])
        RunFacts.from_mapping(answer.facts or {}, origin="the cache")
        is_sound = all(
            isinstance(digest, str) for found in answer.outcomes_sha256.values() for digest in found.values()
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, RecordInvalid):
        return None
    return answer if is_sound and answer.trouble is None else None


@contextmanager
def _readers(num_processes: int) -> Iterator[Callable[[KeptRun], Future[_Answer]]]:
    """Give a function that has a run read, by this process or by others."""
    if num_processes == 1:
        yield _read_here
        return
    workers: SimpleQueue[_Worker] = SimpleQueue()
    started = [_Worker() for _ in range(num_processes)]
    for worker in started:
        workers.put(worker)

    def read(run: KeptRun) -> _Answer:
        worker = workers.get()
        try:
            return worker.read(run)
        finally:
            workers.put(worker)

    with ThreadPoolExecutor(max_workers=num_processes) as pool:
        try:
            yield lambda run: pool.submit(read, run)
        finally:
            pool.shutdown(cancel_futures=True)
            for worker in started:
                worker.stop()


def _read_here(run: KeptRun) -> Future[_Answer]:
    done: Future[_Answer] = Future()
    done.set_result(_read(run))
    return done


class _Worker:
    """A process that reads one run after the other; one that ended is not asked again."""

    def __init__(self) -> None:
        paths = [path for path in sys.path if path]
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__ if __name__ != "__main__" else __spec__.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
                encoding="utf-8",
            )
        except OSError:
            self._process = None

    def read(self, run: KeptRun) -> _Answer:
        """Return what the files of *run* say; read here when the process is not there any more."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return _read(run)
        try:
            process.stdin.write(json.dumps(asdict(run) | {"absent": sorted(run.absent)}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if answer.endswith("\n"):
            return _Answer(**json.loads(answer))
        self._process = None
        process.kill()
        return _read(run)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()


def _serve() -> None:
    """Read runs from standard input, one a line, and answer on standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(2, sys.stdout.fileno())  # what a reader prints is no answer
    for line in sys.stdin:
        document = json.loads(line)
        document["files"] = tuple(KeptFile(**file) for file in document["files"])
        document["absent"] = frozenset(document["absent"])
        answers.write(json.dumps(asdict(_read(KeptRun(**document)))) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
