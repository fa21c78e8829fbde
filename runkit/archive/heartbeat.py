"""Signs of life of a run: a small file that is replaced while the run goes on, and gone at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runkit.archive.clock import now
from runkit.archive.processes import own_identity
from runkit.archive.writing import write_atomically
from runkit.errors import StorageFailed
from runkit.records.capture import HEARTBEAT_FILE, Heartbeat, ProcessIdentity

INTERVAL_SECONDS = 10
_LAST_LOOK_SECONDS = 5.0


@contextmanager
def heart_beating(
    folder: Path,
    *,
    interval_seconds: int = INTERVAL_SECONDS,
    process: ProcessIdentity | None = None,
    look: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Write signs of life of *process* into *folder* until the block ends, whatever ends it.

    A disk that refuses them does not stop the run. A process that is killed leaves the last one behind.

    Args:
        process: None: this process.
        look: Called as often, to look at what can only be seen while the run goes on. It has a thread of its
            own: a driver that hangs keeps neither the signs of life nor the end waiting.
    """
    process = process or own_identity()
    stop = threading.Event()

    def beat() -> None:
        while True:
            heartbeat = Heartbeat(format=1, at=now(), interval_seconds=interval_seconds, process=process)
            with suppress(StorageFailed):
                write_atomically(folder / HEARTBEAT_FILE, heartbeat.to_json())
            if stop.wait(interval_seconds):
                return

    def keep_looking() -> None:
        while True:
            with suppress(Exception):
                look()
            if stop.wait(interval_seconds):
                return

    thread = threading.Thread(target=beat, name="runkit-heartbeat", daemon=True)
    looking = threading.Thread(target=keep_looking, name="runkit-look", daemon=True)
    thread.start()
    looking.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        looking.join(_LAST_LOOK_SECONDS)
        with suppress(OSError):
            (folder / HEARTBEAT_FILE).unlink()
