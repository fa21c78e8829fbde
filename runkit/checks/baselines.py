"""Whether a frozen model scores the same in all runs with the same items; compares runs, not steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from runkit.checks.catalogue import found
from runkit.checks.measurement import FROZEN, place_of
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Evaluation, Manifest, SystemScore


class _Question(NamedTuple):
    """A frozen model and the items that it was asked."""

    model: str
    revision: str | None
    weights_sha256: str | None
    dataset: str
    items_sha256: str


class _Answer(NamedTuple):
    manifest: Manifest
    evaluation: Evaluation
    score: SystemScore


def _baseline_findings(archive: ArchiveView) -> Iterator[Finding]:
    asked: dict[_Question, list[_Answer]] = defaultdict(list)
    for manifest in archive.by_id.values():
        for question, answer in _answers(manifest):
            asked[question].append(answer)
    for question in sorted(asked, key=repr):
        yield from _differing(question, asked[question])


def _answers(manifest: Manifest) -> Iterator[tuple[_Question, _Answer]]:
    """Yield each frozen model of a run with its first score on each set of items."""
    seen = set()
    for role in FROZEN:
        model = manifest.sealed.model(role)
        if model is None:
            continue
        for evaluation in manifest.sealed.evaluations:
            score = evaluation.score(role)
            if score is None or not score.n or evaluation.items_sha256 is None:
                continue
            question = _Question(
                model.name, model.revision, model.sha256, manifest.sealed.data.name, evaluation.items_sha256
            )
            if (role, question) not in seen:
                seen.add((role, question))
                yield question, _Answer(manifest, evaluation, score)


def _differing(question: _Question, answers: list[_Answer]) -> Iterator[Finding]:
    """Yield one finding for each score that is not the most frequent one."""
    by_score: dict[tuple[int, int, int], list[_Answer]] = defaultdict(list)
    for answer in answers:
        by_score[answer.score.correct, answer.score.wrong, answer.score.invalid].append(answer)
    usual = max(by_score.values(), key=len)
    for same in by_score.values():
        if same is not usual:
            yield _unlike(question.model, same, usual)


def _unlike(model: str, same: list[_Answer], usual: list[_Answer]) -> Finding:
    here, there = same[0], usual[0]
    run = here.manifest
    message = (
        f"{model} alone is frozen and has {_score(here.score)} here{_and_others(same)}, "
        f"{_score(there.score)} in {there.manifest.run_id}{_and_others(usual)}, on the same items"
        f"{_processes(run, there.manifest)}"
    )
    return found("RK206", run.run_id, place_of(run, here.evaluation), message)


def _score(score: SystemScore) -> str:
    invalid = f" and {score.invalid} invalid" if score.invalid else ""
    return f"{score.correct} correct{invalid} of {score.n}"


def _and_others(answers: list[_Answer]) -> str:
    num_others = len({answer.manifest.run_id for answer in answers}) - 1
    if num_others == 0:
        return ""
    return f" (and in {num_others} other run{'s' if num_others > 1 else ''})"


def _processes(first: Manifest, second: Manifest) -> str:
    sizes = first.sealed.command.world_size, second.sealed.command.world_size
    if None in sizes or sizes[0] == sizes[1]:
        return ""
    return f"; evaluated by {sizes[0]} and {sizes[1]} processes"


BASELINES = Family("baselines", _baseline_findings, frozenset({"RK206"}))
