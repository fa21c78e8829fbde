"""A document as blocks with their places and surroundings, whatever it was written in; judges nothing.

Each reader replaces mark-up by blanks of the same length, so that a place in the text that is searched is
the same place in the file, and a claim can be underlined where it stands.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

BlockKind = Literal["heading", "paragraph", "item", "cell"]


class Span(NamedTuple):
    """A stretch of a document, in characters from its start; the end is not included."""

    start: int
    end: int


@dataclass(frozen=True)
class Annotation:
    """What an author wrote for runkit: ``rk: run=… metric=…``; wins over every guess."""

    span: Span
    """The comment or macro itself."""
    applies_to: Span
    """The stretch of text that it speaks of."""
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph, one item of a list without its sub-items, or one cell of a table."""

    kind: BlockKind
    span: Span
    headings: tuple[Span, ...] = ()
    """The headings above, outermost first."""
    parents: tuple[Span, ...] = ()
    """For an item: the paragraph that announces it and the items that it belongs to, outermost first."""
    row: tuple[Span, ...] = ()
    """For a cell: all cells of its row, in order."""
    column: int = 0
    header: tuple[Span, ...] = ()
    """For a cell of the body: the cells of the head above it, top first."""
    caption: Span | None = None
    is_head: bool = False
    """Whether the cell stands in the head of its table."""


@dataclass(frozen=True)
class Document:
    """A document that has been read."""

    name: str
    """As it is printed, for example ``docs/report.md``."""
    source: str
    text: str
    """:attr:`source` with mark-up blanked and typographic signs made plain, of the same length."""
    blocks: tuple[Block, ...]
    annotations: tuple[Annotation, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check the one promise on which all places rest."""
        if len(self.source) != len(self.text):
            raise ValueError("a reader changed the length of the text")

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(r"\n", self.source))]

    @cached_property
    def first_heads(self) -> Mapping[Span, Span]:
        """Each head cell of a table to the first one of its row."""
        return {block.span: block.row[0] for block in self.blocks if block.is_head and block.row}

    def line_and_column(self, place: int) -> tuple[int, int]:
        """Return line and column of *place*, both from 1."""
        line = bisect_right(self._line_starts, place)
        return line, place - self._line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """Return line *line* (from 1) as it stands in the file."""
        start = self._line_starts[line - 1]
        end = self._line_starts[line] - 1 if line < len(self._line_starts) else len(self.source)
        return self.source[start:end].rstrip("\r")

    def plain(self, span: Span) -> str:
        """Return the searched text of *span*."""
        return self.text[span.start : span.end]

    def quote(self, span: Span) -> str:
        """Return *span* as written, on one line."""
        return " ".join(self.source[span.start : span.end].split())


_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|cf|approx|ca|Fig|Tab|Eq|Sec|no|et al|acc|resp|pts|p)|\b[A-Z])\.$"
)
_ABBREVIATED_WORD = re.compile(
    r"""
      \b
      (?:
            abs | avg | approx | conf | config | diff | eg | eq | etc | eval | excl
          | exp | ext | fig | ie | incl | init | max | med | min | num | pct | prev
          | ref | rel | resp | sec | std | tab | temp | val | vol | wrt
      )
      \.$ | \b\w{1,2}\.$ | \.\w+\.$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CODE = re.compile(r"`[^`]*`")
_SENTENCE_END = re.compile(r"[.!?]['\")`*]*(?=\s+[A-Z`\[(\d~\"*]|\s+[a-z]+[A-Z0-9_]|\s*$)")
_LOWER_CASE_END = re.compile(r"(?<=[\w%)'\"`*])[.!?]+['\")`*]*(?=\s+[a-z])")


def sentences(document: Document, block: Block) -> Iterator[Span]:
    """Yield the sentences of *block*; a cell or a heading is one.

    A full stop ends a sentence when white space and a capital, digit or quotation follow and no known
    abbreviation stands before it. Notes begin sentences with small letters; there a word that could be
    an abbreviation does not end one.
    """
    if block.kind in {"cell", "heading"}:
        yield block.span
        return
    text, start = document.plain(block.span), 0
    outside_code = _CODE.sub(lambda match: "`" + "x" * (len(match.group()) - 2) + "`", text)
    ends = [*_SENTENCE_END.finditer(outside_code)]
    ends += [
        match
        for match in _LOWER_CASE_END.finditer(outside_code)
        if not _ABBREVIATED_WORD.search(text, start, match.start() + 1)
    ]
    for match in sorted(ends, key=lambda one: one.start()):
        if _ABBREVIATION.search(text, start, match.start() + 1) or match.end() <= start:
            continue
        if text[start : match.end()].strip():
            yield _stripped(text, start, match.end(), block.span.start)
        start = match.end()
    if text[start:].strip():
        yield _stripped(text, start, len(text), block.span.start)


def _stripped(text: str, start: int, end: int, offset: int) -> Span:
    part = text[start:end]
    return Span(offset + start + len(part) - len(part.lstrip()), offset + start + len(part.rstrip()))


_PLAIN_SIGNS = str.maketrans(
    {
        "–": "-",
        "‑": "-",
        "‐": "-",
        "−": "-",
        "×": "x",
        "✕": "x",
        "≈": "~",
        "∼": "~",
        "≃": "~",
        "⩽": "≤",
        "⩾": "≥",
        "➞": "→",
        "➔": "→",
        "⟶": "→",
        "⇒": "→",
        "➜": "→",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
        "\u2007": " ",
        "\t": " ",
        "％": "%",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "／": "/",
        "\u2044": "/",
    }
)


def plain_signs(text: str) -> str:
    """Return *text* with typographic signs replaced one for one: dashes in numbers, times, arrows, blanks.

    >>> plain_signs("4× H100, 30–40 %, a ➞ b")
    '4x H100, 30-40 %, a → b'
    """
    return text.translate(_PLAIN_SIGNS)


def blanked(text: str, start: int, end: int, keep: str = "") -> str:
    """Return *text* with ``[start, end)`` replaced by *keep* and blanks; length and line feeds stay."""
    hole = "".join("\n" if character == "\n" else " " for character in text[start:end])
    return text[:start] + keep + hole[len(keep) :] + text[end:]


_SETTING = re.compile(r"([A-Za-z][\w.-]*)\s*=\s*(\"[^\"]*\"|[^\s,;]+)")


def annotation_settings(text: str) -> dict[str, str]:
    """Return the settings of an annotation's text.

    >>> annotation_settings("run=pocket metric=final.bridged")
    {'run': 'pocket', 'metric': 'final.bridged'}
    >>> annotation_settings("ignore")
    {'ignore': 'yes'}
    """
    found = {key.lower(): value.strip('"') for key, value in _SETTING.findall(text)}
    if not found and text.strip().lower() == "ignore":
        return {"ignore": "yes"}
    return found
