"""Standard output and error: nothing reaches them that a terminal obeys, or that has no character there."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

import typer

from runkit.render.escaping import json_escapes, json_text, one_line, visible

if TYPE_CHECKING:
    from rich.console import Console

    from runkit.archive.reading import UnreadableManifest


class Output:
    """A text stream over another one, in place of ``sys.stdout`` or ``sys.stderr`` while a verb runs.

    What would move a cursor, colour, hide or turn round is spelled out, whoever prints it; what the stream
    below has no character for is written as an escape. Colours and bars of our own go to :attr:`beneath`.
    """

    encoding = "utf-8"
    """Of what it takes, which is all of Unicode; libraries that see another one go round it."""
    errors = "backslashreplace"

    def __init__(self, stream: TextIO | None, *, may_fail: bool = False) -> None:
        """Write to *stream*; None is what Python has for a descriptor that was closed before it started.

        Args:
            may_fail: That nothing can be written is no reason to stop, as for errors: there is no other place
                to say it.
        """
        self.beneath = stream
        self.failure: OSError | None = None
        """Why something could not be written."""
        self.is_passed_on = False
        """Whether a verb writes bytes of others to :attr:`buffer`, and answers for what becomes of them."""
        self._may_fail = may_fail

    def write(self, text: str) -> int:
        """Write *text* as it may be shown.

        Raises:
            OSError: It cannot be written; :attr:`failure` is this error.
        """
        if not isinstance(text, str):
            raise TypeError(f"expected str, not {type(text).__name__}")  # as every text stream says it
        shown = visible(text)
        if self.beneath is not None and not is_unicode(self.beneath):
            own = self.beneath.encoding
            shown = shown.encode(own, "backslashreplace").decode(own)
        self._tried(lambda stream: stream.write(shown))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of *lines*."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Let the stream below write what it holds."""
        if self.beneath is not None:
            self._tried(lambda stream: stream.flush())

    @property
    def buffer(self) -> BinaryIO:
        """The bytes below, for what another program prints; what they cannot take is lost and no error."""
        self.is_passed_on = True
        return _PassedOn(self)

    def finish(self) -> None:
        """Flush; what a stream that failed still holds goes nowhere, so that Python does not try again."""
        with suppress(OSError):
            self.flush()
        if self.failure is not None:
            with suppress(OSError, ValueError, AttributeError):
                _point_nowhere(cast("TextIO", self.beneath).fileno())

    def _tried(self, deed: Any) -> None:
        if self.failure is not None and self._may_fail:
            return
        try:
            if self.beneath is None:
                raise OSError(errno.EBADF, "it is closed")
            deed(self.beneath)
        except (OSError, ValueError) as error:  # a stream that was closed raises ValueError
            self.failure = error if isinstance(error, OSError) else OSError(errno.EBADF, str(error))
            if not self._may_fail:
                raise self.failure from (None if self.failure is error else error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


class _PassedOn(io.RawIOBase, BinaryIO):
    """The bytes below an :class:`Output`; who writes them goes on when nobody takes them any more."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, content: Any) -> int:
        if self._output.beneath is not None and self._output.failure is None:
            with suppress(OSError):
                self._output._tried(lambda stream: stream.buffer.write(content))
        return len(content)

    def flush(self) -> None:
        if self._output.beneath is not None and self._output.failure is None:
            with suppress(OSError):
                self._output._tried(lambda stream: stream.buffer.flush())


@contextmanager
def guarded() -> Iterator[tuple[Output, Output]]:
    """Put an :class:`Output` in the place of standard output and error."""
    before = sys.stdout, sys.stderr
    out, err = Output(before[0]), Output(before[1], may_fail=True)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield out, err
    finally:
        out.finish()
        err.finish()
        sys.stdout, sys.stderr = before


def keep_descriptors() -> None:
    """Open standard descriptors that are closed, so that no file of the archive gets one of their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _point_nowhere(descriptor)


def beneath(stream: Any) -> TextIO:
    """Return the stream below an :class:`Output`, or *stream* itself."""
    return cast("TextIO", stream.beneath if isinstance(stream, Output) else stream)


def is_unicode(stream: Any) -> bool:
    """Return whether *stream* has all characters."""
    name = getattr(beneath(stream), "encoding", None) or "utf-8"
    return codecs.lookup(name).name.startswith("utf")


def console(*, width: int | None = None) -> Console:
    """Return the terminal for colours and bars; a text of others goes through ``escaping`` before."""
    from rich.console import Console

    return Console(file=beneath(sys.stdout), width=width)


def print_json(document: Any) -> None:
    """Print *document* for programs."""
    print(json_text(document, only_ascii=not is_unicode(sys.stdout)))


def print_json_text(text: str) -> None:
    """Print *text*, which is JSON already, for programs."""
    print(json_escapes(text, only_ascii=not is_unicode(sys.stdout)), end="")


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print *rows* under each other, each cell as wide as the widest of its column."""
    shown = [tuple(map(one_line, row)) for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def tell_unread(unreadable: Sequence[UnreadableManifest]) -> None:
    """Say which manifests a verb went on without, and end it with exit status 1 if there are any."""
    for one in unreadable:
        print(f"runkit: went on without {one_line(one.message)}", file=sys.stderr)
    if unreadable:
        raise typer.Exit(1)


def _point_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
