"""Text of others made safe for what shows it: one function a target, and no other place escapes anything.

All but two begin with :func:`visible` or :func:`one_line`, so that nothing which moves a cursor, colours,
hides or turns letters round reaches a reader: it is spelled out, as ``\\x1b`` or ``\\u202e``. JSON has
escapes of its own, with which programs read back the very text; LaTeX refuses what it has no glyph for.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from runkit.errors import TableRefused

_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
"""Unicode's controls, formats (the bidirectional ones among them), line separators and lone surrogates."""

_IN_A_LINE = re.compile(f"[{_UNSEEN}]")
_IN_LINES = re.compile(f"(?![\n\t])[{_UNSEEN}]")
_IN_JSON = re.compile(f"(?![\x00-\x1f])[{_UNSEEN}]")
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")
_NOT_IN_NOTES = re.compile(f"(?![\n\t\u200c\u200d])[{_UNSEEN}]")
_NOT_IN_XML = re.compile("[\ufffe\uffff]")
_MARKDOWN_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|#~$]")
_DIAGRAM_SPECIAL = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedblright{}",
    "`": "{`}",
}  # fmt: skip
"""ASCII that LaTeX reads as a command or prints as another glyph."""

_AT_THE_START = {"[": "{[}", "*": "{*}"}
r"""What a preceding ``\\`` or ``\item`` would take for its argument."""

_BEFORE = {("-", "-"): "-{}", (",", ","): ",{}", ("'", "'"): "'{}", ("'", "”"): "'{}", ("'", '"'): "'{}"}
"""Pairs that would join to another glyph: the character, the next one, and what to write instead."""

_SYMBOLS = {
    "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "±": r"$\pm$", "×": r"$\times$",
    "÷": r"$\div$", "·": r"$\cdot$", "•": r"\textbullet{}", "…": r"\ldots{}", "°": r"$^\circ$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "∞": r"$\infty$", "√": r"$\surd$",
    "∈": r"$\in$", "∑": r"$\sum$", "∂": r"$\partial$", "∇": r"$\nabla$", "ℓ": r"$\ell$",
    "→": r"$\to$", "←": r"$\leftarrow$", "↔": r"$\leftrightarrow$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "⇒": r"$\Rightarrow$", "➞": r"$\to$",
    "✓": r"$\checkmark$", "✔": r"$\checkmark$", "✗": r"$\times$", "✘": r"$\times$",
    "½": r"$\frac12$", "¼": r"$\frac14$", "¾": r"$\frac34$", "¹": "$^1$", "²": "$^2$", "³": "$^3$",
    "“": "``", "”": "''", "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}", "§": r"\S{}", "¶": r"\P{}", "©": r"\copyright{}", "£": r"\pounds{}",
    "†": r"\dag{}", "‡": r"\ddag{}", "µ": r"$\mu$", "\u00a0": "~", "\u2009": r"\,", "\u202f": r"\,",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "¡": r"\textexclamdown{}", "¿": r"\textquestiondown{}",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\varepsilon$",
    "ζ": r"$\zeta$", "η": r"$\eta$", "θ": r"$\theta$", "ι": r"$\iota$", "κ": r"$\kappa$",
    "λ": r"$\lambda$", "μ": r"$\mu$", "ν": r"$\nu$", "ξ": r"$\xi$", "π": r"$\pi$", "ρ": r"$\rho$",
    "σ": r"$\sigma$", "τ": r"$\tau$", "υ": r"$\upsilon$", "φ": r"$\varphi$", "χ": r"$\chi$",
    "ψ": r"$\psi$", "ω": r"$\omega$", "Γ": r"$\Gamma$", "Δ": r"$\Delta$", "Θ": r"$\Theta$",
    "Λ": r"$\Lambda$", "Ξ": r"$\Xi$", "Π": r"$\Pi$", "Σ": r"$\Sigma$", "Φ": r"$\Phi$", "Ψ": r"$\Psi$",
    "Ω": r"$\Omega$",
}  # fmt: skip
"""Unicode that pdfLaTeX refuses or prints differently from one font encoding to the next."""

_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
"""Combining mark to the letter of LaTeX's accent command."""


def visible(text: str) -> str:
    """Return *text* for a terminal or a file, its lines and tabs as they are.

    >>> print(visible("loss \\x1b[31m0.1\\u202e\\nnext"))
    loss \\x1b[31m0.1\\u202e
    next
    """
    return _IN_LINES.sub(_spelled, text)


def one_line(text: str) -> str:
    """Return *text* as one line of a terminal or a file, its line breaks and tabs spelled out too."""
    return text if text.isascii() and text.isprintable() else _IN_A_LINE.sub(_spelled, text)


