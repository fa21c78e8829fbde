"""Sentences -> the command that started a run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.claims import CommandLine, Found
from runkit.audit.grammar.matches import found_at
from runkit.audit.grammar.sentence import Surroundings
from runkit.audit.places import without_code

_CODE = re.compile(r"`([^`]+)`")


_COMMAND = re.compile(
    r"(?:^|\s)(?:bash|sh|python3?|torchrun|accelerate launch|sbatch|srun|runkit|deepspeed)\s+\S"
)


_LAUNCHED = re.compile(
    r"""
    \b
    (?:
          commands? | launch\w* | ran | run\ with | invo[ck]\w+ | execut\w+
        | started\ with | produced\ (?:by|with) | reproduc\w+ | submitted
        | trained\ with
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def commands(text: str, around: Surroundings) -> Iterator[Found]:
    """Yield the commands that *text* says a run was started with."""
    for match in _CODE.finditer(text):
        if _COMMAND.search(match.group(1)) and _LAUNCHED.search(f"{without_code(text)} {around.label}"):
            yield found_at(
                match, "command", CommandLine(" ".join(match.group(1).split())), claimed=match.group(1)
            )
