"""Source of facts: results of EleutherAI's lm-evaluation-harness, of versions 0.3 to 0.4.

A number is the harness's own, and nothing better is said of it than its files prove. It is ``recomputed``
where our comparison was possible and gave the harness's verdict in every row; ``per_sample`` where the
verdicts of the rows have it as their mean; else ``logged``. Where rows and results disagree the results'
number is kept as logged, and a notice names both files. Groups, and metrics that are no mean over rows, are
logged.

What this does not do: it sums no rows over filters, renames no repeated document, and puts no number in the
place of NaN.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runkit.errors import RunUnreadable
from runkit.ingest.dumps import storable
from runkit.ingest.source import FoundFacts
from runkit.ingest.sources.lm_eval_circumstances import take_circumstances
from runkit.ingest.sources.lm_eval_files import (
    NO_FILTER,
    Call,
    Row,
    harness_files,
    holds_harness_files,
    mapping,
)
from runkit.ingest.sources.lm_eval_rows import (
    Judged,
    Verdicts,
    agrees,
    differing,
    judged,
    number,
    unrepeated,
    verdicts,
)
from runkit.ingest.sources.lm_eval_settings import settings_of, settings_of_the_call, shots_of
from runkit.records.items import ItemScores, score_of_items
from runkit.records.layout import LAYOUT_FILE, Layout
from runkit.records.manifest import Evidence, Outcome
from runkit.records.measurement import EVIDENCE_KINDS, Direction, EvidenceKind, Metric, MetricKind, Score
from runkit.records.notice import NoticeKind
from runkit.records.outcomes import INVALID_MARKER
from runkit.records.record import canonical_json
from runkit.secrets.text import without_secrets

NAME = "lm-eval"
_IDS_NAMED = 10
_LONGEST_NAME = 500
_MEANS = frozenset({"mean", "nanmean"})
_NO_MEANS = frozenset(
    {
        *("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"),
        *("mcc", "bleu", "chrf", "ter", "brier_score"),
    }
)
"""Metrics that the harness does not average over rows unless the task says so."""
_SHARES = re.compile(
    r"(?:.*_)?acc(?:_.*)?|(?:.*_)?exact_match(?:_.*)?|em|f1|(?:.*_)?pass@\d+|recall|precision|auroc"
)
"""Metrics of the harness that lie between 0 and 1."""
_REAL = re.compile(r"f1|bleu.*|rouge.*|chrf.*|ter|wer|cer|bert_?score.*|(?:.*_)?likelihood.*")
"""Metrics whose rows are numbers, though all of a weak model may be 0."""
_NO_RESULT = frozenset({"alias", "name", "samples", "sample_len", "sample_count", "task", " ", ""})
_PLACEHOLDER = "bypass"
"""What ``--predict_only`` has for a metric; its value is always 999."""


@dataclass(frozen=True)
class LmEval:
    """Reads what the harness wrote into a folder."""

    call: str | None = None
    """Time of the one call that is meant, where several have measured the same task."""
    name: str = NAME
    looks_for: str = "results and samples of lm-evaluation-harness, whatever their names"

    def recognises(self, root: Path) -> bool:
        """Return whether *root* holds such files, by what is in them."""
        return holds_harness_files(root)

    def read(self, root: Path) -> FoundFacts:
        """Return what the calls in *root* measured; several count as one run when their tasks differ.

        Raises:
            RunUnreadable: A results file is torn, two calls measured one task or had other settings, or the
                call that is meant is not there.
        """
        files = harness_files(root)
        name = self.call or _call_meant(root)
        calls = chosen(files.calls, name)
        found = FoundFacts(self.name)
        try:
            _take_settings(found, calls)
        except RecursionError as error:
            raise RunUnreadable("the results file is nested too deeply; take it out of the folder") from error
        for call in calls:
            _take_call(found, call)
        for left in files.leftovers if name is None else ():
            found.say("unreadable" if left.is_torn else "not_read", left.why, path=left.path)
        take_circumstances(found, calls)
        return found


SOURCE = LmEval()


def _call_meant(root: Path) -> str | None:
    """Return the call that the person who preserved the run chose, or None."""
    path = root / LAYOUT_FILE
    if not path.is_file():
        return None
    return Layout.parse_toml(path.read_text(encoding="utf-8", errors="replace"), origin=LAYOUT_FILE).call


def chosen(calls: Sequence[Call], name: str | None) -> tuple[Call, ...]:
    """Return the call called *name*, or all of *calls* where they are one run in several parts.

    Raises:
        RunUnreadable: There is no such call, or calls measured the same task.
    """
    names = ", ".join(call.name for call in calls) or "none"
    found = tuple(call for call in calls if name is None or call.name == name)
    if name is not None and not found:
        raise RunUnreadable(f"there is no call of the harness at {name!r}; there are: {names}")
    if not found:
        raise RunUnreadable("no results or samples of the harness could be read; expected one results file")
    shared = sorted(_shared_tasks(found))
    if shared and len({call.name for call in found}) == 1:
        raise RunUnreadable(
            f"two folders hold a call of the harness at {found[0].name} that measured {_listed(shared)}; "
            "preserve each folder as a run of its own"
        )
    if shared:
        raise RunUnreadable(
            f"calls of the harness measured {_listed(shared)} more than once ({names}); each is a run of its "
            f"own: choose one with --call {found[-1].name}"
        )
    return found


def _shared_tasks(calls: Sequence[Call]) -> set[str]:
    seen: set[str] = set()
    shared: set[str] = set()
    for call in calls:
        shared |= seen & {*call.tasks, *call.groups}
        seen |= {*call.tasks, *call.groups}
    return shared


def _take_settings(found: FoundFacts, calls: Sequence[Call]) -> None:
    _refuse_other_settings(calls)
    settings = settings_of(calls)
    found.parameters |= settings.effective
    found.inert |= settings.inert
    first = next((call.results for call in calls if call.results), None)
    if first is not None:
        what = "config and configs of the results file"
        found.parameters_at = Evidence(path=first.path, line=None, what=what)


def _refuse_other_settings(calls: Sequence[Call]) -> None:
    """Raise RunUnreadable where *calls* were not set alike, and so are no parts of one run."""
    known = [settings_of_the_call(call) for call in calls if call.results]
    names = sorted({key for one in known for key in one})
    unlike = [name for name in names if len({canonical_json(one.get(name)) for one in known}) > 1]
    if unlike:
        raise RunUnreadable(
            f"calls of the harness had other settings ({_listed(unlike)}), so that they are no one run "
            f"({', '.join(call.name for call in calls)}); choose one with --call {calls[-1].name}"
        )


def _take_call(found: FoundFacts, call: Call) -> None:
    if call.results is not None:
        found.files.add(call.results.path)
    for samples in call.samples.values():
        found.files.add(samples.path)
        if samples.num_unreadable:
            text = f"{samples.num_unreadable} rows are torn or no rows, and count nowhere"
            found.say("unreadable", text, path=samples.path)
    for task in call.tasks:
        for filter_name in _filters(call, task):
            _TaskReading(found, call, task, filter_name).take()
    for group in call.groups:
        _take_group(found, call, group)


@dataclass(frozen=True)
class _Printed:
    """What a results file says of one metric."""

    metric: str
    filter: str
    value: object


def printed(section: Mapping[str, object], *, has_filters: bool) -> Iterator[_Printed]:
    """Yield the metrics in *section* of the results, without errors and what is none.

    Args:
        has_filters: Keys are ``metric,filter``, as of version 0.4; before, they are the metric alone.
    """
    for key, value in section.items():
        metric, comma, filter_name = key.partition(",")
        if metric.endswith("_stderr") or metric in _NO_RESULT or bool(comma) != has_filters:
            continue
        yield _Printed(metric, filter_name or NO_FILTER, value)


def _has_filters(call: Call) -> bool:
    sections = mapping(call.document.get("results")).values()
    return "configs" in call.document or any("," in key for section in sections for key in section)


def _printed_of(call: Call, task: str) -> list[_Printed]:
    return list(printed(call.section("results", task), has_filters=_has_filters(call)))


def _filters(call: Call, task: str) -> list[str]:
    """Return the filters of *task*, as the results and the rows name them."""
    samples = call.samples.get(task)
    unnamed = _filter_of_unnamed(call, task)
    names = {one.filter for one in _printed_of(call, task)}
    names |= {_filter_of(row, unnamed) for row in (samples.rows if samples else ())}
    return sorted(names)


def _filter_of(row: Row, unnamed: str) -> str:
    return unnamed if row.filter is None else row.filter or NO_FILTER


def _filter_of_unnamed(call: Call, task: str) -> str:
    """Return the filter of rows that name none: the only one that the results file knows."""
    known = {one.filter for one in _printed_of(call, task)}
    if len(known) == 1:
        return known.pop()
    return "None" if "None" in known else NO_FILTER  # as Python writes the name that is none


@dataclass(frozen=True)
class _TaskReading:
    """Takes the scores of one task under one filter."""

    found: FoundFacts
    call: Call
    task: str
    filter: str

    def take(self) -> None:
        """Add the scores, their items, and what is to be said."""
        values = {
            one.metric: one.value for one in _printed_of(self.call, self.task) if one.filter == self.filter
        }
        rows = self._rows()
        in_rows = dict.fromkeys(metric for row in rows for metric in row.verdicts)
        for metric in sorted({*values, *in_rows}):
            if metric == _PLACEHOLDER:
                self._say("not_read", f"{self._what(metric)} is a placeholder of --predict_only and no score")
            elif metric in values:
                self._take_printed(metric, values[metric], rows)
            else:
                self._take_unprinted(metric, rows)

    @property
    def config(self) -> Mapping[str, object]:
        """The task's configuration."""
        return self.call.section("configs", self.task)

    @property
    def samples_path(self) -> str:
        """The file of the rows."""
        return self.call.samples[self.task].path

    def _rows(self) -> tuple[Row, ...]:
        """Return the rows of this filter, each document once; none where documents contradict themselves."""
        samples = self.call.samples.get(self.task)
        unnamed = _filter_of_unnamed(self.call, self.task)
        rows = samples.rows if samples else ()
        named = [row for row in rows if _filter_of(row, unnamed) == self.filter]
        once = unrepeated(named)
        if once.contradictory:
            self._say(
                "conflict",
                f"{self._of_filter} has documents twice with different rows, so that no row counts: "
                f"{_listed(once.contradictory)}",
                path=self.samples_path,
            )
            return ()
        if once.repeated:
            self._say(
                "conflict",
                f"{self._of_filter} has the same rows twice, which count once: {_listed(once.repeated)}",
                path=self.samples_path,
            )
        planned = self._planned
        if named and planned is not None and len(once.rows) != planned:
            self._say(
                "conflict",
                f"{self._of_filter} has {len(once.rows)} documents, {self._results_path} counts {planned}",
                path=self.samples_path,
            )
        return once.rows

    def _take_printed(self, metric: str, value: object, all_rows: Sequence[Row]) -> None:
        """Take what the results file says, supported by rows where they agree with it."""
        rows = [row for row in all_rows if metric in row.verdicts]
        written = verdicts(rows, metric) if rows else None
        mean = written.mean if written is not None else None
        claimed = number(value)
        if self._planned == 0:
            self._add_missing(metric, "the evaluation had no samples")
        elif claimed is None or not math.isfinite(claimed):
            self._add_missing(metric, f"the results file says {_spelled(value)}")
            given = (
                f", and {self.samples_path} gives {mean!r} over {len(rows)} rows" if mean is not None else ""
            )
            self._say(
                "conflict" if given else "not_finite",
                f"{self._what(metric)} is {_spelled(value)} in {self._results_path}{given}",
            )
        elif written is None or mean is None or not _may_be_mean(metric, self.config):
            self._add_logged(metric, claimed)
        elif not agrees(mean, claimed):
            self._add_logged(metric, claimed)
            self._say(
                "conflict",
                f"{self._what(metric)} is {claimed!r} in {self._results_path}, and the {len(rows)} rows of "
                f"{self.samples_path} give {mean!r}",
            )
        elif self._planned not in (None, len(all_rows)):
            self._add_logged(metric, claimed)
        else:
            self._add_items(metric, rows, written, claimed)

    def _take_unprinted(self, metric: str, all_rows: Sequence[Row]) -> None:
        """Take the harness's verdicts on rows of which no results file gives the mean."""
        rows = [row for row in all_rows if metric in row.verdicts]
        written = verdicts(rows, metric)
        if written is None or not _is_known_mean(metric, self.config):
            text = (
                f"{self._what(metric)} is in the rows, and no results file says what the harness makes of it"
            )
            self._say("not_read", text, path=self.samples_path)
        elif self._planned in (None, len(all_rows)):
            self._add_items(metric, rows, written, None)

    def _add_items(self, metric: str, rows: Sequence[Row], written: Verdicts, claimed: float | None) -> None:
        own = judged(rows, metric, self.config)
        unlike = differing(rows, own, written) if own is not None else ()
        if unlike:
            self._say(
                "conflict",
                f"{self._what(metric)} is not what the task's rule gives for the responses in "
                f"{self.samples_path}, documents {_listed(unlike)}",
            )
        is_binary = written.are_binary and _REAL.fullmatch(metric) is None
        is_share = written.are_fractions and (is_binary or _SHARES.fullmatch(metric) is not None)
        items = ItemScores(
            metric=self._metric(metric, "binary" if is_binary else "real", is_share=is_share),
            items=tuple(row.item for row in rows),
            values=written.values,
            task=_name(self.task),
            split=self._split,
            conditions=self._conditions,
            outcomes=_outcomes(written, own) if is_binary else None,
            answers=_answers(own) if own is not None and not unlike else None,
            golds=tuple(storable(row.target) for row in rows),
        )
        is_recomputed = own is not None and not unlike and claimed is not None
        evidence: EvidenceKind = "recomputed" if is_recomputed else "per_sample"
        self.found.items.append(items)
        self.found.scores.append(
            score_of_items(
                items,
                evidence=evidence,
                path=self.samples_path,
                logged_value=claimed,
                missing_values=written.missing,
                n_planned=self._planned,
                num_unreadable_rows=self.call.samples[self.task].num_unreadable,
            )
        )

    def _add_logged(self, metric: str, value: float) -> None:
        is_share = _SHARES.fullmatch(metric) is not None and 0 <= value <= 1
        self._add(self._metric(metric, "scalar", is_share=is_share), value, None)

    def _add_missing(self, metric: str, reason: str) -> None:
        self._add(self._metric(metric, "scalar", is_share=False), None, reason)

    def _add(self, metric: Metric, value: float | None, reason: str | None) -> None:
        self.found.scores.append(
            Score(
                task=_name(self.task),
                split=self._split,
                metric=metric,
                conditions=self._conditions,
                value=value,
                n=self._planned if value is not None else None,
                n_planned=self._planned,
                evidence="logged" if value is not None else None,
                path=self._results_path,
                missing_because=reason,
            )
        )

    def _metric(self, metric: str, kind: MetricKind, *, is_share: bool) -> Metric:
        return Metric(
            name=_name(metric),
            kind=kind,
            direction=_direction(self.call, self.task, metric),
            unit="fraction" if is_share else None,
            low=0.0 if is_share else None,
            high=1.0 if is_share else None,
        )

    @property
    def _conditions(self) -> dict[str, str]:
        return _conditions(self.call, self.task, self.filter)

    @property
    def _split(self) -> str | None:
        found = self.config.get("test_split") or self.config.get("validation_split")
        return storable(found) if found else None

    @property
    def _planned(self) -> int | None:
        """How many documents the harness says it evaluated."""
        found = number(self.call.section("n-samples", self.task).get("effective"))
        return int(found) if found is not None and found >= 0 and found == found // 1 else None

    @property
    def _results_path(self) -> str:
        return self.call.results.path if self.call.results else "."

    @property
    def _of_filter(self) -> str:
        return self.task if self.filter == NO_FILTER else f"{self.task} with the filter {self.filter}"

    def _what(self, metric: str) -> str:
        return f"{metric} of {self._of_filter}"

    def _say(self, kind: NoticeKind, message: str, path: str | None = None) -> None:
        _say(self.found, kind, message, path or self._results_path)


