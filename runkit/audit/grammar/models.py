"""Sentences -> which model is source and which target."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.claims import Direction, Found, Role, RoleWord
from runkit.audit.document import Span
from runkit.audit.grammar.matches import found_at
from runkit.audit.words import doubt_of

_ARROW = re.compile(
    r"""
    \b(?P<left>[A-Z][A-Za-z0-9.-]*)(?:[ \w%.-]{0,28}?)?\s*(?:→|->|-->)\s*(?P<right>[A-Z][A-Za-z0-9.-]*)
    """,
    re.VERBOSE,
)


_MODELS = r"Llama|Mistral|Qwen|Gemma|Phi|Falcon|Mixtral|TinyLlama|Pythia|GPT-?2|OPT"


_ROLE = re.compile(
    (
        rf"\b(?P<model>(?:{_MODELS})[\w.-]*)(?:[ -](?P<size>\d+(?:\.\d+)?B?))?(?:[ "
        r"-](?:Instruct|chat|base))?\s*(?:(?:is |was |being )?(?:as )?(?:the "
        r")?)?(?P<role>source|target)\b(?![- ]alone (?:is|was) not)"
    ),
    re.IGNORECASE,
)


_ROLE_BEFORE = re.compile(
    (
        r"\b(?P<role>source|target)(?: model)?\s*(?:is|was|:|=)?\s*`?(?:[\w-]+/)?(?:Meta-)?(?P<mo"
        rf"del>(?:{_MODELS})[\w.-]*)"
    ),
    re.IGNORECASE,
)


_ROLE_AFTER = re.compile(
    (
        r"\b(?P<role>source|target)(?:[- ](?:alone|model|only))?(?:\s+accuracy)?\s*(?::|"
        rf"=|is|was)?\s*(?:~?\d[\d.%]*)?\s*\(\s*(?P<model>(?:{_MODELS})[\w.\- "
        r"]*?)\s*\)"
    ),
    re.IGNORECASE,
)


_GENERATOR = re.compile(
    rf"\b(?P<model>(?:{_MODELS})[\w.-]*)\s+(?:therefore |thus |then |"
    r"simply |never |not |did not |didn't |failed to |could not )*"
    r"(?:answer(?:s|ed)?|generat(?:es|ed)|decod(?:es|ed)|saw|sees|receiv(?:es|ed)|reads?)\b(?P<tail>[^.;]*)",
    re.IGNORECASE,
)


def models(text: str) -> Iterator[Found]:
    """Yield the roles of models that *text* names."""
    doubt = doubt_of(text)
    for match in _ARROW.finditer(text):
        left, right = match["left"], match["right"]
        if (
            re.fullmatch(_MODELS + r"|Source|Target", left, re.IGNORECASE)
            and re.fullmatch(_MODELS, right, re.IGNORECASE)
            and left.lower() != right.lower()
        ):
            yield found_at(match, "config.direction", Direction(left, right), doubt=doubt)
    for match in _ROLE_AFTER.finditer(text):
        start = Span(match.start("model"), match.end("model"))
        yield Found(
            start,
            f"config.{match['role'].lower()}_model",
            match["model"],
            Role(_role(match), match["model"]),
            not doubt,
            doubt,
        )
    before = [match.span("model") for match in _ROLE_BEFORE.finditer(text)]
    for match in _ROLE_BEFORE.finditer(text):
        place = Span(match.start("model"), match.end("model"))
        yield Found(
            place,
            f"config.{match['role'].lower()}_model",
            match["model"],
            Role(_role(match), match["model"]),
            not doubt,
            doubt,
        )
    for match in _ROLE.finditer(text):
        if re.search(r"[→>]", match.group()) or any(
            start <= match.start("model") < end for start, end in before
        ):
            continue
        yield found_at(
            match,
            f"config.{match['role'].lower()}_model",
            Role(_role(match), match["model"]),
            doubt=doubt,
        )
    for match in _GENERATOR.finditer(text):
        if re.search(
            r"\balone\b|\bby itself\b|\bwithout the bridge\b", match.group(), re.IGNORECASE
        ) or re.search(r"\d\s*%|\d\.\d|/\s*\d", match["tail"]):
            continue
        if re.search(r"question|prompt|text|context|answer", match.group(), re.IGNORECASE):
            yield Found(
                Span(match.start(), match.end("model")),
                "generator_model",
                match["model"],
                Role("generator", match["model"]),
                not doubt,
                doubt,
            )


def _role(match: re.Match[str]) -> RoleWord:
    return "source" if match["role"].lower() == "source" else "target"
