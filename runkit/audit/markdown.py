"""Markdown -> document: blocks from markdown-it, places in the file from the lines that it names."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from runkit.audit.document import (
    Annotation,
    Block,
    Document,
    Span,
    annotation_settings,
    plain_signs,
)

_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_RK_COMMENT = re.compile(r"^\s*rk:\s*(.*?)\s*$", re.DOTALL)
_CODE = re.compile(r"(`+)(?:[^`]|(?!\1)`)*?\1")
_LINK = re.compile(r"(!?\[)((?:[^\[\]\n]|\\.)*)(\]\((?:[^()\n]|\([^()\n]*\))*\))")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]*>")
_ENTITIES = {
    "&lt;": "<",
    "&gt;": ">",
    "&amp;": "&",
    "&nbsp;": " ",
    "&minus;": "-",
    "&ndash;": "-",
    "&times;": "x",
}
_TITLE = re.compile(r"\s*(\*\*|__)[^*\n]{3,80}\1:?\s*")
"""A paragraph of nothing but bold words, which many write for a heading of the lowest level."""
_TITLE_LEVEL = 7
_PARSER = MarkdownIt("commonmark").enable("table")


def read_markdown(source: str, *, name: str) -> Document:
    """Return the document that *source* says; fenced code and generated blocks hold no claims."""
    starts = [0, *(match.end() for match in re.finditer("\n", source)), len(source)]
    reading = _Reading(source, starts)
    tokens = _PARSER.parse(source)
    for index, token in enumerate(tokens):
        reading.take(token, tokens[index + 1] if index + 1 < len(tokens) else None)
    return Document(
        name=name,
        source=source,
        text=_plain(source),
        blocks=tuple(reading.blocks),
        annotations=tuple(_annotations(source, reading.blocks)),
    )


class _Reading:
    """The walk over the tokens: which headings, items and table are open."""

    def __init__(self, source: str, starts: list[int]) -> None:
        self.source, self.starts = source, starts
        self.blocks: list[Block] = []
        self.headings: list[tuple[int, Span]] = []
        self.items: list[Span | None] = []
        self.announcing: Span | None = None
        self.table: list[tuple[bool, list[Span]]] = []
        self.in_head = False

    def take(self, token: Token, following: Token | None) -> None:
        kind = token.type
        if kind == "heading_open" and following is not None:
            level = int(token.tag[1])
            self.headings = [(depth, span) for depth, span in self.headings if depth < level]
            span = self._span(token)
            self.blocks.append(Block("heading", span, tuple(one for _, one in self.headings)))
            self.headings.append((level, span))
            self.announcing = None
        elif kind == "list_item_open":
            self.items.append(None)
        elif kind == "list_item_close":
            self.items.pop()
        elif kind == "paragraph_open":
            self._paragraph(self._span(token))
        elif kind == "table_open":
            self.table = []
        elif kind in {"thead_open", "thead_close"}:
            self.in_head = kind == "thead_open"
        elif kind == "tr_open" and token.map is not None:
            self.table.append((self.in_head, self._cells(token.map[0])))
        elif kind == "table_close":
            self._finish_table()

    def _paragraph(self, span: Span) -> None:
        if not self.items and _TITLE.fullmatch(self.source[span.start : span.end]):
            self.headings = [(depth, one) for depth, one in self.headings if depth < _TITLE_LEVEL]
            self.blocks.append(Block("heading", span, self._above()))
            self.headings.append((_TITLE_LEVEL, span))
            self.announcing = None
            return
        parents = tuple(item for item in self.items if item is not None)
        if self.items:
            kind = "item"
            if self.announcing is not None:
                parents = (self.announcing, *parents)
            if self.items[-1] is None:
                self.items[-1] = span
        else:
            kind = "paragraph"
            self.announcing = span if self.source[span.start : span.end].rstrip(" *").endswith(":") else None
        self.blocks.append(
            Block("item" if kind == "item" else "paragraph", span, self._above(), parents=parents)
        )

    def _finish_table(self) -> None:
        heads = [cells for is_head, cells in self.table if is_head]
        caption = self.announcing
        for is_head, cells in self.table:
            for column, span in enumerate(cells):
                header = () if is_head else tuple(head[column] for head in heads if column < len(head))
                self.blocks.append(
                    Block("cell", span, self._above(), (), tuple(cells), column, header, caption, is_head)
                )

    def _above(self) -> tuple[Span, ...]:
        return tuple(span for _, span in self.headings)

    def _span(self, token: Token) -> Span:
        first, last = token.map or [0, 0]
        return Span(self.starts[first], self.starts[min(last, len(self.starts) - 1)])

    def _cells(self, line: int) -> list[Span]:
        start, end = self.starts[line], self.starts[line + 1]
        row = self.source[start:end].rstrip("\n")
        masked = _CODE.sub(lambda match: match.group().replace("|", " "), row)
        bars = [match.start() for match in re.finditer(r"(?<!\\)\|", masked)]
        edges = [-1, *bars, len(row)]
        cells = [Span(start + left + 1, start + right) for left, right in pairwise(edges)]
        if bars and not row[: bars[0]].strip():
            cells = cells[1:]
        if bars and not row[bars[-1] + 1 :].strip():
            cells = cells[:-1]
        return cells


def _plain(source: str) -> str:
    text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), source)
    codes = [match.span() for match in _CODE.finditer(text)]
    text = _with_holes(text, [match.span(group) for match in _LINK.finditer(text) for group in (1, 3)])
    text = _with_holes(text, [match.span() for match in _TAG.finditer(text)])
    for entity, sign in _ENTITIES.items():
        text = text.replace(entity, sign + " " * (len(entity) - 1))
    signs, code_starts = list(text), [start for start, _end in codes]
    for match in re.finditer(
        r"\*+|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)|~~|^ {0,3}#{1,6}(?= )|^ *>|\\(?=[\W_])", text, re.MULTILINE
    ):
        before = bisect_right(code_starts, match.start()) - 1
        if before < 0 or match.start() >= codes[before][1]:
            signs[match.start() : match.end()] = " " * (match.end() - match.start())
    return plain_signs("".join(signs))


def _with_holes(text: str, spans: list[tuple[int, int]]) -> str:
    """Return *text* with all *spans*, which come in order, blanked; length and line feeds stay."""
    parts, place = [], 0
    for start, end in spans:
        parts += [text[place:start], re.sub(r"[^\n]", " ", text[start:end])]
        place = end
    return "".join([*parts, text[place:]])


def _annotations(source: str, blocks: list[Block]) -> list[Annotation]:
    found = []
    for match in _COMMENT.finditer(source):
        said = _RK_COMMENT.match(match.group(1))
        if said is None:
            continue
        span = Span(*match.span())
        line_start = source.rfind("\n", 0, span.start) + 1
        line_end = source.find("\n", span.end)
        line = Span(line_start, len(source) if line_end < 0 else line_end)
        alone = not (source[line.start : span.start] + source[span.end : line.end]).strip()
        target = _next_block(blocks, span.end) if alone else line
        found.append(Annotation(span, target, annotation_settings(said.group(1))))
    return found


def _next_block(blocks: list[Block], place: int) -> Span:
    """Return the paragraph, item or whole table that begins after *place*."""
    following = [block for block in blocks if block.span.start >= place]
    if not following:
        return Span(place, place)
    first = min(following, key=lambda block: block.span.start)
    end = first.span.end
    if first.kind == "cell":
        for block in sorted(following, key=lambda block: block.span.start):
            if block.kind != "cell":
                break
            end = max(end, block.span.end)
    return Span(first.span.start, end)
