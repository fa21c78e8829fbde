"""Plain Unicode text made safe for LaTeX, in one pass; a character that pdfLaTeX cannot print is named."""

from __future__ import annotations

import re
import unicodedata

from runkit.errors import TableRefused

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
