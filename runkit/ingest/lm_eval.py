"""Reader for results of EleutherAI's lm-evaluation-harness: ``results_<time>.json`` and its sample files.

One directory holds one call of the harness: the results file, and a ``samples_<task>_<time>.jsonl`` for
each task when it was called with ``--log_samples``. Each task and filter is an evaluation of the system
``model``. An accuracy is recomputed where the samples prove it: ``exact_match`` with the options that the
results file gives for the task, and ``acc`` of multiple choice by the most likely option. What is printed of
other metrics is logged evidence, and only where the metric is a fraction of correct samples.

The layout is the one that version 0.4.13 writes; fields that are not there are null.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runkit import __version__
from runkit.errors import RunUnreadable
from runkit.ingest.dumps import json_object, scores, storable
from runkit.ingest.ingested import IngestedRun
from runkit.records.manifest import (
    Code,
    Command,
    Configuration,
    DataReference,
    Evaluation,
    Evidence,
    Gpu,
    Hardware,
    LoggedScore,
    Metric,
    MissingArtifact,
    ModelReference,
    Moment,
    Notes,
    Provenance,
    RunFacts,
    Software,
    StatusFact,
    Training,
)
from runkit.records.outcomes import INVALID_MARKER, EvaluationOutcomes
from runkit.records.record import Scalar, canonical_digest, canonical_json

NAME = "lm-eval"
SYSTEM = "model"
_TIME = r"(?P<time>\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d{1,6})?)"
_RESULTS_NAME = re.compile(rf"results_{_TIME}\.json")
_SAMPLES_NAME = re.compile(rf"samples_(?P<task>.+)_{_TIME}\.jsonl")
_RECOMPUTED = ("exact_match", "acc")
_FRACTIONS = frozenset({"exact_match", "acc", "acc_norm", "em"})
"""Metrics of the harness that are the share of correct samples."""
_NO_EFFECT = {
    "bootstrap_iters": "only the standard error",
    "batch_sizes": "what the automatic batch size came to",
    "use_cache": "where responses are cached",
}
_LONGEST_PATTERN = 200
_PYTHON = re.compile(r"^Python version: (\d+\.\d+\.\d+)", re.MULTILINE)
_GPU = re.compile(r"^(?:GPU models and configuration: )?GPU \d+: (?P<name>\S.*?)\s*$", re.MULTILINE)
_NOT_RECORDED = "the harness does not record it"


class _LmEvalReader:
    name = NAME
    looks_for = "results_<time>.json or samples_<task>_<time>.jsonl of lm-evaluation-harness"

    def can_read(self, root: Path) -> bool:
        return any(True for _found in _files(root))

    def read(self, root: Path, *, run_id: str, directory_name: str) -> IngestedRun:
        """Return the facts of the harness call in *root*.

        Raises:
            RunUnreadable: More than one call wrote into the directory, or its results file is torn.
        """
        call = _call(root, directory_name)
        measured = [_Measured.of(call, task, name) for task, name in _task_filters(call)]
        evaluations = tuple(one.evaluation for one in measured)
        facts = RunFacts(
            run_id=run_id,
            provenance=Provenance(
                reader=NAME,
                runkit_version=__version__,
                logged_run_directory=None,
                log_path=None,
                num_log_lines=0,
                num_log_lines_understood=0,
            ),
            started=_started(call),
            ended=None,
            duration_seconds=_seconds(call.results.get("total_evaluation_time_seconds")),
            status=_status(call, evaluations),
            command=Command(
                argv=None, launcher=None, world_size=None, environment={}, missing_because=_NOT_RECORDED
            ),
            hardware=_hardware(call),
            software=_software(call),
            configuration=_configuration(call),
            models=_models(call),
            data=_data_reference(call),
            training=Training(
                planned_steps=None, last_step=None, evidence=None, loss_steps=(), loss_values=()
            ),
            evaluations=evaluations,
            metrics=tuple(_metrics(call, measured)),
            missing_artifacts=tuple(_missing(call)),
        )
        outcomes = {one.outcomes.label: one.outcomes for one in measured if one.outcomes is not None}
        return IngestedRun(facts=facts, outcomes=outcomes, notes=Notes(), declared_factors=())


READER = _LmEvalReader()


@dataclass(frozen=True)
class _Call:
    """The files of one call of the harness, read."""

    time: str
    results_path: str | None
    results: Mapping[str, Any]
    samples: Mapping[str, _Samples]
    """Task to its samples."""

    def section(self, key: str, task: str) -> Mapping[str, Any]:
        """Return what the results file says in *key* of *task*, empty when it says nothing."""
        found = _mapping(self.results.get(key)).get(task)
        return _mapping(found)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that have a configuration or samples; groups have neither."""
        return tuple(sorted({*_mapping(self.results.get("configs")), *self.samples}))


