"""What a program said with ``runkit.params``, ``log``, ``score`` and ``items``: ``measurements.jsonl``.

Of a parameter, a step or a score that is given twice, the later one is taken and the contradiction told; of
several ranks, the lowest one's course is. Item scores are taken whole or not at all: nobody can tell which of
two rows for one item was meant, or what stood in a part that is missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from runkit.errors import RunUnreadable
from runkit.ingest.recorded_items import (
    Call,
    by_item,
    contradiction,
    joined,
    kind_of,
    or_none,
    values_of,
    without_repetition,
)
from runkit.ingest.recorded_lines import (
    KINDS,
    LONGEST_NAME,
    NOT_FINITE,
    Unfit,
    columns_in,
    finite,
    is_ours,
    lines_in,
    opened,
    same,
    text_in,
    whole_in,
)
from runkit.ingest.source import FoundFacts
from runkit.recording import FILE_NAME
from runkit.records.items import ItemScores
from runkit.records.manifest import Evidence, Moment
from runkit.records.measurement import SYSTEM, TASK, Metric, MetricKind, Score, Series, Weights, WeightsKind
from runkit.records.metrics import metric_named
from runkit.records.settings import flattened

_MOST_LINES = 100
"""Contradicting lines that one score names."""
_OF_A_RANK = frozenset(
    {
        "rank",
        "local_rank",
        "global_rank",
        "node_rank",
        "process_index",
        "local_process_index",
        "device",
        "gpu",
    }
)
"""Parameters that differ between the processes of one run because they say which process it is."""
_AT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([+-]\d{2}:\d{2})?")


class RecordedSource:
    """Reads what the four functions wrote."""

    name = "runkit-functions"
    looks_for = f"{FILE_NAME}, written by runkit.params, log, score and items"

    def recognises(self, root: Path) -> bool:
        """Return whether a line among the first is one of ours."""
        path = root / FILE_NAME
        if path.is_symlink() or not path.is_file():
            return False
        try:
            with opened(path) as file:
                lines = (line for _number, line in zip(range(100), lines_in(file), strict=False))
                return any(is_ours(line) for line in lines)
        except OSError:
            return True  # what is wrong with it is told when it is read

    def read(self, root: Path) -> FoundFacts:
        """Return what the lines say, torn ones counted.

        Raises:
            RunUnreadable: The file cannot be opened.
        """
        gathered = _Gathered()
        try:
            with opened(root / FILE_NAME) as file:
                for number, line in enumerate(lines_in(file), start=1):
                    if line != {}:
                        gathered.take(number, line)
        except OSError as error:
            raise RunUnreadable(
                f"{FILE_NAME} cannot be read: {error.strerror}; check its permissions"
            ) from error
        return gathered.facts(self.name)


SOURCE = RecordedSource()


class _What(NamedTuple):
    """What a score is of, as the program said it."""

    metric: str
    task: str
    split: str | None
    system: str
    step: int | None
    weights: str | None
    conditions: tuple[tuple[str, str], ...]

    @property
    def spoken(self) -> str:
        parts = [
            f"{self.system}:" if self.system != SYSTEM else "",
            "" if self.task == TASK else f"{self.task}/",
        ]
        step = f" at step {self.step}" if self.step is not None else ""
        return f"{''.join(parts)}{self.metric}{step}"


@dataclass
class _Said:
    """A value and where it stands."""

    value: Any
    line: int
    rank: int | None = None
    n: int | None = None
    other_lines: list[int] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"line {self.line}" + (f" (rank {self.rank})" if self.rank is not None else "")


@dataclass
class _Meaning:
    """What was said about a metric, and the values that speak for or against it."""

    directions: dict[bool, int] = field(default_factory=dict)
    units: dict[tuple[str, str], int] = field(default_factory=dict)
    """Task and unit to the line."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Task to the smallest and the largest value."""

    def saw(self, task: str, low: float, high: float) -> None:
        before = self.ranges.get(task, (low, high))
        self.ranges[task] = (min(before[0], low), max(before[1], high))


