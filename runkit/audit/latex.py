"""LaTeX -> document: a small tolerant reader for papers, not a TeX engine.

It knows sections, items, captions, tabular environments and the commands that stand around numbers. What it
does not know becomes blanks, so an unknown macro can hide a claim and never invent one.
"""

from __future__ import annotations

import re
from itertools import pairwise

from runkit.audit.document import Annotation, Block, Document, Span, annotation_settings, blanked, plain_signs

_COMMENT = re.compile(r"(?<!\\)%[^\n]*")
_RK_COMMENT = re.compile(r"%+\s*rk:\s*([^\n]*)")
_MACRO = re.compile(r"\\rk\{([^{}]*)\}\{([^{}]*)\}")
_HEADING = re.compile(r"\\(chapter|section|subsection|subsubsection|paragraph)\*?\s*\{")
_LEVELS = ("chapter", "section", "subsection", "subsubsection", "paragraph")
_TABULAR = re.compile(r"\\begin\{(tabular[xy*]?|longtable|tblr)\}(.*?)\\end\{\1\}", re.DOTALL)
_CAPTION = re.compile(r"\\caption\*?(?:\[[^\]]*\])?\s*\{")
_SKIPPED = re.compile(
    r"""
    \\begin\{
    (verbatim|lstlisting|equation\*?|align\*?|thebibliography|filecontents\*?)
    \}.*?\\end\{\1\}
    """,
    re.DOTALL | re.VERBOSE,
)
_RULES = re.compile(
    r"""
    \\
    (?:
          toprule | midrule | bottomrule | hline | addlinespace
        | cmidrule(?:\([^)]*\))?\{[^}]*\}
        | cline\{[^}]*\}
    )
    (?:\[[^\]]*\])?
    """,
    re.VERBOSE,
)
_SIGNS = (
    (r"\\%", " %"),
    (r"\\_", " _"),
    (r"\\&", " &"),
    (r"\\#", " #"),
    (r"\\(?:approx|sim|simeq)\b", "~"),
    (r"\\(?:rightarrow|to|longrightarrow|Rightarrow)\b", "→"),
    (r"\\times\b", "x"),
    (r"\\pm\b", "±"),
    (r"\\(?:geq|ge|geqslant)\b", "≥"),
    (r"\\(?:leq|le|leqslant)\b", "≤"),
    (r"\\Delta\b", "Δ"),
    (r"\\textless\b", "<"),
    (r"\\textgreater\b", ">"),
    (r"\\textasciitilde\b", "~"),
    (r"\\(?:checkmark|cmark)\b", "✓"),
)
_DROPPED_ARGUMENT = re.compile(
    r"""
    \\
    (?:
          label | ref | eqref | autoref | cref | Cref | cite\w* | vspace | hspace
        | includegraphics | input | multirow\{[^}]*\} | multicolumn\{[^}]*\}
    )
    \*?(?:\[[^\]]*\])*\{[^{}]*\}
    """,
    re.VERBOSE,
)


def read_latex(source: str, *, name: str) -> Document:
    """Return the document that *source* says; ``\\rk{run=…}{0.645}`` binds the number inside it."""
    annotations = [
        Annotation(Span(*match.span()), Span(*match.span(2)), annotation_settings(match.group(1)))
        for match in _MACRO.finditer(source)
    ]
    for match in _RK_COMMENT.finditer(source):
        line_start = source.rfind("\n", 0, match.start()) + 1
        alone = not source[line_start : match.start()].strip()
        target = _next_line(source, match.end()) if alone else Span(line_start, match.start())
        annotations.append(Annotation(Span(*match.span()), target, annotation_settings(match.group(1))))
    bare = _COMMENT.sub(lambda match: " " * len(match.group()), source)
    begin = re.search(r"\\begin\{document\}", bare)
    if begin:
        bare = blanked(bare, 0, begin.end())
    for match in list(_SKIPPED.finditer(bare)):
        bare = blanked(bare, *match.span())
    return Document(
        name=name,
        source=source,
        text=_plain(bare),
        blocks=tuple(_blocks(bare)),
        annotations=tuple(annotations),
    )


def _next_line(source: str, place: int) -> Span:
    """Return the lines after *place* up to the next empty one."""
    end = re.compile(r"\n[ \t]*\n").search(source, min(place + 1, len(source)))
    return Span(min(place + 1, len(source)), end.start() if end else len(source))