def unwanted_in_notes(text: str) -> str | None:
    """Return, spelled out, the first character that nobody writes in a note; None when there is none.

    Those that join letters in some scripts are written.
    """
    match = _NOT_IN_NOTES.search(text)
    return _spelled(match) if match is not None else None


def json_text(document: Any, *, only_ascii: bool = False) -> str:
    """Return *document* as JSON for people and programs; what a terminal would obey is an escape of JSON."""
    return json_escapes(json.dumps(document, indent=2, ensure_ascii=False), only_ascii=only_ascii)


def json_escapes(text: str, *, only_ascii: bool = False) -> str:
    """Return the JSON *text* with the same values and nothing in it that a terminal would obey."""
    pattern = _NOT_ASCII if only_ascii else _IN_JSON
    return pattern.sub(lambda found: json.dumps(found[0])[1:-1], text)


def markup(text: str) -> str:
    """Return *text* for HTML, SVG and other XML, in an element or an attribute."""
    return html.escape(xml_text(text))


def xml_text(text: str) -> str:
    """Return *text* as XML 1.0 can hold it; what writes the XML escapes its markup."""
    return _NOT_IN_XML.sub(_spelled, visible(text))


def mermaid_text(text: str) -> str:
    """Return *text* as it stands between the quotation marks of a Mermaid diagram."""
    return "".join(_DIAGRAM_SPECIAL.get(character, character) for character in one_line(text))


def dot_text(text: str) -> str:
    """Return *text* as a quoted string of Graphviz."""
    quoted = visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{quoted}"'


def github_command(level: str, properties: Mapping[str, str | int], message: str) -> str:
    """Return a workflow command: an annotation of *level* with *message*, which may have lines.

    Source: docs.github.com, workflow commands.
    """
    shown = ",".join(f"{name}={_github_property(str(value))}" for name, value in properties.items())
    return f"::{level} {shown}::{_github_data(message)}"


def sarif_text(text: str) -> str:
    """Return *text* as a message of SARIF, in which it makes no link."""
    return visible(text).replace("](", "] (")


def plain_log_line(text: str) -> str:
    """Return *text* as a line of a workflow's log that is no command."""
    return one_line(text).replace("::", ": :").replace("##[", "## [")


def escaped_markdown(text: str) -> str:
    """Return *text* in one line that Markdown prints as it is, in a table cell too."""
    spelled = one_line(" ".join(text.split())).replace("&", "&amp;")
    return _MARKDOWN_SPECIAL.sub(lambda found: _in_markdown(found.group()), spelled)


def code_span(text: str) -> str:
    """Return *text* as code in one line, whatever backticks are in it; not for a cell of a table."""
    spelled = one_line(" ".join(text.split()))
    longest = max((len(run) for run in re.findall("`+", spelled)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if spelled.startswith("`") or spelled.endswith("`") or not spelled else ""
    return f"{fence}{pad}{spelled}{pad}{fence}"


def escaped(text: str) -> str:
    """Return *text* as LaTeX that prints it, whatever is in it.

    White space of any kind becomes one space. Needs ``amssymb`` for a tick.

    Raises:
        TableRefused: A character that pdfLaTeX has no glyph for; the message names it.
    """
    spaced = unicodedata.normalize("NFC", re.sub(r"[ \t\r\n\f\v]+", " ", text)).strip(" ")
    pairs = zip(spaced, f"{spaced} "[1:], strict=True)
    pieces = [_BEFORE.get(pair) or _piece(pair[0], spaced) for pair in pairs]
    return "".join([_AT_THE_START.get(piece, piece) for piece in pieces[:1]] + pieces[1:])


def _piece(character: str, text: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    return character if " " <= character <= "~" else _accented(character, text)


def _accented(character: str, text: str) -> str:
    base, *marks = tuple(unicodedata.normalize("NFD", character))
    if len(marks) != 1 or marks[0] not in _ACCENTS or not (base.isascii() and base.isalpha()):
        name = unicodedata.name(character, "a character without a name")
        raise TableRefused(
            f"LaTeX cannot print U+{ord(character):04X} ({name}) in {text!r}; write it with other characters"
        )
    letter = {"i": r"\i", "j": r"\j"}.get(base, base)
    return f"\\{_ACCENTS[marks[0]]}{{{letter}}}"


def _spelled(found: re.Match[str]) -> str:
    number = ord(found[0])
    by_name = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    if found[0] in by_name:
        return by_name[found[0]]
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


def _in_markdown(character: str) -> str:
    return {"<": "&lt;", ">": "&gt;"}.get(character, "\\" + character)


def _github_data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\n", "%0A")


def _github_property(text: str) -> str:
    return one_line(text).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
