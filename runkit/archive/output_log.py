"""The log of a program that somebody else runs: it takes what the disk takes, and says what was lost.

Needs the standard library alone, because what stands by for a killed wrapper starts with no more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.clock import now

_RETRY_SECONDS = 1.0
_MOST_GAPS = 100
"""More are added to the last one."""


@dataclass
class Gap:
    """Output that is not in the log."""

    log_offset: int
    because: str
    lost_from: str
    lost_until: str
    num_bytes: int = 0


class OutputLog:
    """A log that is only ever added to. No trouble with the disk is raised: the program is worth more."""

    def __init__(self, path: Path, *, tell: Callable[[str], None] = lambda _line: None) -> None:
        """Open the log at *path*, or try again with each writing.

        Args:
            tell: Is told, once, that output is being lost.
        """
        self.path = path
        self.gaps: list[Gap] = []
        self._tell = tell
        self._descriptor: int | None = None
        self._num_bytes = 0
        self._is_at_line_start = True
        self._in_gap = False
        self._retry_at = 0.0
        with suppress(OSError):
            self._open()

    @property
    def num_bytes(self) -> int:
        """Size of the log."""
        return self._num_bytes

    def write(self, content: bytes) -> None:
        """Add *content*, as far as the disk takes it."""
        if self._in_gap and not self._is_past_gap():
            self._lose(len(content))
            return
        num_written = 0
        try:
            while num_written < len(content):
                num_written += self._add(content[num_written:] if num_written else content)
        except OSError as error:
            self._begin_gap(error.strerror or str(error))
            self._lose(len(content) - num_written)

    def write_line(self, text: str) -> None:
        """Add a line of runkit's own, apart from what the program prints."""
        start = "" if self._is_at_line_start else "\n"
        self.write(f"{start}[runkit] {text}\n".encode())

    def close(self) -> None:
        """Say in the log what was lost at its end, if there is room now, and close it."""
        self._retry_at = 0.0
        if self._in_gap:
            self._is_past_gap()
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o666)
            self._num_bytes = os.fstat(self._descriptor).st_size
            last = os.pread(self._descriptor, 1, self._num_bytes - 1) if self._num_bytes else b"\n"
            self._is_at_line_start = last == b"\n"
        return self._descriptor

    def _add(self, content: bytes) -> int:
        num_written = os.write(self._open(), content)
        self._num_bytes += num_written
        if num_written:
            self._is_at_line_start = content[num_written - 1 : num_written] == b"\n"
        return num_written

    def _begin_gap(self, because: str) -> None:
        self._in_gap = True
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if not self.gaps:
            self._tell(
                f"NOT KEPT: {self.path} takes no output after byte {self._num_bytes}: {because}; the program "
                "goes on and its output is passed on here; make room on the disk, and the log goes on too"
            )
        if len(self.gaps) < _MOST_GAPS:
            self.gaps.append(Gap(self._num_bytes, because, now(), now()))

    def _lose(self, num_bytes: int) -> None:
        self.gaps[-1].num_bytes += num_bytes
        self.gaps[-1].lost_until = now()

    def _is_past_gap(self) -> bool:
        """Return whether there is room again; if so, a line in the log says what is missing there."""
        if time.monotonic() < self._retry_at:
            return False
        gap = self.gaps[-1]
        start = "" if self._is_at_line_start else "\n"
        line = f"{start}[runkit] {gap.num_bytes} bytes of output were lost here: {gap.because}\n".encode()
        before = self._num_bytes
        try:
            if self._add(line) < len(line):
                os.ftruncate(self._open(), before)
                self._num_bytes = before
                raise OSError(gap.because)
        except OSError:
            self._is_at_line_start = not start
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            return False
        self._in_gap = False
        return True