@dataclass
class _Gathered:
    """All lines so far, and what follows from them together."""

    params: dict[str, _Said] = field(default_factory=dict)
    courses: dict[tuple[str, str | None], dict[int, dict[int, _Said]]] = field(default_factory=dict)
    """Name and split to rank to step."""
    repeated: dict[tuple[str, str | None], list[tuple[int, _Said, _Said]]] = field(default_factory=dict)
    scores: dict[_What, _Said] = field(default_factory=dict)
    calls: dict[_What, dict[str, Call]] = field(default_factory=dict)
    meanings: dict[str, _Meaning] = field(default_factory=dict)
    primary: dict[_What, int] = field(default_factory=dict)
    unfit: dict[str, list[int]] = field(default_factory=dict)
    """Why lines could not be read to which."""
    conflicts: list[tuple[int, str]] = field(default_factory=list)
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    not_finite: list[tuple[int, str]] = field(default_factory=list)
    first_at: tuple[int, str] | None = None

    def take(self, number: int, line: dict[str, Any] | None) -> None:
        """Take line *number*; None is a torn one."""
        try:
            if line is None:
                raise Unfit("torn or no line of runkit's")
            kind = line.get("kind")
            if kind not in KINDS:
                raise Unfit("of a kind that this version of runkit does not know")
            getattr(self, f"_take_{kind}")(number, line, whole_in(line, "rank"))
        except (Unfit, RecursionError) as error:
            why = str(error) if isinstance(error, Unfit) else "nested too deeply"
            self.unfit.setdefault(why, []).append(number)
            return
        at = line.get("at")
        if self.first_at is None and isinstance(at, str) and _AT.fullmatch(at):
            self.first_at = (number, at)

    def _take_params(self, number: int, line: dict[str, Any], rank: int | None) -> None:
        values = line.get("values")
        if not isinstance(values, dict):
            raise Unfit("params without values")
        for key, value in flattened(values).items():
            before = self.params.get(key)
            now = _Said(value, number, rank)
            if before is not None:
                if same(before.value, value):
                    continue
                if key.rpartition(".")[2] in _OF_A_RANK and before.rank != rank:
                    if (before.rank or 0) <= (rank or 0):
                        continue
                else:
                    self.conflicts.append(
                        (number, f"{key} is {before.value!r} in {before.place} and {value!r} in {now.place}; "
                         "the later one is taken")
                    )  # fmt: skip
            self.params[key] = now

    def _take_log(self, number: int, line: dict[str, Any], rank: int | None) -> None:
        values, split, step = line.get("values"), text_in(line, "split"), whole_in(line, "step")
        if not isinstance(values, dict) or not all(0 < len(name) <= LONGEST_NAME for name in values):
            raise Unfit("log without named values")
        for name, raw in values.items():
            course = self.courses.setdefault((name, split), {}).setdefault(-1 if rank is None else rank, {})
            at = step if step is not None else len(course)
            now = _Said(raw, number, rank)
            before = course.get(at)
            if before is not None and not same(before.value, raw):
                self.repeated.setdefault((name, split), []).append((at, before, now))
            course[at] = now
            value = finite(raw)
            if value is not None:
                self._meaning(name).saw(TASK, value, value)

    def _take_score(self, number: int, line: dict[str, Any], rank: int | None) -> None:
        what = self._what(number, line)
        if "value" not in line:
            raise Unfit("score without a value")
        now = _Said(line["value"], number, rank, whole_in(line, "n"))
        before = self.scores.get(what)
        if before is not None:
            now.other_lines = before.other_lines
            if not same(before.value, now.value):
                told = f"{what.spoken} is {before.value} in {before.place} and {now.value} in {now.place}"
                self.conflicts.append((number, f"{told}; the later one is taken"))
                now.other_lines = [*before.other_lines, before.line][-_MOST_LINES:]
        self.scores[what] = now
        if line.get("primary") is True:
            self.primary.setdefault(what, number)

    def _take_items(self, number: int, line: dict[str, Any], rank: int | None) -> None:
        part, call = line.get("part"), line.get("call")
        if (
            not isinstance(part, list)
            or len(part) != 2
            or not all(type(one) is int for one in part)
            or not 1 <= part[0] <= part[1]
            or not isinstance(call, str)
        ):
            raise Unfit("items without the number of the part")
        columns = columns_in(line)
        what = self._what(number, line)
        calls = self.calls.setdefault(what, {})
        process = (-1 if rank is None else rank, line.get("pid"))
        known = calls.setdefault(call, Call(number, process, part[1]))
        if known.num_parts != part[1] or known.parts.get(part[0], columns) != columns:
            raise Unfit("another part of the same number, or of another number of parts")
        known.parts[part[0]] = columns

    def _what(self, number: int, line: dict[str, Any]) -> _What:
        metric = text_in(line, "metric")
        conditions = line.get("conditions", {})
        if metric is None:
            raise Unfit("a score without a metric")
        if not isinstance(conditions, dict) or not all(isinstance(one, str) for one in conditions.values()):
            raise Unfit("conditions that are no texts")
        what = _What(
            metric,
            text_in(line, "task") or TASK,
            text_in(line, "split"),
            text_in(line, "system") or SYSTEM,
            whole_in(line, "step"),
            text_in(line, "weights"),
            tuple(sorted(conditions.items())),
        )
        meaning = self._meaning(metric)
        if isinstance(line.get("higher_is_better"), bool):
            meaning.directions.setdefault(line["higher_is_better"], number)
        unit = text_in(line, "unit")
        if unit is not None:
            meaning.units.setdefault((what.task, unit), number)
        return what

    def _meaning(self, metric: str) -> _Meaning:
        return self.meanings.setdefault(metric, _Meaning())

    def facts(self, name: str) -> FoundFacts:
        """Return what all lines together say."""
        found = FoundFacts(name, files={FILE_NAME})
        self._put_params(found)
        measured: dict[_What, ItemScores] = {}
        refused: dict[_What, str] = {}
        missing: dict[_What, Mapping[str, str]] = {}
        for what in list(self.calls):
            items = self._items(what, self.calls.pop(what))
            if isinstance(items, str):
                refused[what] = items
                continue
            measured[what], missing[what] = items
        for what, said in self.scores.items():
            value = finite(said.value)
            if value is not None and what not in measured:
                self._meaning(what.metric).saw(what.task, value, value)
        metrics = _Metrics(self)
        weights = _weights({**self.scores, **dict.fromkeys((*measured, *refused))})
        named = _distinct(weights)
        for what, taken in measured.items():
            metric = metrics.of(what.metric, what.task, taken.metric.kind, taken.values)
            conditions = dict(named[what].conditions)
            found.measured(
                replace(taken, metric=metric, weights=weights[what], conditions=conditions),
                path=FILE_NAME,
                missing_values=missing[what],
                logged_value=_logged(self.scores.get(what), metric),
            )
        for what in {**self.scores, **dict.fromkeys(refused)}:
            if what not in measured:
                metric = metrics.of(what.metric, what.task, "scalar")
                found.scores.append(
                    _score(named[what], self.scores.get(what), metric, weights[what], refused.get(what))
                )
        self._put_series(found, metrics)
        self._put_primary(found, weights)
        if self.first_at is not None:
            line, at = self.first_at
            found.started = Moment(
                at=at, zone=None, evidence=Evidence(path=FILE_NAME, line=line, what="first line")
            )
        self._say(found)
        return found

    def _put_primary(self, found: FoundFacts, weights: Mapping[_What, Weights]) -> None:
        for what, line in self.primary.items():
            name = _score(what, None, Metric(name=what.metric, kind="scalar"), weights[what]).name
            if found.primary is None:
                found.primary, first = name, line
            elif name != found.primary:
                told = f"{found.primary} (line {first}) and {name} (line {line}) are both said to be primary"
                self.conflicts.append((line, f"{told}; the first one is taken"))

    def _put_params(self, found: FoundFacts) -> None:
        for key, said in self.params.items():
            found.parameters[key] = said.value
        if self.params:
            first = min(said.line for said in self.params.values())
            found.parameters_at = Evidence(path=FILE_NAME, line=first, what="configuration")

    def _put_series(self, found: FoundFacts, metrics: _Metrics) -> None:
        for (name, split), by_rank in self.courses.items():
            rank = min(by_rank)
            course = by_rank[rank]
            steps = sorted(course)
            found.last_step = max(found.last_step or 0, steps[-1])
            found.series.append(
                Series(
                    split=split,
                    metric=metrics.of(name, TASK, "scalar"),
                    steps=tuple(steps),
                    values=tuple(finite(course[step].value) for step in steps),
                    path=FILE_NAME,
                )
            )
            bad = [step for step in steps if finite(course[step].value) is None]
            if bad:
                first = course[bad[0]]
                told = f"{name} is no finite number at {len(bad):,} of {len(steps):,} steps"
                where = f"first at step {bad[0]} (line {first.line}): {_shown(first.value)}"
                self.not_finite.append((first.line, f"{told}, {where}"))
            again = self.repeated.get((name, split), [])
            if again:
                at, before, now = again[0]
                more = f" (and so at {len(again) - 1:,} more)" if len(again) > 1 else ""
                self.conflicts.append(
                    (now.line, f"{name} at step {at} is {_shown(before.value)} in {before.place} and "
                     f"{_shown(now.value)} in {now.place}{more}; the later one is taken")
                )  # fmt: skip
            for other in sorted(by_rank)[1:]:
                self._compare_ranks(name, rank, course, other, by_rank[other])

    def _compare_ranks(
        self, name: str, rank: int, course: Mapping[int, _Said], other: int, theirs: Mapping[int, _Said]
    ) -> None:
        differing = [at for at in theirs if at in course and not same(course[at].value, theirs[at].value)]
        if not differing:
            return
        at = min(differing)
        whose = "no rank" if rank < 0 else f"rank {rank}"
        told = f"{name} of {whose} and of rank {other} differ at {len(differing):,} steps"
        where = f"first at step {at} (lines {course[at].line} and {theirs[at].line})"
        self.conflicts.append((theirs[at].line, f"{told}, {where}; that of {whose} is taken"))

    def _items(self, what: _What, by_call: dict[str, Call]) -> tuple[ItemScores, Mapping[str, str]] | str:
        """Return the items of all calls, and what stands for those without a value; or why there are none."""
        calls = sorted(by_call.values(), key=lambda call: (call.process[0], call.line))
        for call in calls:
            lacking = next((k for k in range(1, call.num_parts + 1) if k not in call.parts), None)
            if lacking is not None:
                because = (
                    f"part {lacking} of {call.num_parts} of the items of {what.spoken} "
                    f"(from line {call.line}) is missing"
                )
                self.unreadable.append((call.line, f"{because}; its item scores are not taken"))
                return because
        columns = joined(calls)
        if len(set(columns[0])) != len(columns[0]):
            unique = without_repetition(columns, calls)
            if isinstance(unique, str):
                because = f"{unique} among the items of {what.spoken}"
                self.conflicts.append((calls[0].line, f"{because}; its item scores are not taken"))
                return because
            columns = unique
        columns = by_item(columns)
        ids, raw = columns[:2]
        values, missing = values_of(raw)
        outcomes = or_none(columns[5])
        wrong = contradiction(ids, values, outcomes)
        if wrong is not None:
            self.conflicts.append(
                (calls[0].line, f"{wrong} among the items of {what.spoken}; its item scores are not taken")
            )
            return wrong
        items = ItemScores(
            metric=Metric(name=what.metric, kind=kind_of(what.metric, values, outcomes)),
            items=tuple(ids),
            values=values,
            system=what.system,
            task=what.task,
            split=what.split,
            conditions=dict(what.conditions),
            outcomes=outcomes,
            answers=or_none(columns[2]),
            golds=or_none(columns[3]),
            clusters=or_none(columns[4]),
        )
        return items, missing

    def _say(self, found: FoundFacts) -> None:
        for why, lines in self.unfit.items():
            shown = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
            are = "line is" if len(lines) == 1 else "lines are"
            found.say("unreadable", f"{len(lines):,} {are} {why}: {shown}", path=FILE_NAME, line=lines[0])
        for line, message in self.unreadable:
            found.say("unreadable", " ".join(message.split()), path=FILE_NAME, line=line)
        for line, message in self.conflicts:
            found.say("conflict", " ".join(message.split()), path=FILE_NAME, line=line)
        for line, message in self.not_finite:
            found.say("not_finite", " ".join(message.split()), path=FILE_NAME, line=line)


