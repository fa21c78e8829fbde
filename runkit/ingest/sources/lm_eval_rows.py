"""What rows of the harness's samples prove: its verdict on each document, and whether ours is the same.

Pure: rows and the task's configuration in, verdicts out. Our own comparison is made only where the
configuration says all that the harness does: no scorer of the task's own, and only options that are known.
"""

from __future__ import annotations

import ast
import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runkit.ingest.dumps import storable
from runkit.ingest.sources.lm_eval_files import Row, mapping
from runkit.records.outcomes import INVALID_MARKER

_LONGEST_PATTERN = 200
_EXACT_MATCH_OPTIONS = frozenset(
    {
        *("metric", "aggregation", "higher_is_better"),
        *("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"),
    }
)
_OWN_SCORERS = ("process_results", "class")


class Unrepeated(NamedTuple):
    """Rows with every document once."""

    rows: tuple[Row, ...]
    repeated: tuple[str, ...]
    """Documents that stood there several times in the same words, and count once."""
    contradictory: tuple[str, ...]
    """Documents that stood there several times in different words."""


class Verdicts(NamedTuple):
    """One number a row."""

    values: tuple[float | None, ...]
    """None for what is no finite number."""
    missing: Mapping[str, str]
    """What stands for those to how often."""

    @property
    def mean(self) -> float | None:
        """Of those that are finite."""
        known = [value for value in self.values if value is not None]
        return math.fsum(known) / len(known) if known else None

    @property
    def are_binary(self) -> bool:
        """Whether each row is right or wrong."""
        return bool(self.values) and all(value in (0.0, 1.0) for value in self.values)

    @property
    def are_fractions(self) -> bool:
        """Whether all lie between 0 and 1."""
        return all(value is None or 0 <= value <= 1 for value in self.values)


class Judged(NamedTuple):
    """One row, judged by us."""

    answer: str
    is_right: bool


def unrepeated(rows: Sequence[Row]) -> Unrepeated:
    """Return *rows* with documents that stand there several times counted once."""
    first: dict[str, Row] = {}
    repeated: dict[str, None] = {}
    contradictory: dict[str, None] = {}
    for row in rows:
        known = first.setdefault(row.item, row)
        if known is not row:
            (repeated if known.digest == row.digest else contradictory)[row.item] = None
    return Unrepeated(_in_order(first.values()), tuple(repeated), tuple(contradictory))


def _in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return *rows* by number: several processes write them in another order than one does."""
    found = tuple(rows)
    if all(re.fullmatch(r"[0-9]{1,18}", row.item) for row in found):
        return tuple(sorted(found, key=lambda row: int(row.item)))
    return found


def verdicts(rows: Sequence[Row], metric: str) -> Verdicts | None:
    """Return what the harness wrote for *metric* in each of *rows*, or None where that is no number."""
    values: list[float | None] = []
    missing: Counter[str] = Counter()
    for row in rows:
        written = row.verdicts[metric]
        value = number(written)
        if value is None and written is not None:
            return None
        is_finite = value is not None and math.isfinite(value)
        values.append(value if is_finite else None)
        if not is_finite:
            missing["null" if written is None else storable(written).lower()] += 1
    if all(value is None for value in values):
        return None
    return Verdicts(tuple(values), {name: str(count) for name, count in missing.items()})


def number(value: object) -> float | None:
    """Return the number that *value* is or spells, NaN and infinite ones included; None for all else.

    The harness spells what JSON does not know, such as numbers and truth values of NumPy.
    """
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    if isinstance(value, str):
        try:
            return float({"True": "1", "False": "0"}.get(value, value))
        except ValueError:
            return None
    return None


def agrees(mean: float, printed: float) -> bool:
    """Return whether *printed* is *mean* in single precision, or rounded to its own four or more decimals."""
    if math.isclose(mean, printed, rel_tol=1e-6, abs_tol=1e-7):
        return True
    decimals = len(repr(printed).partition(".")[2]) if "e" not in repr(printed) else 0
    return decimals >= 4 and abs(mean - printed) <= 0.500001 * 10.0**-decimals


def judged(rows: Sequence[Row], metric: str, config: Mapping[str, Any]) -> tuple[Judged, ...] | None:
    """Return our own judgement of *rows* by *metric*, or None where the harness's way is not known.

    A gold can be read in several ways: a text like a list is one answer or several, a digit is the place of
    an option or its label. The way that gives the harness's verdicts is taken, else the first. One that
    finds none of the right answers right is not how the harness reads them, and no judgement.
    """
    if not config or any(config.get(key) is not None for key in _OWN_SCORERS):
        return None
    ways: list[tuple[Judged, ...] | None] = []
    if metric == "exact_match" and config.get("output_type") == "generate_until":
        ways = [_exactly_matched(rows, config, are_lists=are_lists) for are_lists in (False, True)]
    if metric == "acc" and config.get("output_type") == "multiple_choice":
        ways = [_chosen(rows, config, are_labels=are_labels) for are_labels in (False, True)]
    written = [number(row.verdicts.get(metric)) == 1 for row in rows]
    known = [one for one in ways if one is not None and _is_a_reading(one, written)]
    same = (one for one in known if [ours.is_right for ours in one] == written)
    return next(same, known[0] if known else None)


def _is_a_reading(own: Sequence[Judged], written: Sequence[bool]) -> bool:
    agreed = any(ours.is_right and right for ours, right in zip(own, written, strict=True))
    return agreed or not any(written)


def differing(rows: Sequence[Row], own: Sequence[Judged], written: Verdicts) -> tuple[str, ...]:
    """Return the documents on which our judgement is not the harness's."""
    return tuple(
        row.item
        for row, ours, theirs in zip(rows, own, written.values, strict=True)
        if theirs is None or theirs != float(ours.is_right)
    )