def _say(found: FoundFacts, kind: NoticeKind, message: str, path: str) -> None:
    """Say it without half characters; a message holds what files of others say."""
    found.say(kind, storable(without_secrets(message)), path=path)


def _take_group(found: FoundFacts, call: Call, group: str) -> None:
    """Take the number that the harness gives for *group*, again from its members where they allow it."""
    in_groups = {(one.metric, one.filter): one.value for one in _printed_in(call, "groups", group)}
    in_results = {(one.metric, one.filter): one.value for one in _printed_in(call, "results", group)}
    path = call.results.path if call.results else "."
    for (metric, filter_name), value in sorted((in_groups | in_results).items(), key=lambda pair: pair[0]):
        other = in_groups.get((metric, filter_name), value)
        if other != value and not (other != other and value != value):
            text = f"{metric} of {group} is {value!r} under results and {other!r} under groups"
            _say(found, "conflict", text, path)
        claimed = number(value)
        is_known = claimed is not None and math.isfinite(claimed)
        is_share = is_known and _SHARES.fullmatch(metric) is not None and 0 <= (claimed or 0.0) <= 1
        if not is_known:
            _say(found, "not_finite", f"{metric} of {group} is {_spelled(value)}", path)
        over = _over_members(found, call, group, metric, filter_name, claimed) if is_known else None
        found.scores.append(
            Score(
                task=_name(group),
                metric=Metric(
                    name=_name(metric),
                    kind="scalar",
                    direction=_direction(call, group, metric),
                    unit="fraction" if is_share else None,
                    low=0.0 if is_share else None,
                    high=1.0 if is_share else None,
                ),
                conditions=_conditions(call, group, filter_name),
                value=(over.value if over is not None else claimed) if is_known else None,
                n=over.n if over is not None else None,
                evidence=(over.evidence if over is not None else "logged") if is_known else None,
                path=path,
                missing_because=None if is_known else f"the results file says {_spelled(value)}",
                logged_value=claimed if over is not None else None,
            )
        )


