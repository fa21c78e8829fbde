"""Whatever stands in a name, LaTeX prints it and runs none of it."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runkit.errors import TableRefused
from runkit.render.escaping import _ACCENTS, _SYMBOLS, escaped
from runkit.render.latex import standalone_document
from tests.render.compiling import Compiled, compile_document

Compile = Callable[[str], Compiled]

ADVERSARIAL = (
    "a_b", "50%", "[x]", "R&D", "#1", "{}", r"\input{x}", "~^", "$5", "*star", "a--b---c", "say ''so''",
    "``no``",
    "<0.001>", "a|b", 'a "b" c', "?`!`", r"\\", "%", "_", "}{", "^^41", "1,2;3:4", "x=y+z/(w)@v!", "fi-fl",
    "a,,b",
)  # fmt: skip


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    return partial(compile_document, folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b", r"a\_b"),
        ("50%", r"50\%"),
        ("[x]", "{[}x]"),
        ("*x", "{*}x"),
        ("Δ", r"$\Delta$"),
        ("R&D", r"R\&D"),
        ("#1", r"\#1"),
        ("{}", r"\{\}"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("−2.0 ≥ ½", r"$-$2.0 $\geq$ $\frac12$"),
        ("a--b", "a-{}-b"),
        ("“so”", "``so''"),
        ("it's 'x''", "it's 'x'{}'"),
        ("Müller é Ł ç ñ í", r"M\"{u}ller \'{e} \L{} \c{c} \~{n} \'{\i}"),
        (" two\n\tlines ", "two lines"),
        ("", ""),
    ],
)
def test_a_text_is_escaped_in_one_pass(text: str, latex: str) -> None:
    assert escaped(text) == latex


@pytest.mark.parametrize(("character", "name"), [("🙂", "U+1F642 (SLIGHTLY SMILING FACE)"), ("中", "U+4E2D"),
                                                 ("\x07", "U+0007"), ("д", "U+0434")])  # fmt: skip
def test_a_character_without_a_glyph_is_named(character: str, name: str) -> None:
    with pytest.raises(TableRefused) as caught:
        escaped(f"row {character}")
    assert str(caught.value).startswith(f"LaTeX cannot print {name}")


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_no_special_character_is_left_bare(text: str) -> None:
    latex = escaped(text)
    commands = (
        re.sub(r"\\(text[a-z]+\{\}|[&%$#_{}])", "", latex)
        .replace("{[}", "")
        .replace("{*}", "")
        .replace("{`}", "")
    )
    assert not re.search(r"[\\~^&%$#_]", commands)
    assert commands.count("{") == commands.count("}") == commands.count("{}")


def _document(texts: list[str]) -> str:
    rows = "\n".join(rf"{escaped(text)} & {index} \\" for index, text in enumerate(texts))
    parts = [f"\\noindent {rows_of}" for rows_of in (rf"\begin{{tabular}}{{ll}}{rows}\end{{tabular}}",)]
    return standalone_document("\n".join(parts))


def _spoken(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text)
    for wanted, printed in (("'", "’"), ("`", "‘"), ('"', "”"), ("“", "“"), ("”", "”")):
        plain = plain.replace(wanted, printed)
    return " ".join(plain.split())


def _without_marks(text: str) -> str:
    """Return *text* without what the default font draws as a rule or an accent."""
    return " ".join(text.translate(dict.fromkeys(map(ord, "_~^\u0303\u02c6"))).split())


def test_adversarial_names_compile_and_are_read_back(compiled: Compile) -> None:
    result = compiled(_document(list(ADVERSARIAL)))
    assert (result.returncode, result.complaints) == (0, [])
    if shutil.which("pdftotext") is not None:
        for index, text in enumerate(ADVERSARIAL):
            assert f"{_without_marks(_spoken(text))} {index}".strip() in _without_marks(result.text)


def test_every_symbol_that_is_allowed_compiles(compiled: Compile) -> None:
    accented = [
        unicodedata.normalize("NFC", f"{letter}{mark}") for mark in _ACCENTS for letter in "aeiouAEIOUczn"
    ]
    texts = [*_SYMBOLS, *(text for text in accented if len(text) == 1)]
    rows = [" ".join(texts[start : start + 12]) for start in range(0, len(texts), 12)]
    result = compiled(_document(rows))
    assert (result.returncode, [line for line in result.complaints if line.startswith("!")]) == (0, [])


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
        min_size=30,
        max_size=40,
    )
)
def test_any_ascii_compiles_in_a_batch(compiled: Compile, texts: list[str]) -> None:
    result = compiled(_document(texts))
    assert (result.returncode, [line for line in result.complaints if line.startswith("!")]) == (0, [])
