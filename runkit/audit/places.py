"""Steps and segments of a sentence: where one thought ends, and which training steps are named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runkit.audit.amounts import exact
from runkit.audit.claims import Steps

_COUNT = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+k|k)?"
_LIST = (
    rf"{_COUNT}(?:(?:\s*,\s*|\s*(?:&|/|and|or)\s*)(?:\d{1, 3}(?:,\d{3})+(?!\d)|"
    r"\d+)k?(?!\w|\.\d|\s*%|\s*(?:points|pts|pp)\b))*"
)
_STEP_PATTERNS = (
    re.compile(r"eval_samples_step_(?P<dump>\d+)"),
    re.compile(
        r"(?P<after>\b(?:after|since|from|past|beyond|following)\s+(?:about\s+|"
        rf"~\s*)?)?\bsteps?[\s:=#-]*(?P<at>{_LIST})"
        rf"(?P<range>\s*(?:-|to|through|and)\s*(?:steps?\s*)?(?P<end>{_COUNT})(?!\w|"
        r"\.\d|\s*%))?(?P<plus>\s*(?"
        r":\+|onwards?|and (?:later|beyond|after)))?(?!\w|\.\d)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?P<after>\b(?:after|since|from|past|beyond|following)\s+(?:about\s+|"
        rf"~\s*)?)?(?<![\w.])(?P<at>{_COUNT})"
        rf"(?P<range>\s*(?:-|to)\s*(?P<end>{_COUNT}))?(?P<plus>\+)?[\s-]+(?:training "
        r"|optimizer |optimiser )?(?:steps?|iterations?|iters)\b",
        re.IGNORECASE,
    ),
    re.compile(rf"@\s*(?:step\s*)?(?P<at>{_COUNT})(?!\w|\.\d|%)", re.IGNORECASE),
    re.compile(r"(?<=[\d%])\s*\((?P<at>\d{2,6})\)"),
)
_THROUGHOUT = re.compile(
    r"""
      \bthroughout(?:\ (?:the\ )?(?:whole\ )?(?:training|run))?\b
    | \bthe\ whole\ (?:run|time)\b
    | \bat\ (?:all|every)\ (?:steps?|evals?|evaluations?|checkpoints?)\b
    | \bduring\ (?:the\ )?(?:whole\ |entire\ )training\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BREAK = re.compile(
    r"""
      [;:()|] | ,(?!\d{3}(?!\d)) | — | → | \ -\  | \b
      (?:
            and | but | while | whereas | yet | versus | vs\.? | then | which | where
          | compared\ (?:to|with) | against | before | although | though
      )
      \b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CODE = re.compile(r"`[^`]*`")
_VALUE = re.compile(r"\d\.\d|\d\s*%|\d/\d|\bpts\b|\bpoints\b")


@dataclass(frozen=True)
class StepMention:
    """Steps and where they stand."""

    start: int
    end: int
    steps: Steps


def step_mentions(text: str) -> tuple[StepMention, ...]:
    """Return the steps that *text* names, in order.

    >>> [one.steps.at for one in step_mentions("0.290 (steps 750 & 1500), 1.5k steps, 0.61 @ 250")]
    [(750, 1500), (1500,), (250,)]
    """
    found: list[StepMention] = []
    for pattern in _STEP_PATTERNS:
        for match in pattern.finditer(text):
            if any(one.start < match.end() and match.start() < one.end for one in found):
                continue
            words = match.group()
            start = match.start() + len(words) - len(words.lstrip())
            found.append(
                StepMention(start, match.start() + len(words.rstrip(" ,")), _steps(match.groupdict()))
            )
    found += [
        StepMention(match.start(), match.end(), Steps(is_throughout=True))
        for match in _THROUGHOUT.finditer(text)
    ]
    return tuple(sorted(found, key=lambda one: one.start))


def _steps(named: dict[str, str | None]) -> Steps:
    if named.get("dump"):
        return Steps(at=(int(named["dump"] or 0),))
    at = tuple(int(exact(one)) for one in re.findall(_COUNT, named["at"] or ""))
    if named.get("range") and named.get("end"):
        return Steps(low=at[0], high=int(exact(named["end"] or "0")))
    if named.get("plus"):
        return Steps(low=at[0])
    if named.get("after"):
        is_open = (named["after"] or "").split()[0].lower() in {"after", "following"}
        return Steps(at=at, low=at[0], is_after=is_open)
    return Steps(at=at)


def segment_breaks(text: str) -> tuple[int, ...]:
    """Return the places at which a new segment of *text* begins, the start and the end included."""
    breaks = [0]
    for match in _BREAK.finditer(text):
        if match.group() == ":" and not _VALUE.search(text, breaks[-1], match.start()):
            continue  # a label and what it labels are one thought
        breaks.append(match.end() if match.group() not in "(" else match.start() + 1)
    return (*breaks, len(text) + 1)


def without(text: str, spans: Iterator[tuple[int, int]]) -> str:
    """Return *text* with *spans* blanked."""
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def without_code(text: str) -> str:
    """Return *text* with what stands between backticks blanked."""
    return without(text, (match.span() for match in _CODE.finditer(text)))
