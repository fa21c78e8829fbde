"""Progress bars as programs write them into a log, and what loggers and launchers put before a line."""

from __future__ import annotations

import re
from typing import NamedTuple

_CLOCK = r"(?:\?|-?(?:\d{1,5} days?, )?\d{1,5}:\d\d(?::\d\d)?)"
_IN_BRACKETS = r"[^\[\]]{0,400}(?:\[[^\[\]]{0,200}\][^\[\]]{0,200}){0,8}"
_TIMES = rf"\[{_CLOCK}(?:<{_CLOCK}(?:, {_IN_BRACKETS})?|, {_IN_BRACKETS})\]"
"""``[00:01<00:02, 9.9it/s, loss=0.3]`` of tqdm and Lightning, and ``[00:01, 9.9it/s]`` without a total."""
_COUNT = r"[\d.,]{1,20}[kKMGTP]?i?B?"
_NAME = r"(?<![A-Za-z_])[A-Za-z_][\w ()/#-]{0,60}: {0,4}"
_PERCENT = (
    rf"(?:{_NAME})? {{0,3}}\d{{1,3}}%(?: \(\d+ of \d+\))? ?\|[^|\r\n]{{0,500}}\|"
    rf"(?: {{0,3}}{_COUNT}/{_COUNT})?"
)
_DRAWN = r"[━╸╺─▏▎▍▌▋▊▉█░▒▓■□▰▱⣿⣀⣾⬛⬜]{4,}\|?|\[[=#>.\-* ]{5,400}\]"
"""Lines of rich, keras, alive-progress, click, wget and others."""
_NUMBER = r"[-+]?(?:\d[\d.]{0,30}(?:e[-+]?\d{1,3})?|nan|inf)"
_AFTER = "|".join(
    (
        r"\d{1,3}(?:\.\d+)?%", r"\[\d{1,3}%\]", r"\d{1,12}/\d{1,12}", r"(?:\d+:)?\d{1,2}:\d\d(?::\d\d)?",
        r"-:--:--", "•", rf"{_COUNT} ?\w{{0,12}}/\w{{1,6}}", r"\d+(?:ms|us|s)(?:/\w{1,6})?",
        r"(?:- )?(?:ETA|Elapsed Time|eta):? {0,4}[\d:]{1,12}s?", r"in [\d.:]{1,12}s", r"\([\d.~/ \w]{1,40}\)",
        rf"(?:- )?[A-Za-z_][\w/.-]{{0,60}}: {_NUMBER}", "-",
    )
)  # fmt: skip
BAR = re.compile(rf"(?:{_TIMES}|(?:{_PERCENT}|{_DRAWN})(?: {{0,3}}{_TIMES}|(?>(?: {{0,4}}(?:{_AFTER}))*)))")
"""One progress bar, with the counts, times and metrics at its end."""

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?[AP]M)?"
_ZONE = r"(?:Z|(?: ?[+-]\d\d:?\d\d)| UTC| GMT)?"
_STAMP = "|".join(
    (
        rf"\d{{4}}[-/.]\d\d[-/.]\d\d(?:[T _]{_TIME}{_ZONE})?(?: std(?:out|err) [FP])?",
        rf"\d{{8}}[ T_-]{_TIME}",
        rf"(?:[DIWEF] )?\d{{1,2}}[-/]\d{{1,2}}(?:[-/]\d{{2,4}})? {_TIME}",
        rf"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?{_MONTH} {{1,2}}\d{{1,2}} {_TIME}"
        r"(?: \d{4}(?!\d)| [\w.-]{1,100} [\w./-]{1,100}(?:\[\d+\])?:)?",
        rf"[IWEFD]\d{{4}} {_TIME} {{1,8}}\d+ [\w./-]{{1,200}}:\d+\]",
        rf"{_TIME}{_ZONE}",
        r"\d{10}\.\d{1,9}|1[5-9]\d{8}(?=[: ])",
    )
)
_LEVEL = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|SUCCESS)(?![\w])(?::[\w.]{0,100}:)?"
_RANKED = "|".join(
    (
        r"\[(?i:(?:local_|global_)?rank|default|trainer|worker|process|proc|task|gpu|cuda|device|node)"
        r"[ _:=-]?"
        r"(?P<bracket>\d{1,6})(?:[/|]\d{1,6})?\]:?",
        r"\[\d{1,6},(?P<mpi>\d{1,6})\](?:<std(?:out|err|diag)>)?:?",
        r"\[(?P<bare>\d{1,6})\]:?",
        r"(?i:rank|worker|proc|process|trainer|task)[ _-]?(?P<named>\d{1,6})(?::| {0,8}\|(?= |$))",
        r"\((?i:rank|worker|process)[ _:=]?(?P<paren>\d{1,6})\):?",
        r"(?P<srun>\d{1,6}):(?= |$)",
    )
)
_SPOKEN = "|".join(
    (
        r"\((?:[\w.:-]{1,80} )?pid=\d+[^()]{0,80}\)",
        r"(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|[A-Za-z][\w-]{0,60}[-.\d][\w.-]{0,100}):(?= |$)",
        r"[A-Za-z][\w.-]{0,100}\d {0,8}\|(?= |$)",
    )
)
_MARKS = (
    r"\[[^\[\]]{0,160}\]:?|\||-{1,3}|>{1,3}|::?|=>|—|•|\.{2,}|<std(?:out|err)>:?|[\w./-]{1,200}\.py:\d+\]?:?"
)
_PLACE = r"[\w.]{1,100}:[\w.<>]{1,100}:\d{1,7}"
_LOGGER = r"[\w./]{1,100}(?:\[\d+\])?(?= {0,12}(?:[-|:]|$))"

