"""Sentences, headings and cells -> components that were on, off or alone, and what they are said to do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.amounts import amounts
from runkit.audit.claims import Effect, Factor, Found, Needs, NotArchived, Polarity
from runkit.audit.document import Span
from runkit.audit.grammar.sentence import Surroundings
from runkit.audit.words import FACTORS, Mark, doubt_of, marks

_OFF_AFTER = (
    r"\s+(?:was |were |is |are |being |both |turned |switched |kept |set "
    r"to |left )*(?:off|disabled|removed|dropped|ablated|absent|zeroed|inactive|"
    r"skipped|deactivated)\b"
)


_ON_AFTER = (
    r"\s+(?:was |were |is |are |being |both |turned |switched |kept |left "
    r")*(?:on|enabled|active|activated|switched on)\b(?! (?:the|its|a|our|"
    r"GSM8K))"
)


_OFF_BEFORE = (
    r"(?:\bno|\bwithout|\bw/o|\bminus|\bremov(?:ed|ing|es)|\bdisabl(?:ed|"
    r"ing|es)|\bdropp(?:ed|ing)|\bsans|\bexcluding|\bno additional)\s+(?:the "
    r"|any )?$"
)


_ONLY = r"(?:[- ](?:only|alone)\b)"


_ONLY_BEFORE = r"\b(?:only|just|solely)\s+(?:the |by )?$"


_PROOF = re.compile(
    r"""
    \b
    (?:
          prov(?:es?|ed|ing) | confirm(?:s|ed|ing)?
        | demonstrat(?:es?|ed|ing)
        | establish(?:es|ed)? | isolat(?:es?|ed|ing) | attributable\ to | shows\ that
        | showed\ that | due\ to
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_CONTROL = re.compile(
    r"""
      \b(?:acts?|acted|serves?|served|works?)\ as\ (?:an?\ |the\ |our\ )?(?:\w+\ )?
      (?:control|ablation)\b[^.;]*\bablat\w+
    | \b(?:acts?|serves?)\ as\ (?:an?\ |the\ |our\ )?internal\ control\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_ADDS = re.compile(
    r"""
    ^\s+
    (?:alone\ |itself\ |really\ |only\ |also\ |clearly\ )*
    (?:
          adds? | added | contribut(?:es|ed) | gives? | gave | brings? | brought | buys?
        | bought | yields? | costs? | hurts? | helps? | is\ worth | was\ worth
        | accounts?\ for | improves?\ (?:\w+\ )?by
        | (?:is|was)\ the\ (?:dominant|main|key|largest|decisive|primary)
        | matters? | has\ no\ effect | makes?\ no\ difference
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_PURPOSE = re.compile(
    r"""
    \b
    (?:
          whether | how\ much | determine | quantify | test\ (?:if|whether) | find\ out
        | isolate\ the\ effect\ of
        | to\ see | in\ order\ to | even\ without | why
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_NEEDS = re.compile(r"\b(?:requires?|needs?|depends on|only works? with)\s+`(?P<value>\w+)`", re.IGNORECASE)


_ATTRIBUTED = re.compile(
    r"""
    \b
    (?:
          label(?:l)?ed | called | named | titled | so-called | claimed
        | supposed(?:ly)? | meant | intended | said | says | reads | suggests | implies
        | promises
    )
    (?:\ to\ (?:be|have|show))?(?:\ as)?[\s:\"']*(?:\w+\s+){0,8}$
    """,
    re.IGNORECASE | re.VERBOSE,
)


def factors(text: str, around: Surroundings, is_heading: bool) -> Iterator[Found]:
    """Yield the components that *text* says were on, off or alone."""
    mentions = _factor_marks(text)
    seen: set[tuple[str, str]] = set()
    for names, start, end in _joined(text, mentions):
        polarity = _polarity(text, start, end, is_heading)
        if polarity is None or _ATTRIBUTED.search(text[:start]):
            continue
        doubt = ""
        if not is_heading and (_PURPOSE.search(text[:start]) or doubt_of(text)):
            if polarity != "on":
                continue
            doubt = doubt_of(text) or "the sentence says what was to be found out"
        key = (names[0], polarity)
        if key in seen:
            continue
        seen.add(key)
        label = "_and_".join(names)
        quantity = f"config.{label}_only" if polarity == "only" else f"config.{label}"
        claimed = {"on": f"{label} on", "off": f"{label} off", "only": f"{label} only"}[polarity]
        if names == ("answer_supervision",):
            yield Found(
                Span(start, end),
                "training.answer_supervision",
                claimed,
                NotArchived(
                    "no key of the configuration and no archived number says which tokens were supervised"
                ),
            )
            continue
        yield Found(Span(start, end), quantity, claimed, Factor(names, polarity), not doubt, doubt)
    if around.is_cell:
        yield from _cell_switch(text, around)


def _cell_switch(text: str, around: Surroundings) -> Iterator[Found]:
    word = re.fullmatch(
        r"\s*(?P<on>✓|✔|yes|on|x|enabled)?(?P<off>✗|✘|no|off|disabled|--?)?\s*", text, re.IGNORECASE
    )
    names = [name for name, pattern in FACTORS if pattern.search(around.label)]
    if word is None or not text.strip() or len(names) != 1:
        return
    start = len(text) - len(text.lstrip())
    polarity: Polarity = "on" if word["on"] else "off"
    yield Found(
        Span(start, start + len(text.strip())),
        f"config.{names[0]}",
        f"{names[0]} {polarity}",
        Factor((names[0],), polarity),
    )


def _factor_marks(text: str) -> list[Mark]:
    table = tuple(
        (name, re.compile(rf"(?<![\w-])(?:{pattern.pattern})(?!\w)", re.IGNORECASE))
        for name, pattern in FACTORS
    )
    return list(marks(text, table))


def _joined(text: str, mentions: list[Mark]) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Yield factors that share one word of on or off: ``prompt/RoPE alignment disabled``."""
    index = 0
    while index < len(mentions):
        first = mentions[index]
        names, end = [first.meaning], first.end
        while index + 1 < len(mentions) and re.fullmatch(
            r"\s*(?:/|or|nor|and)?\s*", text[end : mentions[index + 1].start]
        ):
            index += 1
            names.append(mentions[index].meaning)
            end = mentions[index].end
        yield tuple(dict.fromkeys(names)), first.start, end
        index += 1


def _polarity(text: str, start: int, end: int, is_heading: bool) -> Polarity | None:
    before, after = text[:start], text[end:]
    if re.match(_ONLY, after, re.IGNORECASE):
        return (
            "only"
            if not re.match(r"[- ]alone\s+(?:can|could|will|does|did|is|was)", after, re.IGNORECASE)
            else None
        )
    if re.search(_OFF_BEFORE, before, re.IGNORECASE) and not re.search(
        r"even without\s+(?:the )?$", before, re.IGNORECASE
    ):
        return "off"
    if re.match(_OFF_AFTER, after, re.IGNORECASE):
        return "off"
    if re.match(_ON_AFTER, after, re.IGNORECASE):
        return "on"
    if re.search(_ONLY_BEFORE, before, re.IGNORECASE) and is_heading:
        return "only"
    if (
        re.search(r"\+\s*$", before)
        or re.match(r"\s*\+", after)
        or (is_heading and re.search(r"\bwith (?:the )?$", before, re.IGNORECASE))
    ):
        return "on"
    return None


def effects(text: str) -> Iterator[Found]:
    """Yield what *text* says that a comparison shows of a component."""
    control = _CONTROL.search(text)
    if control is not None:
        yield Found(
            Span(*control.span()), "ablation.isolates_component", "an ablation's control", Effect((), None)
        )
    mentions = _factor_marks(text)
    proof = _PROOF.search(text)
    done = -1
    for mark in mentions:
        behind = text[mark.end :]
        adds = _ADDS.match(behind)
        if mark.start < done or _PURPOSE.search(text[: mark.start]):
            continue
        clause = re.search(r"[;.]|$", behind)
        end = mark.end + (clause.start() if clause else 0)
        proven = (
            proof is not None
            and proof.start() < mark.start
            and not re.search(r";", text[proof.end() : mark.start])
        )
        if adds is None and not proven:
            continue
        amount = (
            next((one for one in amounts(text[mark.end : end]) if one.unit in {"points", "percent"}), None)
            if adds
            else None
        )
        start = proof.start() if proven and proof is not None else mark.start
        doubt = "" if proven else doubt_of(text)
        name = mark.meaning
        quantity = f"ablation.{name}_gain" if amount is not None else f"ablation.{name}_effect"
        yield Found(
            Span(start, end),
            quantity,
            " ".join(text[start:end].split()),
            Effect((name,), amount),
            not doubt,
            doubt,
        )
        done = end
    needs = _NEEDS.search(text)
    if needs is not None:
        yield Found(
            Span(*needs.span()), f"conclusion.{needs['value']}_required", needs.group(), Needs(needs["value"])
        )
