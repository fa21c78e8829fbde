"""The generated texts in a per-sample dump: text in, records out. Judges none of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runkit.ingest.dumps import read_rows, storable
from runkit.records.generation import Generation
from runkit.records.outcomes import INVALID_MARKER

_TEXT = "_full"
_ASKED = re.compile(r"(?:^|\n)(?:Q|Question): ?")
_ANSWERED = re.compile(r"\n(?:A|Answer):")


def read_generations(text: str) -> dict[str, tuple[Generation, ...]]:
    """Return the generations of each system in the dump *text*; rows in the order of the dump.

    A system is there when every readable row has its text and its extracted answer.
    """
    rows, _num_unreadable = read_rows(text)
    if not rows:
        return {}
    systems = [key.removesuffix(_TEXT) for key in rows[0] if key.endswith(_TEXT)]
    return {
        system: tuple(_generation(row, system) for row in rows)
        for system in systems
        if all(isinstance(row.get(system + _TEXT), str) and f"{system}_extracted" in row for row in rows)
    }


def asked_question(prompt: str) -> str:
    """Return the question that *prompt* asks: the last one, without worked examples and instructions.

    >>> asked_question("Solve.\\n\\nQ: 1 + 1?\\nA: #### 2\\n\\nQ: 2 + 2?\\nA: Let's think.\\n\\nAnswer:")
    '2 + 2?'
    """
    last = _ASKED.split(prompt)[-1]
    return _ANSWERED.split(last)[0].strip()


def _generation(row: Mapping[str, Any], system: str) -> Generation:
    extracted, finish = row[f"{system}_extracted"], row.get(f"{system}_finish")
    prompt = row.get("question")
    return Generation(
        question=asked_question(prompt) if isinstance(prompt, str) else "",
        text=row[system + _TEXT],
        gold=storable(row["gold_extracted"]),
        answer=None if extracted in (None, "", INVALID_MARKER) else storable(extracted),
        finish=finish if isinstance(finish, str) else None,
    )