class _Metrics:
    """What each metric of a run means: one meaning a task, from all that was said of it."""

    def __init__(self, gathered: _Gathered) -> None:
        self._gathered = gathered
        self._said: set[str] = set()

    def of(
        self, name: str, task: str, kind: MetricKind, items: Sequence[float | None] | None = None
    ) -> Metric:
        """Return the metric; what was said of it in two ways is null, and told once.

        Args:
            items: Its values, where it is one of items; else those of all scores and courses count.
        """
        meaning = self._gathered.meanings.get(name, _Meaning())
        units = {unit: line for (of, unit), line in meaning.units.items() if of == task}
        bounds = meaning.ranges.get(task)
        if items is not None:
            known = [value for value in items if value is not None]
            bounds = (min(known), max(known)) if known else None
        one_way, one_unit = len(meaning.directions) == 1, len(units) == 1
        metric = metric_named(
            name,
            kind,
            next(iter(meaning.directions)) if one_way else None,
            next(iter(units)) if one_unit else None,
            values=bounds or (),
        )
        if len(meaning.directions) > 1:
            metric = metric.model_copy(update={"direction": None})
            up, down = meaning.directions[True], meaning.directions[False]
            told = f"higher {name} is better by line {up} and worse by line {down}"
            self._say(max(up, down), f"{told}; no direction is taken")
        if len(units) > 1:
            metric = metric.model_copy(update={"unit": None, "low": None, "high": None})
            told = " and ".join(f"{unit} (line {line})" for unit, line in units.items())
            self._say(max(units.values()), f"the unit of {name} is {told}; none is taken")
        line = units.get("fraction")
        if one_unit and line is not None and bounds is not None and metric.unit != "fraction":
            values = f"values from {bounds[0]:g} to {bounds[1]:g}"
            told = f"{name} is said to be a fraction in line {line} and has {values}"
            self._say(line, f"{told}; no unit is taken")
        return metric

    def _say(self, line: int, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._gathered.conflicts.append((line, message))


def _score(
    what: _What, said: _Said | None, metric: Metric, weights: Weights, refused: str | None = None
) -> Score:
    value = finite(said.value) if said is not None else None
    because = None
    if value is None:
        because = refused or "nobody gave a value"
        if said is not None:
            because = f"the program gave {_shown(said.value)}"
    return Score(
        system=what.system,
        task=what.task,
        split=what.split,
        metric=metric,
        weights=weights,
        conditions=dict(what.conditions),
        value=value,
        n=said.n if said is not None else None,
        evidence="logged" if value is not None else None,
        path=FILE_NAME,
        line=said.line if said is not None else None,
        missing_because=because,
        contradicting_lines=tuple(said.other_lines) if said is not None else (),
    )


def _weights(said: Mapping[_What, Any]) -> dict[_What, Weights]:
    """Return the weights of each score; of several that could be the result of a run, one is.

    That is the one without a word on weights, else the last ones, else the best of the latest line.
    """
    kinds: dict[str | None, WeightsKind] = {"live": "live", "best": "best", "last": "last"}
    final: dict[tuple[Any, ...], _What] = {}

    def order(what: _What) -> int:
        return (None, "live", "last").index(what.weights) if what.weights in (None, "live", "last") else 3

    for what in said:
        if what.step is None or what.weights in ("best", "last") or what.weights not in (None, *kinds):
            key = (what.metric, what.task, what.split, what.system, what.conditions)
            if key not in final or order(what) <= order(final[key]):
                final[key] = what
    results = set(final.values())
    return {
        what: Weights(
            step=what.step,
            kind=kinds.get(what.weights, "unknown"),
            is_final=what in results,
            chosen_by=what.weights if what.weights not in (None, "unknown", *kinds) else None,
        )
        for what in said
    }


def _distinct(weights: Mapping[_What, Weights]) -> dict[_What, _What]:
    """Return each of *weights* with what was said of them as a condition where the label is not enough."""
    labels = Counter((what._replace(step=None, weights=None), kind.label) for what, kind in weights.items())
    return {
        what: what._replace(
            conditions=tuple(sorted({**dict(what.conditions), "weights": what.weights}.items()))
        )
        if what.weights is not None and labels[what._replace(step=None, weights=None), kind.label] > 1
        else what
        for what, kind in weights.items()
    }


def _logged(said: _Said | None, metric: Metric) -> float | None:
    """Return what the program gave as the mean of its items, which it may have given in percent."""
    value = finite(said.value) if said is not None else None
    return value / 100 if value is not None and value > 1 and metric.is_fraction else value


def _shown(value: Any) -> str:
    if value is None:
        return "no value"
    return str(value) if value in NOT_FINITE or not isinstance(value, str) else "a text, no number"