class _OverMembers(NamedTuple):
    """A group's number, computed from those of its tasks."""

    value: float
    n: int
    evidence: EvidenceKind


def _over_members(
    found: FoundFacts, call: Call, group: str, metric: str, filter_name: str, claimed: float | None
) -> _OverMembers | None:
    """Return the mean over the tasks of *group* that is the number *claimed*; None where there is none.

    The harness weights tasks by their documents or counts each alike, and does not say which: what gives its
    number is taken.
    """
    wanted = _conditions(call, group, filter_name).get("filter")
    leaves = {_name(leaf) for leaf in _leaves(call, group)}
    members = {
        score.task: score
        for score in found.scores
        if score.task in leaves
        and score.metric.name == _name(metric)
        and score.conditions.get("filter") == wanted
        and score.evidence in ("recomputed", "per_sample")
    }
    if not leaves or members.keys() != leaves or claimed is None:
        return None
    known = [(score.value, score.n) for score in members.values()]
    pairs = [(value, n) for value, n in known if value is not None and n]
    if len(pairs) != len(members):
        return None
    num_items = sum(n for _value, n in pairs)
    by_size = math.fsum(value * n for value, n in pairs) / num_items
    alike = math.fsum(value for value, _n in pairs) / len(pairs)
    for mean in (by_size, alike):
        if math.isclose(mean, claimed, rel_tol=1e-6, abs_tol=1e-9):
            kinds = [score.evidence for score in members.values() if score.evidence is not None]
            return _OverMembers(mean, num_items, max(kinds, key=EVIDENCE_KINDS.index))
    return None


