"""Sentences -> two runs with the same hardware, batch, configuration or outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runkit.audit.claims import Found, Same
from runkit.audit.document import Span
from runkit.audit.grammar.matches import found_at
from runkit.audit.grammar.sentence import RunMention
from runkit.audit.words import doubt_of

_SAME = re.compile(
    r"""
    \b
    (?:same|identical|equal|unchanged|matching)
    \s+
    (?P<what>
        (?:[\w+&/,-]+\s+){0,6}?
        (?:
              settings? | config(?:uration)?s? | hardware | compute(?:\ footprint)?
            | footprint | setup | batch(?:es)? | hyper-?parameters | outputs? | dumps?
            | weights
        )
    )
    \s+(?:as|to|like|with|of)\s+(?:in\s+|for\s+)?
    (?P<other>above|before|the\ previous\ run|the\ run\ above)?
    """,
    re.IGNORECASE | re.VERBOSE,
)


_IDENTICAL = re.compile(
    r"""
      \b(?:byte[- ]|bit[- ])?(?:identical|equal)\b(?:\ \w+){0,2}?[ ]
      (?:outputs?|dumps?|files?|generations?|step-\d+\ dumps?)
    | \b(?:outputs?|dumps?|files?|generations?)\b[^.;]{0,40}
      \b(?:byte|bit)[- ](?:identical|for[- ]bit|for[- ]byte)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def sameness(text: str, runs: Sequence[RunMention]) -> Iterator[Found]:
    """Yield what *text* says that two runs share."""
    doubt = doubt_of(text)
    for match in _SAME.finditer(text):
        behind = [run for run in runs if 0 <= run.start - match.end() < 20]
        others = behind[0].run_ids if behind else ("above",) if match["other"] else ()
        what = match["what"].lower()
        kinds = tuple(
            kind
            for kind, pattern in (
                ("hardware", r"hardware|compute|footprint"),
                ("batch", r"batch"),
                ("configuration", r"config|hyper|^settings|setup"),
                ("outputs", r"outputs?|dumps?"),
            )
            if re.search(pattern, what)
        )
        if not kinds or not others:
            continue
        end = behind[0].end if behind else match.end()
        for kind in kinds:
            quantity = {
                "hardware": "gpu.model_and_count",
                "batch": "config.per_device_batch",
                "configuration": "config.same",
                "outputs": "outputs.identical",
            }[kind]
            yield Found(
                Span(match.start(), end), quantity, f"same {kind}", Same((kind,), others), not doubt, doubt
            )
    identical = _IDENTICAL.search(text)
    if identical is not None and len(runs) >= 1:
        others = tuple(sorted({run_id for run in runs for run_id in run.run_ids}))
        yield found_at(identical, "outputs.identical", Same(("outputs",), others), doubt=doubt)
