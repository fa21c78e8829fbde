"""Sentences and cells -> claims about several evaluations: chains of arrows, columns of peak steps."""

from __future__ import annotations

import re

from runkit.audit.amounts import Amount
from runkit.audit.claims import Found, PeakStep, Series
from runkit.audit.document import Span
from runkit.audit.grammar.attributes import systems_of
from runkit.audit.grammar.sentence import Sentence


def peak_steps(sentence: Sentence) -> list[Found]:
    """Return the claim of a cell under *peak step*."""
    alone = re.fullmatch(r"\s*(\d[\d,]*)(?:\s*(?:,|&|and)\s*(\d[\d,]*))?\s*", sentence.text)
    label = sentence.around.label
    if not sentence.around.is_cell or alone is None:
        return []
    if not re.search(r"\b(?:peak|best)\b.*\bstep\b|\bstep of (?:the )?(?:peak|best)\b", label, re.IGNORECASE):
        return []
    steps = tuple(int(one.replace(",", "")) for one in alone.groups() if one)
    span = Span(sentence.offset + alone.start(1), sentence.offset + alone.end(alone.lastindex or 1))
    return [Found(span, "peak.step", " & ".join(map(str, steps)), PeakStep(steps))]


def series(sentence: Sentence) -> list[Found]:
    """Return runs of three or more amounts that arrows join."""
    found, chain = [], list[Amount]()
    for amount in (*sentence.amounts, None):
        if amount is not None and (
            not chain
            or re.fullmatch(r"[\s%]*(?:→|->|>)\s*(?:~\s*)?", sentence.text[chain[-1].end : amount.start])
        ):
            chain.append(amount)
            continue
        if len(chain) >= 3 and all(one.unit in {"bare", "percent"} and one.high <= 1 for one in chain):
            systems, said = systems_of(sentence, chain[0])
            doubt = sentence.doubt_at(chain[0].start) or (
                "" if said else "the text does not say of which system the numbers are"
            )
            found.append(
                Found(
                    Span(sentence.offset + chain[0].start, sentence.offset + chain[-1].end),
                    "series.bridged_accuracy",
                    " → ".join(one.text.strip() for one in chain),
                    Series(systems, tuple(chain)),
                    not doubt,
                    doubt,
                )
            )
        chain = [amount] if amount is not None else []
    return found


def amounts_of(found: Found) -> tuple[Amount, ...]:
    """Return the amounts of a series, which are no claims of their own."""
    return found.statement.amounts if isinstance(found.statement, Series) else ()
