"""The lines of a log as other programs left them: encodings, escapes, carriage returns. Reads no facts.

A log is read as a stream, a block at a time, so that its size does not matter. Lines are counted by line
feeds, as an editor counts them. Of a line only the pieces are handed on that hold a text that is looked for:
what a carriage return overwrote and nobody knows is skipped, and a known text is found wherever a bar left
it.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from runkit.ingest.bars import BAR

Log = str | bytes | Path
"""A log: its text, its bytes, or where it lies."""

_BLOCK_BYTES = 1 << 18
_LONGEST_PIECE_BYTES = 1 << 22
"""A line that goes on for longer without any carriage return is cut, at a bar where there is one."""
_AROUND_BYTES = 1 << 16

_UTF_16_AND_32 = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_MARK_FIRST = re.compile(rb"(?:(?<=\n)|\A)" + codecs.BOM_UTF8)
"""What a log has in its middle that was put together from several files."""
_ZEROS_FIRST = re.compile(rb"(?:(?<=\n)|\A)\0+")
"""What a log begins with that was truncated under its writer, and what a line feed in UTF-16 leaves."""
_CUT_BY_ZEROS = re.compile(rb"\0{4,}")
"""What a machine that broke down leaves of a last line; the zero that stays lets no value end before it."""
_TO_THE_LEFT = re.compile(rb"\x08+|\x1b\[(?:[12][JK]|[0-9;]*[ABDEFGHSTdfsu]|[0-9;]*3J)|\x1b[78M]")
"""What moves a terminal's cursor back, or wipes the line: the same as a carriage return."""
_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[PX^_][^\x1b\n]*\x1b\\|[ -/]*[0-~])"
)
"""Colours, links and the rest of what a terminal does not show."""


class Piece(NamedTuple):
    """Text of one line between two carriage returns or bars."""

    text: str
    is_cut: bool
    """Whether its end may not be the end of what was written: the log ends there, or a bar came between."""
    follows_bar: bool
    """Whether a bar, or another text that was to be overwritten, stands before it."""

    def whole(self, found: re.Match[str], group: str) -> str | None:
        """Return what *group* matched, or None when something may have cut it."""
        if self.is_cut and found.end(group) == len(self.text):
            return None
        return found[group]


class Line(NamedTuple):
    """One line with something in it."""

    number: int
    pieces: tuple[Piece, ...]
    """Those that hold one of the texts looked for."""
    shown: Piece | None
    """What a terminal shows in the end; None where the line is too long to be read at once."""


@dataclass
class LogLines:
    """The lines of a log that hold one of the texts looked for."""

    source: Log
    needles: Sequence[bytes]
    wants_all: Callable[[], bool] = lambda: False
    """Asked before each line: whether the next one is wanted, whatever it holds."""
    num_lines: int = 0
    """How many lines the log has; known at the end."""

    def __iter__(self) -> Iterator[Line]:
        number, is_inside = 1, False
        self.num_lines = 0
        with _opened(self.source) as stream:
            for block in map(_plain, _blocks(stream)):
                if self.wants_all() or any(needle in block for needle in self.needles):
                    yield from self._lines(block, number, is_inside=is_inside)
                number += block.count(b"\n")
                is_inside = is_inside if not block else not block.endswith(b"\n")
        self.num_lines = number if is_inside else number - 1

    def _lines(self, block: bytes, first: int, *, is_inside: bool) -> Iterator[Line]:
        lines = block.split(b"\n")
        for index, line in enumerate(lines):
            is_last = index == len(lines) - 1
            has_needle = any(needle in line for needle in self.needles)
            if (is_last and not line) or not (has_needle or self.wants_all()):
                continue
            goes_on = is_inside and index == 0
            pieces = self._pieces(line, goes_on=goes_on, has_end=not is_last) if has_needle else ()
            shown = None if goes_on else _shown(line, has_end=not is_last)
            yield Line(first + index, pieces, shown)

    def _pieces(self, line: bytes, *, goes_on: bool, has_end: bool) -> tuple[Piece, ...]:
        segments = line.split(b"\r")
        last = len(segments) - 1
        if last and has_end and not segments[-1]:
            last -= 1
        wanted = [
            place for place, one in enumerate(segments) if any(needle in one for needle in self.needles)
        ]
        goes_on_later = wanted[0] < last and _is_rest_of_a_value(segments[last])
        return tuple(
            piece
            for place in wanted
            for piece in _between_bars(
                segments[place].decode(errors="replace"),
                is_cut=goes_on_later if place < last else not has_end,
                follows_bar=place > 0 or goes_on,
            )
        )