def _blocks(bare: str) -> list[Block]:
    blocks: list[Block] = []
    marks: list[tuple[int, int, str, object]] = []
    tables = list(_TABULAR.finditer(bare))
    for match in _HEADING.finditer(bare):
        end = _closing(bare, match.end())
        marks.append(
            (match.start(), end + 1, "heading", (_LEVELS.index(match.group(1)), Span(match.end(), end)))
        )
    for match in _CAPTION.finditer(bare):
        end = _closing(bare, match.end())
        marks.append((match.start(), end + 1, "caption", Span(match.end(), end)))
    marks += [(match.start(), match.end(), "table", match) for match in tables]
    inside = [(start, end) for start, end, _, _ in marks]
    for match in re.finditer(
        r"\\item\b(?:\s*\[[^\]]*\])?|\n[ \t]*\n|\\(?:begin|end)\{[^}]*\}(?:\[[^\]]*\])?|\\\\", bare
    ):
        if not any(start <= match.start() < end for start, end in inside):
            marks.append(
                (match.start(), match.end(), "item" if match.group().startswith("\\item") else "break", None)
            )
    marks.sort(key=lambda mark: mark[:2])
    headings: list[tuple[int, Span]] = []
    captions = [mark[3] for mark in marks if mark[2] == "caption"]
    place, kind = 0, "paragraph"
    for start, end, what, payload in [*marks, (len(bare), len(bare), "break", None)]:
        if start < place:
            continue
        if bare[place:start].strip():
            blocks.append(
                Block(
                    "item" if kind == "item" else "paragraph",
                    Span(place, start),
                    tuple(one for _, one in headings),
                )
            )
        kind = "item" if what == "item" else "paragraph"
        place = end
        above = tuple(one for _, one in headings)
        if what == "heading" and isinstance(payload, tuple):
            level, span = payload
            headings = [(depth, one) for depth, one in headings if depth < level]
            blocks.append(Block("heading", span, tuple(one for _, one in headings)))
            headings.append((level, span))
        elif what == "caption" and isinstance(payload, Span):
            blocks.append(Block("paragraph", payload, above))
        elif what == "table" and isinstance(payload, re.Match):
            near = [one for one in captions if isinstance(one, Span) and abs(one.start - start) < 3000]
            caption = min(near, key=lambda one: abs(one.start - start)) if near else None
            blocks.extend(_cells(bare, payload, above, caption))
    return blocks


def _cells(bare: str, table: re.Match[str], above: tuple[Span, ...], caption: Span | None) -> list[Block]:
    start = table.start(2)
    body = bare[start : table.end(2)]
    first = re.match(r"\s*(?:\[[^\]]*\])?(?:\{[^{}]*\})?(?:\{(?:[^{}]|\{[^{}]*\})*\})?", body)
    offset = first.end() if first else 0
    rule = re.search(r"\\midrule|\\hline(?=[^\\]*[A-Za-z0-9])", body[offset:])
    rows: list[list[Span]] = []
    for row in re.finditer(r"((?:[^\\]|\\(?!\\))*)(?:\\\\(?:\[[^\]]*\])?|$)", body[offset:], re.DOTALL):
        text = row.group(1)
        rules = [match.end() for match in _RULES.finditer(text)]
        begin = max(rules, default=0)
        if not text[begin:].strip():
            continue
        edges = [
            begin,
            *(begin + match.end() for match in re.finditer(r"(?<!\\)&", text[begin:])),
            len(text) + 1,
        ]
        base = start + offset + row.start(1)
        rows.append([Span(base + left, base + right - 1) for left, right in pairwise(edges)])
    heads = [rows[0]] if rows else []
    if rule is not None and "midrule" in body:
        middle = start + offset + body[offset:].index("\\midrule")
        heads = [cells for cells in rows if cells[0].start < middle] or heads
    blocks = []
    for cells in rows:
        is_head = cells in heads
        for column, span in enumerate(cells):
            header = () if is_head else tuple(head[column] for head in heads if column < len(head))
            blocks.append(Block("cell", span, above, (), tuple(cells), column, header, caption, is_head))
    return blocks


def _closing(text: str, place: int) -> int:
    depth = 1
    for index in range(place, len(text)):
        if text[index] in "{}" and text[index - 1] != "\\":
            depth += 1 if text[index] == "{" else -1
            if depth == 0:
                return index
    return len(text)


def _plain(bare: str) -> str:
    text = _DROPPED_ARGUMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), bare)
    text = _MACRO.sub(lambda match: " " * (match.start(2) - match.start()) + match.group(2) + " ", text)
    text = re.sub(r"\\texttt\{([^{}]*)\}", lambda match: " " * 7 + "`" + match.group(1) + "`", text)
    text = text.replace("~", " ").replace("---", "  ;").replace("--", "- ")
    for pattern, sign in _SIGNS:
        text = re.sub(pattern, lambda match, sign=sign: sign.ljust(len(match.group())), text)  # type: ignore[misc]
    text = re.sub(r"\\[A-Za-z@]+\*?|\\.", lambda match: " " * len(match.group()), text)
    text = re.sub(r"[{}$]", " ", text)
    return plain_signs(text)
