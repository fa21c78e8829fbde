"""Plain text -> document: paragraphs by empty lines, items by bullets, headings by what underlines them."""

from __future__ import annotations

import re

from runkit.audit.document import Annotation, Block, Document, Span, annotation_settings, plain_signs

_BULLET = re.compile(r"^(\s*)(?:[-*•]|\d{1,2}[.)])\s+")
_RULE = re.compile(r"^\s*[=\-~#*]{3,}\s*$")
_RUN_LINE = re.compile(r"\s*(?:\d{1,2}[.)]\s+|[-*]\s+)?[`\"]?[A-Za-z]\w*_\w*\d\w*[`\"]?\s*:?\s*")
"""A line of nothing but the name of a run; what follows is about it."""
_TITLE = re.compile(r"\s*(?:\d{1,2}(?:\.\d+)*[.)]?\s+)[A-Z][\w ,():&/-]{2,70}")
"""``2. Results`` between empty lines."""
_FIELD = re.compile(r"^\s*[A-Za-z][\w /().-]{0,40}\s*[:=]\s*\S")
_ANNOTATION = re.compile(r"[\[(#]\s*rk:\s*([^\])\n]*)[\])]?")


def read_plaintext(source: str, *, name: str) -> Document:
    """Return the document that *source* says; a line ``name: value`` is a block of its own."""
    blocks: list[Block] = []
    heading: tuple[Span, ...] = ()
    lines = [Span(*match.span()) for match in re.finditer(r"[^\n]+", source)]
    open_at: Span | None = None
    parents: list[tuple[int, Span]] = []

    def close() -> None:
        nonlocal open_at
        if open_at is not None:
            blocks.append(Block("paragraph", open_at, heading))
            open_at = None

    last_end = -1
    for index, line in enumerate(lines):
        text = source[line.start : line.end]
        if source[last_end : line.start].count("\n") > 1 or not text.strip():
            close()
            parents = []
        last_end = line.end
        if not text.strip() or _RULE.match(text):
            continue
        following = source[lines[index + 1].start : lines[index + 1].end] if index + 1 < len(lines) else ""
        bullet = _BULLET.match(text)
        is_alone = (open_at is None and not following.strip()) or (
            source[line.end : line.end + 2] == "\n\n" and open_at is None
        )
        if (
            _RULE.match(following)
            or re.match(r"^#{1,6} |^\[[\w./-]+\]\s*$", text)
            or _RUN_LINE.fullmatch(text)
            or (is_alone and _TITLE.fullmatch(text))
        ):
            close()
            heading = (line,)
            blocks.append(Block("heading", line))
        elif bullet is not None:
            close()
            depth = len(bullet.group(1))
            parents = [(level, span) for level, span in parents if level < depth]
            blocks.append(Block("item", line, heading, tuple(span for _, span in parents)))
            parents.append((depth, line))
        elif _FIELD.match(text):
            close()
            blocks.append(Block("item", line, heading, tuple(span for _, span in parents)))
            parents = parents or [(-1, line)]
        else:
            open_at = Span(open_at.start if open_at else line.start, line.end)
    close()
    annotations = tuple(
        Annotation(
            Span(*match.span()), _line_around(source, match.start()), annotation_settings(match.group(1))
        )
        for match in _ANNOTATION.finditer(source)
    )
    text = plain_signs(source)
    for note in annotations:
        hole = note.span
        text = text[: hole.start] + " " * (hole.end - hole.start) + text[hole.end :]
    return Document(name=name, source=source, text=text, blocks=tuple(blocks), annotations=annotations)


def _line_around(source: str, place: int) -> Span:
    end = source.find("\n", place)
    return Span(source.rfind("\n", 0, place) + 1, len(source) if end < 0 else end)
