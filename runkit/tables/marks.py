"""The letters that lead from a row or a cell to its note."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Marks:
    """Letters handed out for notes, one for each distinct text."""

    letters: dict[str, str] = field(default_factory=dict)

    def letter(self, text: str) -> str:
        """Return the letter of the note that says *text*."""
        if text not in self.letters:
            self.letters[text] = _letter(len(self.letters))
        return self.letters[text]


def _letter(index: int) -> str:
    return (
        chr(ord("a") + index)
        if index < 26
        else f"{chr(ord('a') + index // 26 - 1)}{chr(ord('a') + index % 26)}"
    )
