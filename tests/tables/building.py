"""A small archive for tests, built from records: runs whose outcomes and counts agree."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from runkit.records.manifest import (
    Artifact,
    Code,
    Command,
    Configuration,
    DataReference,
    Evaluation,
    Evidence,
    Gpu,
    Hardware,
    LoggedScore,
    Manifest,
    Metric,
    MissingArtifact,
    ModelReference,
    Moment,
    Notes,
    OutcomesReference,
    Provenance,
    SealedFacts,
    Software,
    Status,
    StatusFact,
    SystemScore,
    Training,
)
from runkit.records.measurement import AnswerCount
from runkit.records.outcomes import EvaluationOutcomes
from runkit.records.record import Scalar, canonical_digest
from runkit.tables.measured import ArchivedRun

N = 200
GOLDS = tuple(str(10 + item) for item in range(N))
ITEMS = tuple(f"gsm8k/{item}" for item in range(N))
CONTROL_SETTINGS: Mapping[str, Scalar] = {
    "bridge.conditioning": "cross",
    "bridge.num_tokens": 8,
    "loss.kl": True,
    "loss.prompt": True,
}
SOURCE = tuple(item < 108 for item in range(N))
TARGET = tuple(item < 100 or item >= 146 for item in range(N))


def scattered(correct: int, *, seed: int, n: int = N) -> tuple[bool, ...]:
    """Return outcomes of which exactly *correct* are true, spread by *seed*."""
    chosen = set(random.Random(seed).sample(range(n), correct))
    return tuple(item in chosen for item in range(n))


def flipped(correct: Sequence[bool], *, lost: int, won: int, seed: int = 0) -> tuple[bool, ...]:
    """Return *correct* with *lost* hits turned to misses and *won* misses turned to hits."""
    order = random.Random(seed)
    gone = set(order.sample([item for item, hit in enumerate(correct) if hit], lost))
    new = set(order.sample([item for item, hit in enumerate(correct) if not hit], won))
    return tuple((hit and item not in gone) or item in new for item, hit in enumerate(correct))


def outcomes_of(
    label: str,
    correct_by_system: Mapping[str, Sequence[bool]],
    *,
    invalid: int = 0,
    items: Sequence[str] = ITEMS,
) -> EvaluationOutcomes:
    """Return an evaluation whose bridged misses are invalid *invalid* times and wrong otherwise."""
    answers = {}
    for system, hits in correct_by_system.items():
        left = invalid if system == "bridged" else 0
        row: list[str | None] = []
        for hit, gold in zip(hits, GOLDS, strict=True):
            row.append(gold if hit else None if left > 0 else "1000")
            left -= 0 if hit else 1
        answers[system] = tuple(row)
    return EvaluationOutcomes(label, tuple(items), GOLDS, answers)


def evaluation_of(
    outcomes: EvaluationOutcomes, *, step: int | None, line: int, split: str, noise_draw: int | None
) -> Evaluation:
    """Return the manifest's side of *outcomes*."""
    return Evaluation(
        label=outcomes.label,
        step=step,
        split=split,
        n_planned=len(outcomes.items),
        checkpoint="live",
        noise_draw=noise_draw,
        dump=f"eval_samples_step_{outcomes.label}.jsonl",
        num_unreadable_rows=0,
        items_sha256=canonical_digest([outcomes.items, outcomes.golds]),
        systems=tuple(_score(system, outcomes) for system in outcomes.answers),
        logged=tuple(
            LoggedScore(system=system, accuracy_fraction=sum(outcomes.correct(system)) / len(outcomes.items))
            for system in outcomes.answers
        ),
        log_line=line,
        missing_because=None,
    )


def archived(
    run_id: str,
    *,
    final: Sequence[bool] | None,
    curve: Sequence[Sequence[bool]] = (),
    settings: Mapping[str, Scalar] = CONTROL_SETTINGS,
    invalid: int = 15,
    status: Status = "completed",
    reason: str = "the final evaluation stands in the log",
    source: Sequence[bool] = SOURCE,
    target: Sequence[bool] = TARGET,
    models: tuple[str, str] = ("mistralai/Mistral-7B-Instruct-v0.3", "meta-llama/Llama-3.1-8B-Instruct"),
    items: Sequence[str] = ITEMS,
    split: str = "test",
    noise_draw: int | None = None,
    notes: Notes | None = None,
) -> ArchivedRun:
    """Return a run with evaluations at steps 0, 250, 500, … for *curve* and a *final* one."""
    pairs = []
    for index, hits in enumerate(curve):
        found = outcomes_of(
            str(250 * index), {"source": source, "target": target, "bridged": hits}, invalid=30, items=items
        )
        pairs.append((found, 250 * index, 500 + 300 * index))
    if final is not None:
        hits_by_system = {"source": source, "target": target, "bridged": final}
        pairs.append((outcomes_of("final", hits_by_system, invalid=invalid, items=items), None, 3498))
    evaluations = tuple(
        evaluation_of(found, step=step, line=line, split=split, noise_draw=noise_draw)
        for found, step, line in pairs
    )
    facts = _facts(run_id, evaluations, settings, status, reason, models)
    return ArchivedRun(
        Manifest.sealing(facts, notes if notes is not None else Notes(title=f"Title of {run_id}")),
        {found.label: found for found, _, _ in pairs},
    )


def edited(run: ArchivedRun, **changes: object) -> ArchivedRun:
    """Return *run* with other sealed facts, sealed again."""
    return ArchivedRun(
        Manifest.sealing(run.manifest.sealed.model_copy(update=changes), run.manifest.notes), run.outcomes
    )


