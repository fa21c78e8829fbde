"""Compiling LaTeX for tests."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.processes import PATIENCE_SECONDS


class Compiled(NamedTuple):
    """What pdflatex made of a document."""

    returncode: int
    log: str
    text: str
    """The words of the PDF, in reading order, normalised."""

    @property
    def complaints(self) -> list[str]:
        """Errors, and boxes that are too full."""
        return [line for line in self.log.splitlines() if line.startswith(("!", "Overfull"))]


def compile_document(document: str, folder: Path) -> Compiled:
    """Return what pdflatex makes of *document*, or skip the test where there is no pdflatex."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    source = folder / "document.tex"
    source.write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", source.name],
        cwd=folder, capture_output=True, check=False, text=True, errors="replace", timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return Compiled(done.returncode, done.stdout, _words(source.with_suffix(".pdf")))


def _words(pdf: Path) -> str:
    if shutil.which("pdftotext") is None or not pdf.is_file():
        return ""
    done = subprocess.run(
        ["pdftotext", "-layout", pdf.name, "-"], cwd=pdf.parent, capture_output=True, check=True
    )
    return " ".join(unicodedata.normalize("NFKC", done.stdout.decode()).split())