def _exactly_matched(
    rows: Sequence[Row], config: Mapping[str, Any], *, are_lists: bool
) -> tuple[Judged, ...] | None:
    options = _options(config, "exact_match")
    if config.get("doc_to_choice") is not None or options is None:
        return None
    patterns = _patterns(options.get("regexes_to_ignore") or ())
    answers = [_only_answer(row) for row in rows]
    if patterns is None or any(answer is None for answer in answers):
        return None
    return tuple(
        _match(
            str(answer),
            (_listed(row.target) if are_lists else None) or [storable(row.target)],
            patterns,
            options,
        )
        for row, answer in zip(rows, answers, strict=True)
    )


def _options(config: Mapping[str, Any], metric: str) -> Mapping[str, Any] | None:
    """Return what the configuration says of *metric*, or None where it says nothing or what is not known."""
    listed = config.get("metric_list")
    for one in listed if isinstance(listed, list) else ():
        if mapping(one).get("metric") == metric:
            return one if set(one) <= _EXACT_MATCH_OPTIONS else None
    return None


def _patterns(found: object) -> list[re.Pattern[str]] | None:
    if not isinstance(found, list | tuple):
        return None
    if not all(isinstance(one, str) and len(one) <= _LONGEST_PATTERN for one in found):
        return None
    try:
        return [re.compile(one) for one in found]
    except (re.error, RecursionError, OverflowError):
        return None


def _only_answer(row: Row) -> str | None:
    if row.responses is None or len(row.responses) != 1 or not isinstance(row.responses[0], str | int):
        return None
    return storable(row.responses[0])


def _listed(target: object) -> list[str] | None:
    """Return the accepted answers in *target* if it is a list, or the text of one."""
    found = target
    if isinstance(target, str) and target.startswith("[") and target.endswith("]"):
        try:
            found = ast.literal_eval(target)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return [storable(one) for one in found] if isinstance(found, list) and found else None


def _match(
    answer: str, golds: Iterable[str], patterns: Sequence[re.Pattern[str]], options: Mapping[str, Any]
) -> Judged:
    """Compare as the harness does; what the filter could not extract is no answer, whatever the gold."""
    given = normalised(answer, patterns, options)
    return Judged(
        INVALID_MARKER if answer in (INVALID_MARKER, "") else given,
        any(given == normalised(gold, patterns, options) for gold in golds),
    )


def normalised(text: str, ignored: Sequence[re.Pattern[str]], options: Mapping[str, Any]) -> str:
    """Return *text* as the harness's ``exact_match`` compares it."""
    for pattern in ignored:
        text = pattern.sub("", text)
    if options.get("ignore_case"):
        text = text.lower()[: len(text)]  # its arrays do not grow where a small letter needs two characters
    if options.get("ignore_punctuation"):
        text = text.translate(str.maketrans("", "", string.punctuation))
    if options.get("ignore_numbers"):
        text = text.translate(str.maketrans("", "", string.digits))
    return storable(text)


def _chosen(rows: Sequence[Row], config: Mapping[str, Any], *, are_labels: bool) -> tuple[Judged, ...] | None:
    """Return the most likely option of each row, which is right when the gold names it."""
    found = []
    for row in rows:
        likelihoods = _likelihoods(row, config)
        golds = _gold_places(row.target, config, are_labels=are_labels)
        if likelihoods is None or not golds or max(golds) >= len(likelihoods):
            return None
        place = likelihoods.index(max(likelihoods))
        found.append(Judged(str(place), place in golds))
    return tuple(found)


def _likelihoods(row: Row, config: Mapping[str, Any]) -> list[float] | None:
    """Return the likelihood of each option; with mutual information those without context stand behind."""
    found = [_likelihood(one) for one in row.responses or ()]
    known = [one for one in found if one is not None]
    options = config.get("doc_to_choice")
    num_options = len(options) if isinstance(options, list) else None
    if (
        _has_mutual_information(row, config)
        and len(known) % 2 == 0
        and num_options in (None, len(known) // 2)
    ):
        known = known[: len(known) // 2]
    if len(known) < 2 or None in found or num_options not in (None, len(known)):
        return None
    return known


def _has_mutual_information(row: Row, config: Mapping[str, Any]) -> bool:
    listed = config.get("metric_list")
    names = [mapping(one).get("metric") for one in listed] if isinstance(listed, list) else []
    return "acc_mutual_info" in names or "acc_mutual_info" in row.verdicts


def _likelihood(response: object) -> float | None:
    first = response[0] if isinstance(response, list | tuple) and response else None
    value = number(first) if not isinstance(first, bool) else None
    return value if value is not None and not math.isnan(value) else None


def _gold_places(target: object, config: Mapping[str, Any], *, are_labels: bool) -> tuple[int, ...]:
    """Return the places of the right options, empty where they are not known."""
    texts = _listed(target) or [storable(target)]
    if not are_labels:
        are_places = all(re.fullmatch(r"[0-9]{1,6}", text) for text in texts)
        return tuple(int(text) for text in texts) if are_places else ()
    options = config.get("doc_to_choice")
    if not isinstance(options, list) or not all(text in options for text in texts):
        return ()
    return tuple(options.index(text) for text in texts)