@contextmanager
def _opened(source: Log) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as stream:
            yield io.BufferedReader(stream, _BLOCK_BYTES)
    else:
        yield io.BytesIO(source.encode(errors="replace") if isinstance(source, str) else source)


def holds(source: Log, needle: bytes) -> bool:
    """Return whether *needle* stands in the log, read up to where it does."""
    with _opened(source) as stream:
        return any(needle in _plain(block) for block in _blocks(stream))


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the log in UTF-8, cut after line feeds; in a very long line after carriage returns or bars."""
    rest = b""
    for chunk in _in_utf_8(stream):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
            continue
        rest += chunk
        if len(rest) >= _LONGEST_PIECE_BYTES:
            end = rest.rfind(b"\r") + 1 or _end_of_last_bar(rest)
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _end_of_last_bar(text: bytes) -> int:
    tail = text[-_AROUND_BYTES:].decode("latin-1")
    ends = [found.end() for found in BAR.finditer(tail)]
    return len(text) - len(tail) + ends[-1] if ends else len(text)


def _in_utf_8(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of *stream* without a byte order mark, those of UTF-16 and UTF-32 in UTF-8."""
    chunk = stream.read(_BLOCK_BYTES)
    encoding = next((name for mark, name in _UTF_16_AND_32 if chunk.startswith(mark)), None)
    if encoding is None:
        while chunk:
            yield chunk
            chunk = stream.read(_BLOCK_BYTES)
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    while chunk:
        yield decoder.decode(chunk).encode(errors="replace")
        chunk = stream.read(_BLOCK_BYTES)
    yield decoder.decode(b"", final=True).encode(errors="replace")


def _plain(block: bytes) -> bytes:
    """Return *block* without escapes, without the zeros of a hole or of UTF-16, and without marks."""
    if codecs.BOM_UTF8 in block:
        block = _MARK_FIRST.sub(b"", block)
    if b"\0" in block:
        block = _CUT_BY_ZEROS.sub(b"\0\r", _ZEROS_FIRST.sub(b"", block))
        block = b"\n".join(map(_without_zeros_of_utf_16, block.split(b"\n")))
    if b"\x1b" in block or b"\x08" in block:
        block = _ESCAPES.sub(b"", _TO_THE_LEFT.sub(b"\r", block))
    return block


def _without_zeros_of_utf_16(line: bytes) -> bytes:
    """Return *line*, which another program may have appended in UTF-16; a single zero stays where it is."""
    num_zeros = line.count(b"\0")
    return line.replace(b"\0", b"") if num_zeros > 2 and 5 * num_zeros >= 2 * len(line) else line


def _shown(line: bytes, *, has_end: bool) -> Piece:
    last = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
    pieces = tuple(_between_bars(last, is_cut=not has_end, follows_bar=False))
    return pieces[-1] if pieces else Piece("", is_cut=not has_end, follows_bar=False)


def _between_bars(text: str, *, is_cut: bool, follows_bar: bool) -> Iterator[Piece]:
    """Yield what stands before, between and after the bars in *text*."""
    start = 0
    for bar in BAR.finditer(text):
        if bar.start() > start:
            yield Piece(text[start : bar.start()], _is_digit_after(text, bar.end()), follows_bar)
        start, follows_bar = bar.end(), True
    if start < len(text):
        yield Piece(text[start:], is_cut, follows_bar)


def _is_rest_of_a_value(segment: bytes) -> bool:
    """Return whether *segment* is a bar and then the end of a number that stands before it.

    Two streams in one file cut each other anywhere: ``acc: 0.6``, a bar, and ``45`` after it.
    """
    text = segment.decode(errors="replace")
    ends = [bar.end() for bar in BAR.finditer(text)]
    return _is_digit_after(text, ends[-1] if ends else 0)


def _is_digit_after(text: str, place: int) -> bool:
    return re.match(r"[0-9.]|e[+-]?[0-9]", text[place : place + 4]) is not None