def _printed_in(call: Call, key: str, group: str) -> Iterator[_Printed]:
    return printed(call.section(key, group), has_filters=_has_filters(call))


def _conditions(call: Call, task: str, filter_name: str) -> dict[str, str]:
    """Return what must be equal before two scores are paired."""
    found = {} if filter_name == NO_FILTER else {"filter": storable(filter_name)}
    shots = shots_of(call, task)
    if shots is None:
        members = {shots_of(call, member) for member in _leaves(call, task)}
        shots = members.pop() if len(members) == 1 else None
    return found if shots is None else {**found, "num_fewshot": str(shots)}


def _leaves(call: Call, group: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the tasks below *group*."""
    for member in call.groups.get(group, ()):
        if member in seen:
            continue
        if member in call.groups:
            yield from _leaves(call, member, seen | {group, member})
        else:
            yield member


def _direction(call: Call, task: str, metric: str) -> Direction | None:
    """Return which way the results file says is better; of a group, what all its members say."""
    said = call.section("higher_is_better", task).get(metric)
    if not isinstance(said, bool):
        said = _listed_metric(call.section("configs", task), metric).get("higher_is_better")
    if isinstance(said, bool):
        return "higher" if said else "lower"
    ways = {_direction(call, member, metric) for member in _leaves(call, task)}
    return ways.pop() if len(ways) == 1 else None


def _listed_metric(config: Mapping[str, object], metric: str) -> Mapping[str, object]:
    listed = config.get("metric_list")
    found = (
        one for one in (listed if isinstance(listed, list) else ()) if mapping(one).get("metric") == metric
    )
    return mapping(next(found, None))


def _may_be_mean(metric: str, config: Mapping[str, object]) -> bool:
    """Return whether the harness averages *metric* over rows, as far as the configuration says."""
    said = _listed_metric(config, metric).get("aggregation")
    return str(said) in _MEANS if said is not None else metric not in _NO_MEANS


def _is_known_mean(metric: str, config: Mapping[str, object]) -> bool:
    """Return whether *metric* certainly is the mean over rows, though no file gives it."""
    said = _listed_metric(config, metric).get("aggregation")
    return str(said) in _MEANS if said is not None else _SHARES.fullmatch(metric) is not None


def _outcomes(written: Verdicts, own: Sequence[Judged] | None) -> tuple[Outcome, ...]:
    """Return the harness's verdicts as outcomes; a wrong row whose answer was not extracted is invalid."""
    answers = [one.answer for one in own] if own is not None else [""] * len(written.values)
    return tuple(
        "correct" if value == 1 else "invalid" if answer == INVALID_MARKER else "wrong"
        for value, answer in zip(written.values, answers, strict=True)
    )


def _answers(own: Sequence[Judged]) -> tuple[str | None, ...]:
    return tuple(None if one.answer == INVALID_MARKER else one.answer for one in own)


def _spelled(value: object) -> str:
    """Return *value* as it stands in JSON."""
    return storable(json.dumps(value)[:100])


def _name(text: str) -> str:
    return storable(text)[:_LONGEST_NAME] or "?"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _IDS_NAMED} more" if len(names) > _IDS_NAMED else ""
    return ", ".join(names[:_IDS_NAMED]) + more
