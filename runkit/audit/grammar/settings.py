"""Sentences, headings and cells -> claims about the configuration: keys, modes, components, what they do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.claims import Found, Setting
from runkit.audit.document import Span
from runkit.audit.grammar.components import effects, factors
from runkit.audit.grammar.sentence import Surroundings
from runkit.audit.places import without_code
from runkit.audit.words import KEY_WORDS, doubt_of

_KEY_VALUE = re.compile(
    r"""
    (?<![\w./-])
    (?P<key>[a-z][a-z0-9]*(?:[_.][a-z0-9]+)+|lr|seed|bridge|depth|heads)
    \s*(?:=|:)\s*
    (?P<value>\"[^\"]*\"|'[^']*'|[+-]?[\w.][\w./+-]*)
    """,
    re.VERBOSE,
)


_VALUE = r"(?P<value>[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)"


_TEACHERS = re.compile(
    r"""
      \b(?P<teacher>prompt|answer|question)[- ](?:teacher|supervised|supervision)\b
    | \bteacher\s*(?:=|:|is|was)\s*`?(?P<after>prompt|answer)\b
    | \bsupervis(?:ing|ed)\ (?:the\ )?(?:\w+\ )?on\ (?:the\ )?
      (?P<on>prompt|answer|question)(?:\ embeddings|\ tokens)?
    """,
    re.IGNORECASE | re.VERBOSE,
)


_MODE = re.compile(
    r"\bsoft[-_ ]?(?P<mode>only|plus[-_ ]text)\b(?! (?:decoding |evaluation )?(?:fix|bug))", re.IGNORECASE
)


_BRIDGE = re.compile(
    r"\b(?P<kind>DiT|resampler|linear|cross-attention|perceiver|adapter)[- ](?:bridge|translator)\b",
    re.IGNORECASE,
)


_CONDITIONAL = re.compile(
    r"""
    \b
    (?:
          whenever | if | when | auto-?selects? | default(?:s|ed)?\ to | set(?:ting)?\ `
        | try | switch(?:ing)?\ to | instead\ of | unless | next | should | requires?
        | needs? | only\ works?\ with | corrected
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def settings(text: str, offset: int, around: Surroundings, *, is_heading: bool) -> tuple[Found, ...]:
    """Return the claims in *text* about what a run was configured to do."""
    found = [
        *_keys(text),
        *_words_for_keys(text),
        *_modes(text, is_heading),
        *factors(text, around, is_heading),
        *effects(text),
    ]
    return tuple(one.moved(offset) for one in sorted(found, key=lambda one: one.span))


def _keys(text: str) -> Iterator[Found]:
    named = [match for match in _KEY_VALUE.finditer(text) if not _in_command(text, match)]
    twice = {match["key"] for match in named if sum(one["key"] == match["key"] for one in named) > 1}
    for match in named:
        value = match["value"].strip("\"'").rstrip(".,")
        doubt = doubt_of(text)
        if match["key"] in twice:
            doubt = "the sentence gives the key two values"
        elif _CONDITIONAL.search(text[max(0, match.start() - 40) : match.start()]):
            doubt = "the sentence says when or why the key is set, not that it was"
        yield Found(
            Span(*match.span()),
            f"config.{match['key']}",
            value,
            Setting(match["key"], value),
            not doubt,
            doubt,
        )


def _in_command(text: str, match: re.Match[str]) -> bool:
    return any(
        code.start() < match.start() < code.end()
        and re.search(r"\b(?:bash|python3?|torchrun|sbatch|runkit|accelerate)\s", code.group())
        for code in re.finditer(r"`[^`]*`", text)
    )


def _words_for_keys(text: str) -> Iterator[Found]:
    plain = without_code(text)
    for words, keys, name in KEY_WORDS:
        pattern = (
            rf"\b{words}\s+(?:(?:of|is|was|at|kept|set|fixed|held|to|stays)\s+)*(?:=|"
            rf":)?\s*{_VALUE}(?![\w%/]|\.\d|\s*(?:%|points|pts|GPUs))"
        )
        for match in re.finditer(pattern, plain, re.IGNORECASE):
            if re.match(r"\s*(?:-|to|→|->|/|and|,)\s*\d", plain[match.end() :]):
                continue
            doubt = doubt_of(text)
            yield Found(
                Span(*match.span()),
                f"config.{name}",
                match["value"],
                Setting("|".join(keys), match["value"].replace(",", "")),
                not doubt,
                doubt,
            )


def _modes(text: str, is_heading: bool) -> Iterator[Found]:
    doubt = doubt_of(text)
    is_conditional = not is_heading and _CONDITIONAL.search(text) is not None
    keyed = [match.span() for match in _KEY_VALUE.finditer(text)]
    for match in _TEACHERS.finditer(text):
        teacher = (match["teacher"] or match["after"] or match["on"]).lower()
        if any(start <= match.start() < end for start, end in keyed) or _negated(text, match):
            continue
        value = "prompt" if teacher == "question" else teacher
        if teacher == "answer" and "supervision" in match.group().lower():
            continue
        yield Found(
            Span(*match.span()),
            "config.dit_teacher",
            match.group(),
            Setting("dit_teacher|loss.teacher|teacher", value),
            not doubt,
            doubt,
        )
    for match in _MODE.finditer(text):
        if (
            any(start <= match.start() < end for start, end in keyed)
            or _negated(text, match)
            or is_conditional
        ):
            continue
        mode = "soft_only" if match["mode"].lower() == "only" else "soft_plus_text"
        yield Found(
            Span(*match.span()),
            "config.eval_prompt_mode",
            mode,
            Setting("eval_prompt_mode|prompt.mode", mode),
            not doubt,
            doubt,
        )
    for match in _BRIDGE.finditer(text):
        kind = match["kind"].lower().replace("-", "_")
        if not _negated(text, match):
            bridge_doubt = "" if kind == "dit" and is_heading else doubt
            yield Found(
                Span(*match.span()),
                "config.bridge",
                match["kind"],
                Setting("bridge|bridge.kind", kind),
                not bridge_doubt,
                bridge_doubt,
            )


def _negated(text: str, match: re.Match[str]) -> bool:
    return bool(
        re.search(
            r"\b(?:no|not|without|instead of|rather than|than|or|either)\s+(?:\w+\s+)?$",
            text[: match.start()],
            re.IGNORECASE,
        )
    )
