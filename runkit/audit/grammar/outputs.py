"""Sentences -> answers that many outputs share, and the number of items of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.amounts import amounts
from runkit.audit.claims import CommonOutput, Found, NumItems, Where
from runkit.audit.grammar.matches import found_at
from runkit.audit.places import step_mentions
from runkit.audit.words import doubt_of

_COMMON = re.compile(
    r"""
    \b
    (?P<share>
          most | all | nearly\ all | almost\ all | (?:the\ )?majority\ of
        | (?:more\ than\ |over\ )?half\ of
    )?
    \s*(?:the\ |of\ the\ )?(?:bridged\ )?
    (?:outputs?|answers?|generations?|samples?)
    \s+
    (?:simply\ |just\ |were\ |are\ |all\ |that\ |merely\ )*
    (?:
          repeat(?:ed|s)? | were | are | read | say | said | collapsed?\ (?:in)?to | is
        | output | emit(?:ted)? | answered | equal(?:led)?
    )
    \s+(?:the\ )?(?:same\ )?
    (?:answer\ |number\ |constant\ |string\ )?
    [`\"]?(?:\#{2,4}\s*)?(?P<answer>-?\d[\d,.]*\d|\d)[`\"]?
    """,
    re.IGNORECASE | re.VERBOSE,
)


_ITEMS = re.compile(
    r"""
      \bn\s*=\s*(?P<n>\d[\d,]*)\b
    | \b(?:on|over|of|with|using)\s+(?:the\s+|all\s+|same\s+)*(?P<count>\d[\d,]*)\s+
      (?:held-out\s+|test\s+|dev\s+|eval(?:uation)?\s+|GSM8K\s+|fixed\s+)*
      (?:questions|items|samples|problems|examples)
      \b
    | \b(?P<rows>\d[\d,]*)\s+(?:eval(?:uation)?|test|dev)\s+
      (?:questions|items|samples|problems|examples)
      \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def outputs(text: str) -> Iterator[Found]:
    """Yield answers that *text* says many outputs share."""
    for match in _COMMON.finditer(text):
        steps = [one for one in step_mentions(text) if one.start < match.start()]
        where = Where(steps=steps[-1].steps, is_stated=True) if steps else Where()
        counted = [
            one
            for one in amounts(text[: match.start("answer")])
            if one.n is not None or one.unit == "percent"
        ]
        near = (
            counted[-1]
            if counted and match["share"] is None and match.start() - counted[-1].end < 4
            else None
        )
        if near is None and match["share"] is None:
            continue
        step = steps[-1].steps.at[0] if steps and steps[-1].steps.at else None
        quantity = f"step.{step}.modal_output" if step is not None else "modal_output"
        yield found_at(
            match, quantity, CommonOutput(match["answer"].replace(",", ""), near, where), doubt=doubt_of(text)
        )


def items(text: str) -> Iterator[Found]:
    """Yield the number of items that *text* gives an evaluation."""
    doubt = doubt_of(text)
    for match in _ITEMS.finditer(text):
        number = match["n"] or match["count"] or match["rows"]
        before = text[max(0, match.start() - 30) : match.start()]
        if re.search(r"\btrain\w*\b", before, re.IGNORECASE) or re.search(r"\d\s*$", before):
            continue
        yield found_at(match, "eval.n", NumItems(int(number.replace(",", ""))), doubt=doubt)
