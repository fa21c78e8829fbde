"""Sentences -> claims about the shape of a curve: recovery and collapse."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.amounts import Amount, amounts
from runkit.audit.claims import Found, NoCollapse, Recovery
from runkit.audit.document import Span
from runkit.audit.grammar.matches import found_at
from runkit.audit.places import step_mentions
from runkit.audit.words import doubt_of

_RECOVERY = re.compile(
    r"\b(?:recover(?:y|s|ed)?|rebound(?:s|ed)?|bounc(?:es|ed) back|came back)\b", re.IGNORECASE
)


_COLLAPSE = re.compile(
    r"""
      \b(?:post-peak\ |late\ |catastrophic\ )?collaps(?:e|ed|es|ing)\b
      (?!\ (?:to|into)\ (?:a\ |the\ )?(?:constant|single))
    | \bcatastrophic(?:ally)?\ (?:drop|decline|forgetting)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def trajectories(text: str) -> Iterator[Found]:
    """Yield recoveries and denied collapses."""
    doubt = doubt_of(text)
    for match in _RECOVERY.finditer(text):
        behind = text[match.end() :]
        step = next(
            (one for one in step_mentions(behind) if one.start < 20 and (one.steps.is_after or one.steps.at)),
            None,
        )
        to: Amount | None = next(
            (
                one
                for one in amounts(behind[:40])
                if re.match(r"\s*(?:back )?(?:up )?to\s+(?:about |~\s*)?$", behind[: one.start])
            ),
            None,
        )
        final = bool(re.search(r"\bfinal\b", behind[:60], re.IGNORECASE))
        if step is not None and to is None:
            after = step.steps.low if step.steps.low is not None else step.steps.at[0]
            yield Found(
                Span(match.start(), match.end() + step.end),
                "trajectory.recovery",
                f"recovery after step {after}",
                Recovery(after, None, False),
                not doubt,
                doubt,
            )
        elif to is not None and final:
            yield Found(
                Span(match.start(), match.end() + to.end),
                "final.recovery_is_training_effect",
                f"recovered to {to.text.strip()} in the final evaluation",
                Recovery(None, to, True),
                not doubt,
                doubt,
            )
    for match in _COLLAPSE.finditer(text):
        before = text[: match.start()]
        if re.search(
            r"\b(?:no|not|without|never|avoid(?:s|ed|ing)?|free of)\s+(?:\w+\s+|any\s+)?$",
            before,
            re.IGNORECASE,
        ):
            yield found_at(match, "post_peak_min.bridged_accuracy", NoCollapse(), claimed="no collapse")
