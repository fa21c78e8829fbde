"""Sentences and cells -> how a run ended, how far training came, whether it crashed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.amounts import exact
from runkit.audit.claims import Ending, EndingWord, Found, NoCrash, Reached
from runkit.audit.grammar.matches import found_at
from runkit.audit.grammar.sentence import Surroundings
from runkit.audit.places import step_mentions, without_code
from runkit.audit.words import doubt_of

_ENDINGS: tuple[tuple[EndingWord, re.Pattern[str]], ...] = (
    (
        "early_stopped",
        re.compile(
            r"""
              \bearly[- ]stopped\b | \bearly[- ]stop\ at\ \d
            | \bstopp(?:ed|ing)\ early\b
            | \bearly[- ]stop(?:ping)?[ ]
              (?:fired|triggered|kicked\ in|hit|ended|occurred|at\ step)
              \b
            | \bpatience\ (?:ran\ out|(?:was\ )?exhausted)\b
            | \btriggered\ early[- ]stopping\b
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    (
        "completed",
        re.compile(
            r"""
              \b(?:ran|run|trained|went)\ to\ (?:completion|the\ (?:very\ )?end)\b
            | \b(?:was\ |has\ |is\ )?completed\b
              (?!\ (?:the\ )?(?:analysis|eval\w*|draft|table|section))
            | \bfinish(?:ed|es)?[ ]
              (?:
                    all\  | the\ full\  | its\ full\  | its\  | the\  | cleanly
                  | successfully | normally | without
              )
            | \bran\ (?:for\ )?(?:the|its)\ full\b
            | \bcompletes?\ all\b
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    (
        "truncated",
        re.compile(
            r"""
              \btruncated\b(?!\ (?:outputs?|generations?|answers?|text))
            | \bcut\ (?:off|short)\b | \b(?:was|got|been)[ ]
              (?:killed|interrupted|preempted|cancelled|canceled|terminated)
              \b
            | \bkilled\ (?:by|at|after|in|on)\b
            | \btimed\ out\b
            | \bhit\ (?:the\ |its\ )?(?:wall-?time|time\ limit|wall[- ]clock)\b
            | \bnever\ finished\b
            | \b(?:the\ )?log\ (?:simply\ |just\ )?(?:ends|stops)\b
            | \bdid\ not\ (?:finish|complete)\b
            | \bincomplete\b
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    (
        "crashed",
        re.compile(
            r"""
              \bcrashed\b | \bOOM(?:ed|'d|-ed)\b
            | \bran\ out\ of\ (?:GPU\ )?memory\b
            | \bsegfault\w*\b
            | \bdied\ (?:with|at|from)\b
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
)


_NOT_SAID = re.compile(
    r"""
    \b
    (?:
          can | could | would | should | if | may | might | must | to | be | when
        | until | unless | whether | will | gets?
    )
    \s+(?:\w+\s+)?$
    """,
    re.IGNORECASE | re.VERBOSE,
)


_DENIED = re.compile(
    r"""
    \b
    (?:not|never|no|neither|nor|without|didn't|wasn't|isn't|hasn't)
    \s+
    (?:(?:been|be|was|yet|actually|immediately)\s+)*
    $
    """,
    re.IGNORECASE | re.VERBOSE,
)


_FINISH_STEPS = re.compile(
    r"""
    \b
    (?:finish(?:es|ed|ing)?|complete[sd]?|trained|ran|run|reach(?:es|ed)?)
    \s+(?:for\s+)?
    (?:all\s+|the\s+|its\s+|full\s+|a\s+full\s+|the\s+full\s+|all\s+of\s+the\s+)*
    (?P<steps>\d[\d,]*(?:\.\d+)?k?)[ -](?:training\ |optimizer\ )?(?:steps?|iterations?)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_LAST_STEP = re.compile(
    r"""
    \b
    (?:
          (?:log|run|training|it)\ (?:simply\ |just\ |abruptly\ )?
          (?:
                ends? | ended | stops? | stopped | halted | cut\ off
              | was\ (?:killed|cut\ off|truncated|terminated)
          ) | cut\ off | truncated | killed | crashed | died | stopped\ early
        | stopping\ early | early[- ]stopped | stopped
    )
    \s+(?:\w+\s+)?(?:at|after|by|around)\s+(?P<hedge>~\s*|about\ )?(?:step\s+)?(?P<steps>\d[\d,]*(?:\.\d+)?k?)
    (?:\s*(?:/|of|out\ of)\s*(?P<planned>\d[\d,]*k?))?
    (?:\ steps)?(?!\w|[.,]\d|\s*%)
    """,
    re.IGNORECASE | re.VERBOSE,
)


_LAST_STEP_FIELD = re.compile(
    r"\blast (?:training )?step(?: is| was)?\s*[:=]?\s*(?P<steps>\d[\d,]*k?)(?!\w|[.,]\d|\s*%)", re.IGNORECASE
)


_COUNTED = re.compile(r"\s*[a-z]+(?: [a-z]+)* \(\d+\)(?:, [a-z]+(?: [a-z]+)* \(\d+\))+\s*")
"""A cell that says of how many runs each ending is: ``completed (4), early stopped (1)``."""


def endings(text: str, around: Surroundings) -> Iterator[Found]:
    """Yield how *text* says that a run ended."""
    if around.is_cell and _COUNTED.fullmatch(text):
        return
    plain = without_code(text) if not around.is_cell else text
    doubt = doubt_of(text)
    for status, pattern in _ENDINGS:
        for match in pattern.finditer(plain):
            before = plain[: match.start()]
            if _NOT_SAID.search(before):
                continue
            step = next(
                (
                    one.steps.at[0]
                    for one in step_mentions(plain)
                    if one.steps.at and -2 <= one.start - match.end() < 12
                ),
                None,
            )
            denied = bool(_DENIED.search(before))
            reason = doubt
            if not denied and re.search(
                (
                    r"\b(?:no|not|never|nothing|without|neither|sa(?:ys?|"
                    r"id)|claim(?:s|ed)?|according|labell?ed|called|notes?|"
                    r"reported|supposed)\b[^,;.]{0,80}$"
                ),
                before,
                re.IGNORECASE,
            ):
                reason = reason or "the sentence reports or denies it in a roundabout way"
            yield found_at(
                match,
                "status",
                Ending(status, step, denied),
                doubt=reason,
                claimed=f"{'not ' if denied else ''}{status}",
            )
    early = (
        re.fullmatch(r"\s*(?:(yes|✓|true)|(no|✗|-|false))\s*", plain, re.IGNORECASE)
        if around.is_cell
        else None
    )
    if early is not None and re.search(r"\bearly[- ]stop", around.label, re.IGNORECASE):
        denied = early.group(2) is not None
        told = f"{'not ' if denied else ''}early_stopped"
        yield found_at(early, "status", Ending("early_stopped", None, denied), claimed=told)
    if around.is_cell and re.search(r"\bstatus\b|\boutcome\b|\bended\b", around.label, re.IGNORECASE):
        word = re.fullmatch(
            r"\W*(?:✓|done|ok|complete|finished|early[- ]stop|killed|timeout)\W*", plain, re.IGNORECASE
        )
        if word is not None:
            status = (
                "early_stopped"
                if "early" in plain.lower()
                else "truncated"
                if re.search("kill|timeout", plain, re.IGNORECASE)
                else "completed"
            )
            yield found_at(word, "status", Ending(status, None, False), claimed=status)
    crash = re.search(
        r"\b(?:without|no)\b(?:\s+[\w-]+){0,3}\s+(?:OOMs?|crash(?:es)?|out[- ]of[- ]memory(?: errors?)?)\b",
        plain,
        re.IGNORECASE,
    )
    if crash is not None:
        yield found_at(crash, "oom_events", NoCrash(), doubt="")


def training_length(text: str) -> Iterator[Found]:
    """Yield how far *text* says that training came."""
    doubt = doubt_of(text)
    for match in _LAST_STEP_FIELD.finditer(text):
        yield found_at(match, "last_training_step", Reached(int(exact(match["steps"])), "last"), doubt=doubt)
    for match in _FINISH_STEPS.finditer(text):
        if not re.search(r"\b(?:not|never|to|before|didn't)\s+$", text[: match.start()], re.IGNORECASE):
            yield found_at(
                match, "last_training_step", Reached(int(exact(match["steps"])), "reached"), doubt=doubt
            )
    for match in _LAST_STEP.finditer(text):
        if (
            match["hedge"]
            or _NOT_SAID.search(text[: match.start()])
            or re.search(r"(?:not|never)\s+$", text[: match.start()])
        ):
            continue
        yield found_at(match, "last_training_step", Reached(int(exact(match["steps"])), "last"), doubt=doubt)
        if match["planned"]:
            yield found_at(
                match, "planned_steps", Reached(int(exact(match["planned"])), "planned"), doubt=doubt
            )