_SPEAKERS = re.compile(rf"(?>{_STAMP})|(?P<rank>{_RANKED})|(?P<other>{_SPOKEN})")
_STAMPED = re.compile(rf"(?:{_STAMP}|{_LEVEL})")
_STRICT = rf"{_STAMP}|{_LEVEL}|{_RANKED.replace('?P<', '?P<_')}|{_SPOKEN}|{_MARKS}"
_DECORATION = re.compile(rf"(?>\s*+(?>{_STRICT}))*+\s*+")
_LOGGED = re.compile(rf"(?>\s*+(?>{_STRICT}|{_PLACE}|{_LOGGER}))*+\s*+")
_NUMBER_OF_RANK = ("bracket", "mpi", "bare", "named", "paren", "srun")


class Speaker(NamedTuple):
    """Which of several processes wrote a line; they sort as they are believed: nobody named, then by rank."""

    is_named: bool = False
    rank: int = 0
    name: str = ""


def is_decoration(text: str) -> bool:
    """Return whether *text* is all rank, host, time, level and the like, as launchers and loggers write it.

    >>> [is_decoration(text) for text in ("[rank0]: ", "2026-01-02 03:04:05,678 - INFO - ", "He said: ")]
    [True, True, False]
    """
    if _DECORATION.fullmatch(text):
        return True
    return _STAMPED.search(text) is not None and _LOGGED.fullmatch(text) is not None


def speaker_of(text: str) -> Speaker:
    """Return who the decoration *text* names.

    >>> speaker_of("node01: [rank3]: ")
    Speaker(is_named=True, rank=3, name='node01:')
    """
    rank: int | None = None
    names: list[str] = []
    for found in _SPEAKERS.finditer(text):
        if found["rank"]:
            rank = next(int(found[key]) for key in _NUMBER_OF_RANK if found[key])
        elif found["other"]:
            names.append(found["other"])
    if rank is None and not names:
        return Speaker()
    return Speaker(True, rank if rank is not None else 0, " ".join(names))


def alike(text: str) -> re.Pattern[str]:
    """Return the form of the decoration *text*, in which times and counts may differ and ranks may not."""
    form, end = "", 0
    for found in _SPEAKERS.finditer(text):
        if found["rank"] or found["other"]:
            form += _digits_free(text[end : found.start()]) + re.escape(found[0])
            end = found.end()
    return re.compile(form + _digits_free(text[end:]))


def _digits_free(text: str) -> str:
    return re.sub(r"\d+", r"\\d+", re.sub(r"(?:\\ )+", r"\\s*", re.escape(text)))
