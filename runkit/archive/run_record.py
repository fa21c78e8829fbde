"""The file ``run.json`` of a run that goes on, as far as the disk takes it: no refusal is an error here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runkit.archive.reserve import ReservedRoom
from runkit.archive.writing import write_atomically
from runkit.errors import StorageFailed
from runkit.records.capture import CAPTURE_FILE, Resumption, RunCapture


class RunRecord:
    """The record of one run, written at its start, when something is found out, and at its end."""

    def __init__(self, folder: Path | None, capture: RunCapture, tell: Callable[[str], None]) -> None:
        """Write *capture* into *folder*; None keeps it in memory alone.

        Args:
            tell: Is told what the disk refuses.
        """
        self.capture = capture
        self._path = folder / CAPTURE_FILE if folder is not None else None
        self._tell = tell
        self._writing = threading.Lock()
        self._was_told = False
        self._is_ended = False
        self._room: ReservedRoom | None = None
        self.write()
        if self._path is not None:
            with suppress(OSError):
                self._room = ReservedRoom(self._path, num_bytes=2 * len(capture.to_json().encode()))

    def add(self, **fields: object) -> None:
        """Change fields of the run."""
        with self._writing:
            self.capture = self.capture.model_copy(update=fields)

    def add_to_start(self, **fields: object) -> None:
        """Change fields of the last start: those of the run itself when it is the first."""
        if not self.capture.resumptions:
            return self.add(**fields)
        *before, last = self.capture.resumptions
        return self.add(resumptions=(*before, last.model_copy(update=fields)))

    @property
    def this_start(self) -> RunCapture | Resumption:
        """What holds command, machine and software of the last start."""
        return self.capture.resumptions[-1] if self.capture.resumptions else self.capture

    def miss(self, what: str) -> None:
        """Write down that something is not recorded, and tell it."""
        self.add(not_recorded=(*self.capture.not_recorded, what))
        self._tell(f"not recorded: {what}")

    def write(self) -> None:
        """Write the record while the run goes on; a disk that refuses it is tried again at the end."""
        if self._path is None:
            return
        try:
            with self._writing:
                if self._is_ended:
                    return
                write_atomically(self._path, self.capture.to_json())
        except (StorageFailed, OSError) as error:
            if not self._was_told:
                self._was_told = True
                self._tell(f"{error}; the program goes on, and the record is written again at its end")

    def end(self) -> None:
        """Write the record with the end of the run, into the room that was kept for it."""
        if self._path is None:
            return
        text = self.capture.to_json()
        try:
            with self._writing:
                self._is_ended = True
                if self._room is not None:
                    self._room.write(text)
                else:
                    write_atomically(self._path, text)
        except (StorageFailed, OSError) as error:
            self._tell(
                f"NOT KEPT: how the run ended ({self.capture.ending}) is not in {self._path}: {error}; "
                "make room on the disk; what the program printed is beside it"
            )