@dataclass(frozen=True)
class _Samples:
    path: str
    rows: tuple[Mapping[str, Any], ...]
    num_unreadable: int


def _files(root: Path) -> Iterator[Path]:
    for pattern in ("results_*.json", "samples_*.jsonl"):
        for prefix in ("", "*/", "*/*/"):
            for path in sorted(root.glob(prefix + pattern)):
                known = _RESULTS_NAME if pattern.endswith("json") else _SAMPLES_NAME
                if known.fullmatch(path.name) and path.is_file():
                    yield path


def _call(root: Path, directory_name: str) -> _Call:
    by_time: dict[str, list[Path]] = {}
    for path in _files(root):
        found = _RESULTS_NAME.fullmatch(path.name) or _SAMPLES_NAME.fullmatch(path.name)
        if found is not None:
            by_time.setdefault(found["time"], []).append(path)
    if len(by_time) != 1:
        times = ", ".join(sorted(by_time)) or "none"
        raise RunUnreadable(
            f"{directory_name} holds results of more than one call of the harness ({times}); put the files "
            "of one call into a folder of its own"
        )
    ((time, paths),) = by_time.items()
    results_path = next((path for path in paths if path.suffix == ".json"), None)
    samples = {
        found["task"]: _read_samples(root, path)
        for path in paths
        if (found := _SAMPLES_NAME.fullmatch(path.name))
    }
    return _Call(
        time=time,
        results_path=results_path.relative_to(root).as_posix() if results_path else None,
        results=_read_results(root, results_path) if results_path else {},
        samples=samples,
    )