def _score(system: str, outcomes: EvaluationOutcomes) -> SystemScore:
    counted = Counter(outcomes.outcomes(system))
    answers = Counter(answer for answer in outcomes.answers[system] if answer is not None)
    return SystemScore(
        system=system,
        correct=counted["correct"],
        wrong=counted["wrong"],
        invalid=counted["invalid"],
        distinct_answers=len(answers) + bool(counted["invalid"]),
        most_common=tuple(
            AnswerCount(answer=answer, count=count) for answer, count in answers.most_common(5)
        ),
    )


def _metric(
    name: str, correct: int | None, *, steps: tuple[int, ...] = (), candidates: int | None = None
) -> Metric:
    return Metric(
        name=name,
        value_fraction=None if correct is None else correct / N,
        correct=correct,
        n=None if correct is None else N,
        steps=steps,
        split=None if correct is None else "test",
        num_candidates=candidates,
        evidence=None if correct is None else "recomputed",
        missing_because="there is no such evaluation" if correct is None else None,
    )


def _metrics(evaluations: Sequence[Evaluation]) -> tuple[Metric, ...]:
    counts = {found.label: found.systems[2].correct for found in evaluations}
    final = counts.pop("final", None)
    last = evaluations[-1] if evaluations else None
    source, target = (last.systems[0].correct, last.systems[1].correct) if last else (None, None)
    best = max(counts.values(), default=None)
    steps = tuple(int(label) for label, count in counts.items() if count == best)
    return (
        _metric("peak.bridged", best, steps=steps, candidates=len(counts) or None),
        _metric("final.bridged", final),
        _metric("degradation", None if final is None or best is None else best - final),
        _metric("gap_to_target", None if final is None or target is None else target - final),
        _metric("gain_over_source", None if final is None or source is None else final - source),
    )


def _facts(
    run_id: str,
    evaluations: tuple[Evaluation, ...],
    settings: Mapping[str, Scalar],
    status: Status,
    reason: str,
    models: tuple[str, str],
) -> SealedFacts:
    dumps = [found.dump for found in evaluations if found.dump is not None]
    return SealedFacts(
        run_id=run_id,
        provenance=Provenance(
            reader="bridge-cluster",
            runkit_version="0.1.0",
            logged_run_directory=None,
            log_path="train.log",
            num_log_lines=3498,
            num_log_lines_understood=3000,
        ),
        started=Moment(
            at="2025-11-16T20:12:12",
            zone="PST",
            evidence=Evidence(path="train.log", line=1, what="first line"),
        ),
        ended=None,
        duration_seconds=12_345.0,
        status=StatusFact(
            value=status, reason=reason, evidence=Evidence(path="train.log", line=1274, what="the last line")
        ),
        command=Command(
            argv=None,
            launcher="torchrun",
            world_size=4,
            environment={},
            missing_because="the log does not give it",
        ),
        hardware=Hardware(
            gpus=(Gpu(name="NVIDIA H100", count=4, memory_bytes=80 * 2**30),),
            cpu_model=None,
            num_cpus=None,
            memory_bytes=None,
            evidence=Evidence(path="train.log", line=12, what="the device list"),
        ),
        software=Software(
            python_version=None,
            packages={},
            code=Code(git_commit=None, is_dirty=None, missing_because="the run did not record it"),
        ),
        configuration=Configuration(
            logged={},
            effective=settings,
            effective_digest=canonical_digest(dict(settings)),
            inert={},
            evidence=Evidence(path="train.log", line=3, what="the configuration"),
        ),
        models=(
            ModelReference(role="source", name=models[0], revision=None, sha256=None),
            ModelReference(role="target", name=models[1], revision=None, sha256=None),
        ),
        data=DataReference(name="gsm8k", fingerprint=None),
        training=Training(planned_steps=2000, last_step=2000, evidence=None, loss_steps=(), loss_values=()),
        evaluations=evaluations,
        metrics=_metrics(evaluations),
        artifacts=tuple(
            Artifact(path=path, role=role, size_bytes=123_456, sha256=canonical_digest(path), storage="copy")
            for path, role in [*((dump, "dump") for dump in sorted(dumps)), ("train.log", "log")]
        ),
        artifacts_location=None,
        missing_artifacts=(
            MissingArtifact(
                path="checkpoint.pt",
                role="checkpoint",
                evidence=Evidence(path="train.log", line=3185, what="the log says it was saved"),
                reason="no checkpoint was kept",
            ),
        ),
        outcomes=OutcomesReference(
            path=f"{run_id}.outcomes.parquet", sha256=canonical_digest(run_id), num_rows=0
        ),
    )


def ablation_archive() -> dict[str, ArchivedRun]:
    """Return a control, two replicates, three ablations of which one helps, and a run that was cut off."""
    final = scattered(129, seed=1)
    curve = [scattered(count, seed=count) for count in (1, 104, 121, 122, 127, 124, 136, 127, 128)]
    off = dict(CONTROL_SETTINGS)
    return {
        run.run_id: run
        for run in (
            archived("control", final=final, curve=curve),
            archived("again", final=flipped(final, lost=16, won=12), curve=curve[:8]),
            archived("once_more", final=flipped(final, lost=12, won=14), curve=curve, invalid=11),
            archived(
                "mean",
                final=flipped(final, lost=25, won=9),
                curve=curve,
                settings=off | {"bridge.conditioning": "mean"},
            ),
            archived(
                "wide",
                final=flipped(final, lost=4, won=34),
                curve=curve,
                settings=off | {"bridge.num_tokens": 16},
            ),
            archived(
                "no_kl", final=flipped(final, lost=14, won=12), curve=curve, settings=off | {"loss.kl": False}
            ),
            archived(
                "cut_off",
                final=None,
                curve=curve[:3],
                settings=off | {"loss.prompt": False},
                status="truncated",
                reason="the log ends at step 520 of 2000 without a final evaluation",
            ),
        )
    }
