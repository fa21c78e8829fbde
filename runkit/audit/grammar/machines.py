"""Sentences and cells -> accelerators and processes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.claims import Found, Gpus, WorldSize
from runkit.audit.grammar.matches import SMALL_NUMBERS, found_at
from runkit.audit.grammar.sentence import Surroundings
from runkit.audit.words import doubt_of

_GPU = re.compile(
    r"""
    (?:
        (?P<count>
              \b\d{1,3}
            | \b(?:a\ single|single|one|two|three|four|six|eight|sixteen|dual)
        )
        \s*(?:x|\*)?\s*[-]?
    )?
    (?:NVIDIA\ |Nvidia\ )?(?:\b|(?<=\dx)|(?<=\sx))
    (?P<model>[ABHLTV]\d{2,4}s?|GH200|RTX\ ?\w*\d{4}|MI\d{3}X?)
    \b(?:[- ]?(?:SXM\d?|PCIe|HBM\d\w?))?[- ]?
    (?:\(?\s*(?P<memory>\d{2,3})\s*Gi?B\)?)?
    (?:\s*x\s*(?P<after>\d{1,2})\b)?
    """,
    re.VERBOSE,
)


_GPU_COUNT = re.compile(
    r"""
    \b
    (?P<count>\d{1,3}|a\ single|single|one|two|three|four|six|eight|sixteen)
    [- ](?:GPUs?|cards?|accelerators?)\b(?![- ]?(?:h\b|hours?|min|utes))
    """,
    re.IGNORECASE | re.VERBOSE,
)


_WORLD = re.compile(
    r"\bworld[- _]size(?:\s*(?:=|:|of|was|is))?\s*`?(?P<count>\d{1,4}|one|two|four|eight)\b", re.IGNORECASE
)


def machines(text: str, around: Surroundings) -> Iterator[Found]:
    """Yield accelerators, their number, and the number of processes."""
    doubt = doubt_of(text)
    taken: list[tuple[int, int]] = []
    for match in _GPU.finditer(text):
        number = match["count"] or match["after"]
        count = (
            None
            if number is None
            else SMALL_NUMBERS.get(number.lower()) or (int(number) if number.isdigit() else None)
        )
        memory = int(match["memory"]) if match["memory"] else None
        taken.append(match.span())
        model = match["model"].rstrip("s").upper().replace(" ", "")
        yield found_at(match, "gpu.model_and_count", Gpus(count, model, memory), doubt=doubt)
    for match in _GPU_COUNT.finditer(text):
        if any(start < match.end() and match.start() < end + 8 for start, end in taken):
            continue
        number = match["count"].lower()
        count = SMALL_NUMBERS.get(number) or (int(number) if number.isdigit() else None)
        yield found_at(match, "gpu.model_and_count", Gpus(count, None, None), doubt=doubt)
    if around.is_cell and re.search(r"\bGPUs?\b", around.label):
        alone = re.fullmatch(r"\s*(\d{1,3})\s*", text)
        if alone is not None:
            yield found_at(alone, "gpu.model_and_count", Gpus(int(alone.group(1)), None, None))
    for match in _WORLD.finditer(text):
        number = match["count"].lower()
        yield found_at(match, "world_size", WorldSize(SMALL_NUMBERS.get(number) or int(number)), doubt=doubt)