def _read_results(root: Path, path: Path) -> Mapping[str, Any]:
    inside = path.relative_to(root).as_posix()
    try:
        found = json.loads(_text(root, path), parse_constant=str)
        canonical_json(found)
    except (ValueError, RecursionError) as error:
        raise RunUnreadable(
            f"{inside} is not JSON: {error}; the harness may have been killed while it wrote it"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise RunUnreadable(f"{inside} has no 'results'; expected a results file of lm-evaluation-harness")
    return found


def _read_samples(root: Path, path: Path) -> _Samples:
    rows, num_unreadable = [], 0
    for line in _text(root, path).split("\n"):
        if not line.strip():
            continue
        row = json_object(line)
        if row is None or "doc_id" not in row or not isinstance(row.get("filtered_resps"), list):
            num_unreadable += 1
        else:
            rows.append(row)
    return _Samples(path.relative_to(root).as_posix(), tuple(rows), num_unreadable)


def _text(root: Path, path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace").removeprefix("\ufeff")
    except OSError as error:
        inside = path.relative_to(root).as_posix()
        raise RunUnreadable(f"{inside} cannot be read: {error.strerror}; check its permissions") from error


def _task_filters(call: _Call) -> Iterator[tuple[str, str]]:
    """Yield each task with each of its filters, as the samples and the results file name them."""
    for task in call.tasks:
        samples = call.samples.get(task)
        names = {str(row.get("filter", "none")) for row in samples.rows} if samples else set()
        names |= {key.partition(",")[2] for key in call.section("results", task) if "," in key}
        for name in sorted(name for name in names if name):
            yield task, name


@dataclass(frozen=True)
class _Measured:
    """One task and filter, measured."""

    task: str
    filter: str
    metric: str | None
    """The metric whose outcomes are recomputed."""
    evaluation: Evaluation
    outcomes: EvaluationOutcomes | None

    @classmethod
    def of(cls, call: _Call, task: str, filter_name: str) -> _Measured:
        """Return the measurement of *task* under *filter_name*."""
        samples = call.samples.get(task)
        rows = [
            row for row in (samples.rows if samples else ()) if str(row.get("filter", "none")) == filter_name
        ]
        label = storable(task if filter_name == "none" else f"{task}/{filter_name}")
        config = call.section("configs", task)
        metric, outcomes, reason = _recomputed(rows, config, label)
        logged = _logged(call, task, metric or _first_fraction(call, task, filter_name), filter_name)
        planned = call.section("n-samples", task).get("effective")
        evaluation = Evaluation(
            label=label,
            step=None,
            split=storable(config.get("test_split") or config.get("validation_split") or "unknown"),
            n_planned=planned if type(planned) is int and planned >= 0 else None,
            checkpoint="unknown",
            noise_draw=None,
            dump=samples.path if samples else None,
            num_unreadable_rows=samples.num_unreadable if samples else 0,
            items_sha256=_items_digest(rows, outcomes) if outcomes is not None else None,
            systems=scores(outcomes) if outcomes is not None else (),
            logged=(LoggedScore(system=SYSTEM, accuracy_fraction=logged),) if logged is not None else (),
            log_line=None,
            missing_because=reason,
        )
        return cls(task, filter_name, metric, evaluation, outcomes)


def _recomputed(
    rows: list[Mapping[str, Any]], config: Mapping[str, Any], label: str
) -> tuple[str | None, EvaluationOutcomes | None, str | None]:
    """Return the metric that can be recomputed with its outcomes, or None with the reason."""
    if not rows:
        return (
            None,
            None,
            "the run directory has no samples of it; the harness writes them with --log_samples",
        )
    metric = next((name for name in _RECOMPUTED if all(name in row for row in rows)), None)
    if metric is None:
        return None, None, "runkit recomputes exact_match and acc, and the samples have neither"
    pairs = _exact_match_pairs(rows, config) if metric == "exact_match" else _choice_pairs(rows)
    if pairs is None:
        return None, None, f"the samples do not hold what {metric} is computed from, in a form that is known"
    ids = tuple(storable(row["doc_id"]) for row in rows)
    if len(set(ids)) != len(ids):
        ids = tuple(str(place) for place in range(len(rows)))
    outcomes = EvaluationOutcomes(
        label=label,
        items=ids,
        golds=tuple(gold for gold, _answer in pairs),
        answers={SYSTEM: tuple(answer for _gold, answer in pairs)},
    )
    return metric, outcomes, None


def _exact_match_pairs(
    rows: list[Mapping[str, Any]], config: Mapping[str, Any]
) -> list[tuple[str, str | None]] | None:
    """Return gold and answer of each row, normalised as the harness does before it compares them."""
    options = next(
        (
            one
            for one in config.get("metric_list") or ()
            if isinstance(one, dict) and one.get("metric") == "exact_match"
        ),
        {},
    )
    patterns = options.get("regexes_to_ignore") or ()
    if not isinstance(patterns, list | tuple) or not all(
        isinstance(pattern, str) and len(pattern) <= _LONGEST_PATTERN for pattern in patterns
    ):
        return None
    try:
        ignored = [re.compile(pattern) for pattern in patterns]
    except (re.error, RecursionError, OverflowError):
        return None
    pairs: list[tuple[str, str | None]] = []
    for row in rows:
        response, target = row["filtered_resps"][:1], row.get("target")
        if len(row["filtered_resps"]) != 1 or not isinstance(response[0], str | int) or target is None:
            return None
        answer = str(response[0])
        gold = _normalised(str(target), ignored, options)
        is_invalid = answer in {INVALID_MARKER, ""}
        pairs.append((gold, None if is_invalid else _normalised(answer, ignored, options)))
    return pairs


def _normalised(text: str, ignored: list[re.Pattern[str]], options: Mapping[str, Any]) -> str:
    for pattern in ignored:
        text = pattern.sub("", text)
    if options.get("ignore_case"):
        text = text.lower()
    if options.get("ignore_punctuation"):
        text = text.translate(str.maketrans("", "", string.punctuation))
    if options.get("ignore_numbers"):
        text = text.translate(str.maketrans("", "", string.digits))
    return storable(text)


def _choice_pairs(rows: list[Mapping[str, Any]]) -> list[tuple[str, str | None]] | None:
    """Return the index of the right option and of the most likely one, row by row."""
    pairs: list[tuple[str, str | None]] = []
    for row in rows:
        target = str(row.get("target"))
        likelihoods = [_likelihood(response) for response in row["filtered_resps"]]
        known = [one for one in likelihoods if one is not None]
        if not re.fullmatch(r"[0-9]{1,6}", target) or len(known) != len(likelihoods) or len(known) < 2:
            return None
        pairs.append((str(int(target)), str(known.index(max(known)))))
    return pairs


def _likelihood(response: object) -> float | None:
    first = response[0] if isinstance(response, list | tuple) and response else None
    try:
        value = float(first) if isinstance(first, str | int) else None
    except ValueError:
        return None
    return value if value is not None and value == value else None


def _items_digest(rows: list[Mapping[str, Any]], outcomes: EvaluationOutcomes) -> str:
    digest = hashlib.sha256()
    for row, item, gold in zip(rows, outcomes.items, outcomes.golds, strict=True):
        line = json.dumps([item, row.get("doc_hash"), row.get("prompt_hash"), gold], ensure_ascii=False)
        digest.update(line.encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()


def _logged(call: _Call, task: str, metric: str | None, filter_name: str) -> float | None:
    value = call.section("results", task).get(f"{metric},{filter_name}") if metric else None
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _first_fraction(call: _Call, task: str, filter_name: str) -> str | None:
    names = sorted(key.partition(",")[0] for key in call.section("results", task) if "," in key)
    return next(
        (name for name in names if _logged(call, task, name, filter_name) is not None and name in _FRACTIONS),
        None,
    )


def _metrics(call: _Call, measured: list[_Measured]) -> Iterator[Metric]:
    for one in measured:
        yield from _recomputed_metric(one)
        for key in sorted(call.section("results", one.task)):
            name, _comma, filter_name = key.partition(",")
            if name in _FRACTIONS and filter_name == one.filter and name != one.metric:
                yield _logged_metric(one, name, _logged(call, one.task, name, one.filter))


def _recomputed_metric(one: _Measured) -> Iterator[Metric]:
    score = one.evaluation.score(SYSTEM)
    if score is not None and one.metric is not None and score.n:
        yield Metric(
            name=f"{one.metric}.{one.evaluation.label}",
            value_fraction=score.correct / score.n,
            correct=score.correct,
            n=score.n,
            steps=(),
            split=one.evaluation.split,
            num_candidates=None,
            evidence="recomputed",
            missing_because=None,
        )


def _logged_metric(one: _Measured, name: str, value: float | None) -> Metric:
    had_none = one.evaluation.n_planned == 0
    reason = "the evaluation had no samples" if had_none else "the results file gives no number for it"
    claimed = None if had_none else value
    return Metric(
        name=f"{name}.{one.evaluation.label}",
        value_fraction=claimed,
        correct=None,
        n=one.evaluation.n_planned or None,
        steps=(),
        split=one.evaluation.split,
        num_candidates=None,
        evidence=None if claimed is None else "logged",
        missing_because=reason if claimed is None else None,
    )


def _status(call: _Call, evaluations: tuple[Evaluation, ...]) -> StatusFact:
    if call.results_path is None:
        path = next(iter(call.samples.values())).path
        evidence = Evidence(path=path, line=None, what="samples without a results file")
        reason = "there are samples and no results file, which the harness writes at its end"
        return StatusFact(value="truncated", reason=reason, evidence=evidence)
    evidence = Evidence(path=call.results_path, line=None, what="results file, which is written at the end")
    planned = [one.n_planned for one in evaluations]
    if not any(one.n for one in evaluations) and all(number == 0 for number in planned):
        reason = "the results file counts no sample in any task"
        return StatusFact(value="no_eval_samples", reason=reason, evidence=evidence)
    return StatusFact(value="completed", reason="the results file is there", evidence=evidence)


def _missing(call: _Call) -> Iterator[MissingArtifact]:
    if call.results_path is None:
        yield MissingArtifact(
            path=f"results_{call.time}.json",
            role="summary",
            evidence=None,
            reason="the harness writes one at its end",
        )
        return
    folder = call.results_path.rpartition("/")[0]
    for task in call.tasks:
        if task not in call.samples:
            name = storable(f"samples_{task}_{call.time}.jsonl")
            yield MissingArtifact(
                path=f"{folder}/{name}" if folder else name,
                role="dump",
                evidence=None,
                reason="the harness writes samples with --log_samples",
            )


def _started(call: _Call) -> Moment | None:
    seconds = call.results.get("date")
    if not isinstance(seconds, int | float) or call.results_path is None:
        return None
    try:
        at = datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
    evidence = Evidence(path=call.results_path, line=None, what="date, in seconds since 1970")
    return Moment(at=at, zone=None, evidence=evidence)


def _seconds(value: object) -> float | None:
    """Return the seconds that the harness wrote, as a number or as text."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None
    return seconds if seconds is not None and 0 <= seconds < float("inf") else None


def _environment(call: _Call) -> str:
    found = call.results.get("pretty_env_info")
    return found if isinstance(found, str) else ""


def _hardware(call: _Call) -> Hardware:
    names = [storable(found["name"]) for found in _GPU.finditer(_environment(call))]
    evidence = Evidence(path=call.results_path or ".", line=None, what="pretty_env_info")
    return Hardware(
        gpus=tuple(Gpu(name=name, count=names.count(name), memory_bytes=None) for name in sorted(set(names))),
        cpu_model=None,
        num_cpus=None,
        memory_bytes=None,
        evidence=evidence if names else None,
    )


def _software(call: _Call) -> Software:
    versions = {"lm_eval": "lm_eval_version", "transformers": "transformers_version"}
    commit = call.results.get("git_hash")
    python = _PYTHON.search(_environment(call))
    return Software(
        python_version=python[1] if python else None,
        packages={
            name: storable(call.results[key])
            for name, key in versions.items()
            if isinstance(call.results.get(key), str)
        },
        code=Code(
            git_commit=storable(commit) if isinstance(commit, str) else None,
            is_dirty=None,
            missing_because="the harness records a commit of its working directory at most, not changes",
        ),
    )


def _configuration(call: _Call) -> Configuration:
    config = _mapping(call.results.get("config"))
    logged = {storable(key): storable(canonical_json(value)) for key, value in config.items()}
    inert = {key: reason for key, reason in _NO_EFFECT.items() if key in config}
    effective: dict[str, Scalar] = {
        storable(key): _scalar(value) for key, value in config.items() if key not in inert
    }
    for task in call.tasks:
        for key, value in call.section("configs", task).items():
            effective[storable(f"{task}.{key}")] = _scalar(value)
    for key in ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn", "max_length"):
        if key in call.results:
            effective[key] = _scalar(call.results[key])
    effective = dict(sorted(effective.items()))
    return Configuration(
        logged=logged,
        effective=effective,
        effective_digest=canonical_digest(effective),
        inert=inert,
        evidence=Evidence(
            path=call.results_path or next(iter(call.samples.values())).path,
            line=None,
            what="config and configs of the results file" if call.results_path else "no configuration",
        ),
    )


def _scalar(value: object) -> Scalar:
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return storable(value if isinstance(value, str) else canonical_json(value))


def _models(call: _Call) -> tuple[ModelReference, ...]:
    name = call.results.get("model_name")
    if not isinstance(name, str) or not name:
        return ()
    config = _mapping(call.results.get("config"))
    revision = config.get("model_sha") or config.get("model_revision")
    return (
        ModelReference(
            role="evaluated",
            name=storable(name),
            revision=storable(revision) if isinstance(revision, str) and revision else None,
            sha256=None,
        ),
    )


def _data_reference(call: _Call) -> DataReference:
    hashes = [storable(one) for one in _mapping(call.results.get("task_hashes")).values()]
    is_digest = len(hashes) == 1 and len(call.tasks) == 1 and re.fullmatch(r"[0-9a-f]{64}", hashes[0])
    return DataReference(
        name=storable(", ".join(call.tasks)) or "unknown", fingerprint=hashes[0] if is_digest else None
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
