"""Amounts in prose: a number or a range with unit, hedge and comparator, as an exact interval.

Rounding is part of what is said: ``0.645`` says the half-open neighbourhood of one thousandth, ``~12 points``
one point to either side. A half rounds to either side here, because people and programs differ in that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

Unit = Literal["bare", "percent", "points", "count"]
Comparator = Literal["=", "<", "<=", ">", ">="]

_WORDS = {
    word: number
    for number, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
    "hundred": 100,
}

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_POINTS = r"(?:(?:percentage|percent|%)[\s-]*points?|p\.?p\.?t?s?\b|ppts?\b|pts?\b\.?|points?\b)"
_PERCENT = r"(?:%|per\s?cent\b|pct\b)"
_HEDGE = (
    r"~+|about|around|roughly|approximately|approx\.?|circa|ca\.|close "
    r"to|nearly|almost|just (?:over|under|above|"
    r"below|shy of)|slightly (?:over|under|above|below|more than|less than)|some|or so"
)
_COMPARE = (
    r"<=|>=|<|>|≤|≥|(?:no|not) (?:more|higher|greater|better) than|(?:no|"
    r"not) (?:less|lower|fewer|worse) than|"
    r"at least|at most|at or (?:below|under|above)|up to|more than|less than|fewer than|over|under|"
    r"above|below|exceeds?|exceeded|exceeding"
)
_COMPARATORS: tuple[tuple[str, Comparator], ...] = (
    (r"<=|≤|(?:no|not) (?:more|higher|greater|better)|at most|at or (?:below|under)|up to", "<="),
    (r">=|≥|no less|not less|no fewer|not lower|no lower|not worse|no worse|at least|at or above", ">="),
    (r"<|less than|fewer than|under|below", "<"),
    (r">|more than|over|above|exceed", ">"),
)
_VERSIONED = (
    r"Llama|Mistral|Qwen|Gemma|Phi|Pythia|Falcon|GPT|CUDA|Python|PyTorch|"
    r"torch|transformers|version|phase|stage|section|table|figure|eq|appendix|"
    r"seed|GPU|rank|line|lines|layer|experiment|exp|run|issue|item|part|"
    r"step"
)
_AMOUNT = re.compile(
    rf"(?P<lead>(?:(?:{_COMPARE}|{_HEDGE})\s*)*)"
    rf"(?<![\w.])(?<!\d,)(?P<sign>[+-](?=[\d.]))?(?P<low>{_NUMBER})"
    rf"(?:\s*(?P<low_unit>{_POINTS}|{_PERCENT}))?"
    rf"(?:\s*(?:/|\bout of\b|\bof(?: the)?\b)\s*(?P<n>\d[\d,]*)(?!\d|\.\d|\s*%)"
    rf"|\s*(?P<join>-|\bto\b|\band\b|\.\.\.?|…)\s*~?(?P<high>{_NUMBER}))?"
    rf"(?:\s*(?P<unit>{_POINTS}|{_PERCENT}))?(?P<more>\s+or (?:so|more|less)\b)?"
    r"(?![\w])",
    re.IGNORECASE,
)
_SPELLED = re.compile(
    rf"(?P<lead>(?:(?:{_COMPARE}|{_HEDGE}|by)\s+)*)\b(?P<word>{'|'.join(_WORDS)})"
    rf"(?:\s+(?P<unit>{_POINTS}|{_PERCENT})|\s+(?:out )?of(?: the)?\s+(?P<n>\d[\d,]*))",
    re.IGNORECASE,
)


_VARIES = re.compile(
    r"\b(?:rang|var|hover|oscillat|fluctuat|la[yi])\w*\s+(?:anywhere\s+)?from\s+$", re.IGNORECASE
)
_SHARES = {
    "half": Fraction(1, 2),
    "a third": Fraction(1, 3),
    "one third": Fraction(1, 3),
    "two thirds": Fraction(2, 3),
    "a quarter": Fraction(1, 4),
    "three quarters": Fraction(3, 4),
}
_SHARE = re.compile(
    (
        rf"(?P<lead>(?:(?:{_COMPARE}|{_HEDGE}|exactly)\s+)*)\b(?P<share>{'|'.join(_SHARES)})(?= "
        r"(?:of|the)\b)(?! of (?:what|its|that|their)\b)"
    ),
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Amount:
    """What a number in a text says, in fractions for per cent and points, as written otherwise."""

    start: int
    end: int
    low: Fraction
    high: Fraction
    """Equal to :attr:`low` unless a range is written."""
    slack: Fraction
    """Half a unit of the last written digit; more behind a hedge."""
    unit: Unit
    comparator: Comparator
    is_hedged: bool
    sign: int
    """1 or -1 when a sign is written, else 0."""
    n: int | None
    """For ``k/n``: the n; :attr:`low` is then k."""
    text: str

    @property
    def is_range(self) -> bool:
        """Whether a range is written."""
        return self.low != self.high

    def holds(self, value: Fraction) -> bool:
        """Return whether *value* agrees with what is written, rounding and hedges allowed for."""
        if self.comparator == "<":
            return value < self.low + (self.slack if self.is_hedged else 0)
        if self.comparator == "<=":
            return value <= self.low + self.slack
        if self.comparator == ">":
            return value > self.low - (self.slack if self.is_hedged else 0)
        if self.comparator == ">=":
            return value >= self.low - self.slack
        return self.low - self.slack <= value <= self.high + self.slack

    def in_percent(self) -> Amount:
        """Return a bare number read as per cent."""
        return replace(self, low=self.low / 100, high=self.high / 100, slack=self.slack / 100, unit="percent")


def amounts(text: str) -> Iterator[Amount]:
    """Yield the amounts in *text*, in order; dates, versions, sizes in bytes and names with digits are none.

    >>> [(str(one.low), str(one.high), one.unit) for one in amounts("~30-40% after, 129/200, two points")]
    [('3/10', '2/5', 'percent'), ('129', '129', 'count'), ('1/50', '1/50', 'points')]
    """
    spelled = [_spelled(match) for match in _SPELLED.finditer(text)]
    spelled += [_share(match) for match in _SHARE.finditer(text)]
    taken = [(one.start, one.end) for one in spelled]
    found = list(spelled)
    place = 0
    while True:
        match = _AMOUNT.search(text, place)
        if match is None:
            break
        place = max(match.end(), match.start() + 1)
        if _is_something_else(text, match) or any(
            start < match.end() and match.start() < end for start, end in taken
        ):
            continue
        amount = _read(text, match)
        place = amount.end if amount.end > match.start() else place
        found.append(amount)
    yield from sorted(found, key=lambda one: one.start)


def exact(number: str) -> Fraction:
    """Return a written number exactly.

    >>> exact("2,000"), exact("1.5k")
    (Fraction(2000, 1), Fraction(1500, 1))
    """
    plain = number.replace(",", "").strip()
    if plain[-1:] in "kK":
        return Fraction(plain[:-1]) * 1000
    return Fraction(plain)


_SIZE = re.compile(r"\s?(?:[KMGT]i?B|kB|B)\b")
"""A unit of bytes, by which a number is a size and no score."""


def _is_something_else(text: str, match: re.Match[str]) -> bool:
    before, after = text[: match.start("low")], text[match.end() :]
    if match["sign"] is None and _SIZE.match(after):
        return True
    if (
        re.search(rf"(?:\d[-:/]|[A-Za-z]-|[vV]|#|\d\.)$|\b(?:{_VERSIONED})[ -]?$", before, re.IGNORECASE)
        and match["sign"] is None
        and not re.search(r"\d\.\d+\s*%?\s*/$", before)
    ):
        return True
    return bool(re.match(r"[-/:]\d{2}\b", after)) or (
        match["n"] is not None and re.search(r"^\s*/\s*\d", after) is not None and "." not in match["low"]
    )


def _read(text: str, match: re.Match[str]) -> Amount:
    low_text, high_text, join = match["low"], match["high"], (match["join"] or "").lower()
    unit_text = match["unit"] or match["low_unit"] or ""
    end = match.end()
    if high_text is not None and not _is_range(text, match, join):
        high_text, end = None, match.end("low_unit") if match["low_unit"] else match.end("low")
        unit_text = match["low_unit"] or ""
    lead = match["lead"].lower()
    unit = _unit(unit_text)
    low = exact(low_text)
    high = exact(high_text) if high_text is not None else low
    n = int(match["n"].replace(",", "")) if match["n"] is not None and unit == "bare" else None
    if match["n"] is not None and n is None:
        end = match.end("low_unit")
    if n is not None:
        unit = "count"
    scale = Fraction(1, 100) if unit in {"percent", "points"} else Fraction(1)
    is_hedged = bool(re.search(rf"{_HEDGE}|over|under|above|below", lead)) or "so" in (match["more"] or "")
    slack = (
        max(_slack(low_text, is_hedged), _slack(high_text or low_text, is_hedged))
        if unit != "count"
        else Fraction(0)
    )
    if unit == "count" and is_hedged:
        slack = max(Fraction(1), low / 20)
    start = match.start("sign") if match["sign"] else match.start("low")
    if lead.strip():
        start = match.start()
    return Amount(
        start=start,
        end=end,
        low=min(low, high) * scale,
        high=max(low, high) * scale,
        slack=slack * scale,
        unit=unit,
        comparator=_comparator(lead, match["more"] or ""),
        is_hedged=is_hedged,
        sign={"+": 1, "-": -1}.get(match["sign"] or "", 0),
        n=n,
        text=text[start:end],
    )


def _is_range(text: str, match: re.Match[str], join: str) -> bool:
    low, high = match["low"], match["high"]
    if join == "and":
        return bool(re.search(r"\bbetween\s+$", text[: match.start()], re.IGNORECASE))
    if join == "to" and re.search(r"\bfrom\s+$", text[: match.start()], re.IGNORECASE):
        return bool(_VARIES.search(text[: match.start()]))
    if exact(low) > exact(high):
        return False
    return ("." in low) == ("." in high) or bool(match["unit"] or match["low_unit"])


def _spelled(match: re.Match[str]) -> Amount:
    value = Fraction(_WORDS[match["word"].lower()])
    lead = match["lead"].lower()
    n = int(match["n"].replace(",", "")) if match["n"] else None
    unit = "count" if n is not None else _unit(match["unit"] or "")
    is_hedged = bool(re.search(_HEDGE, lead))
    scale = Fraction(1, 100) if unit in {"percent", "points"} else Fraction(1)
    slack = Fraction(0) if n is not None else _slack(str(int(value)), is_hedged)
    start = match.start("word")
    return Amount(
        start,
        match.end(),
        value * scale,
        value * scale,
        slack * scale,
        unit,
        _comparator(lead, ""),
        is_hedged,
        0,
        n,
        match.string[start : match.end()],
    )


def _share(match: re.Match[str]) -> Amount:
    """Return *half of* and its like; without *exactly* it is said to the nearest twentieth."""
    value = _SHARES[match["share"].lower()]
    lead = match["lead"].lower()
    slack = Fraction(0) if "exactly" in lead else Fraction(1, 20)
    return Amount(
        match.start("share"),
        match.end(),
        value,
        value,
        slack,
        "percent",
        _comparator(lead, ""),
        True,
        0,
        None,
        match.string[match.start("share") : match.end()],
    )


def _unit(text: str) -> Unit:
    if not text:
        return "bare"
    return "percent" if re.fullmatch(_PERCENT, text, re.IGNORECASE) else "points"


def _comparator(lead: str, more: str) -> Comparator:
    if "more" in more:
        return ">="
    if "less" in more:
        return "<="
    if re.search(r"just|slightly|shy", lead):
        return "="
    for pattern, comparator in _COMPARATORS:
        if re.search(pattern, lead):
            return comparator
    return "="


def _slack(written: str, is_hedged: bool) -> Fraction:
    """Return how far the truth may lie from *written*.

    Half a unit of the last digit; behind a hedge a whole one, and for ``40`` half of the ten that it is
    rounded to.
    """
    plain = written.replace(",", "")
    decimals = len(plain.partition(".")[2])
    unit = Fraction(1, 10**decimals)
    if not is_hedged:
        return unit / 2
    trailing = len(plain) - len(plain.rstrip("0")) if decimals == 0 and plain.strip("0") else 0
    return max(unit, Fraction(10**trailing, 2) if trailing else unit)
