"""A small clean archive in memory, with its disk and outcomes; one change of it makes one finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from runkit.checks.view import ArchiveView
from runkit.records.finding import Finding
from runkit.records.manifest import (
    Artifact,
    Code,
    Command,
    Configuration,
    DataReference,
    Evaluation,
    Evidence,
    Hardware,
    LoggedScore,
    Manifest,
    ModelReference,
    Notes,
    OutcomesReference,
    Provenance,
    SealedFacts,
    Software,
    StatusFact,
    SystemScore,
    Training,
)
from runkit.records.measurement import AnswerCount
from runkit.records.observation import FileObservation, RunObservation
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes
from runkit.records.record import Scalar, canonical_digest

N = 20
ITEMS = tuple(f"item-{index}" for index in range(N))
GOLDS = tuple(str(100 + index) for index in range(N))
SETTINGS: Mapping[str, Scalar] = {
    "bridge.conditioning": "cross",
    "bridge.num_soft_tokens": 8,
    "global_batch": 8,
    "loss.flow_weight": 0.5,
    "seed": 1,
    "world_size": 4,
}
LABELS = ("0", "10", "20", "final")


def sha(text: str) -> str:
    """Return a digest that stands for the bytes of *text*."""
    return canonical_digest(text)


def answers(num_correct: int, *, num_invalid: int = 0, salt: str = "") -> tuple[str | None, ...]:
    """Return answers: the first *num_correct* right, the last *num_invalid* missing, the others wrong."""
    num_wrong = N - num_correct - num_invalid
    wrong = tuple(f"{salt}{index}" for index in range(num_wrong))
    return (*GOLDS[:num_correct], *wrong, *((None,) * num_invalid))


def outcomes_of(label: str, bridged: Sequence[str | None]) -> EvaluationOutcomes:
    """Return an evaluation in which the source has 8 and the target 14 of 20."""
    by_system = {"source": answers(8, num_invalid=2), "target": answers(14), "bridged": tuple(bridged)}
    return EvaluationOutcomes(label, ITEMS, GOLDS, by_system)


def evaluation_of(outcomes: EvaluationOutcomes) -> Evaluation:
    """Return what an honest manifest says of *outcomes*."""
    scores = tuple(score_of(outcomes, system) for system in outcomes.answers)
    label = outcomes.label
    return Evaluation(
        label=label,
        step=None if label == "final" else int(label),
        split="test",
        n_planned=len(outcomes.items),
        checkpoint="last" if label == "final" else "live",
        noise_draw=0,
        dump=f"dump_{label}.jsonl",
        num_unreadable_rows=0,
        items_sha256=canonical_digest([outcomes.items, outcomes.golds]),
        systems=scores,
        logged=tuple(
            LoggedScore(system=score.system, accuracy_fraction=round(score.correct / score.n, 3))
            for score in scores
        ),
        log_line=100 + LABELS.index(label) if label in LABELS else 99,
        missing_because=None,
    )


def score_of(outcomes: EvaluationOutcomes, system: str) -> SystemScore:
    """Return the three-way counts of *system*."""
    counted = Counter(outcomes.outcomes(system))
    given = Counter(answer for answer in outcomes.answers[system] if answer is not None)
    common = sorted(given.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    return SystemScore(
        system=system,
        correct=counted["correct"],
        wrong=counted["wrong"],
        invalid=counted["invalid"],
        distinct_answers=len(set(outcomes.answers[system])),
        most_common=tuple(AnswerCount(answer=answer, count=count) for answer, count in common),
    )


def outcomes_for(run_id: str, *, final: Sequence[str | None] | None = None) -> RunOutcomes:
    """Return outcomes of a run that learns: 0, 10, 12 and 12 of 20."""
    bridged = {
        "0": answers(0, num_invalid=N),
        "10": answers(10, salt=run_id),
        "20": answers(12, salt=run_id),
        "final": answers(12, salt=run_id) if final is None else final,
    }
    return {label: outcomes_of(label, found) for label, found in bridged.items()}


def facts_of(
    run_id: str, measured: RunOutcomes, settings: Mapping[str, Scalar] = SETTINGS, **changes: object
) -> SealedFacts:
    """Return sealed facts that agree with *measured*, with *changes* on top."""
    line = Evidence(path="train.log", line=104, what="the final evaluation")
    fields: dict[str, object] = {
        "run_id": run_id,
        "provenance": Provenance(
            reader="bridge-cluster",
            runkit_version="0",
            logged_run_directory=f"runs/{run_id}",
            log_path="train.log",
            num_log_lines=104,
            num_log_lines_understood=104,
        ),
        "started": None,
        "ended": None,
        "duration_seconds": None,
        "status": StatusFact(value="completed", reason="there is a final evaluation", evidence=line),
        "command": Command(
            argv=("train",), launcher=None, world_size=4, environment={}, missing_because=None
        ),
        "hardware": Hardware(gpus=(), cpu_model=None, num_cpus=None, memory_bytes=None, evidence=None),
        "software": Software(
            python_version=None,
            packages={},
            code=Code(git_commit="a" * 40, is_dirty=False, missing_because=None),
        ),
        "configuration": configured(settings),
        "models": (
            ModelReference(role="source", name="org/reader", revision=None, sha256=None),
            ModelReference(role="target", name="org/writer", revision=None, sha256=None),
        ),
        "data": DataReference(name="sums", fingerprint=None),
        "training": Training(planned_steps=20, last_step=20, evidence=line, loss_steps=(), loss_values=()),
        "evaluations": tuple(evaluation_of(found) for found in measured.values()),
        "metrics": (),
        "artifacts": artifacts_of(run_id),
        "artifacts_location": None,
        "missing_artifacts": (),
        "outcomes": OutcomesReference(
            path=f"manifests/{run_id}.outcomes.parquet", sha256=sha(f"{run_id} outcomes"), num_rows=240
        ),
    }
    return SealedFacts.model_validate(fields | changes)


def configured(settings: Mapping[str, Scalar], inert: Mapping[str, str] | None = None) -> Configuration:
    """Return the configuration whose effective part is *settings*."""
    return Configuration(
        logged={key: str(value) for key, value in settings.items()},
        effective=settings,
        effective_digest=canonical_digest(dict(settings)),
        inert=inert or {},
        evidence=Evidence(path="train.log", line=1, what="the settings"),
    )


def artifacts_of(run_id: str) -> tuple[Artifact, ...]:
    """Return dumps, summary and log of a run, each with bytes of its own."""
    files = [(f"dump_{label}.jsonl", "dump") for label in sorted(LABELS)]
    files += [("summary.log", "summary"), ("train.log", "log")]
    return tuple(
        Artifact.model_validate(
            {
                "path": path,
                "role": role,
                "size_bytes": 10,
                "sha256": sha(f"{run_id} {path}"),
                "storage": "copy",
            }
        )
        for path, role in files
    )


def manifest_of(
    run_id: str = "control",
    *,
    settings: Mapping[str, Scalar] = SETTINGS,
    final: Sequence[str | None] | None = None,
    notes: Notes | None = None,
    **changes: object,
) -> Manifest:
    """Return the sealed manifest of a clean run, with *changes* of its facts."""
    facts = facts_of(run_id, outcomes_for(run_id, final=final), settings, **changes)
    return Manifest.sealing(facts, notes or Notes())


def observed(manifest: Manifest, **changes: FileObservation) -> RunObservation:
    """Return a disk that holds what *manifest* says; *changes* name artifacts with ``_`` for ``.``."""
    sealed = manifest.sealed
    seen = {
        artifact.path: FileObservation("file", artifact.size_bytes, artifact.sha256)
        for artifact in sealed.artifacts
    }
    seen |= {path: changes[path.replace(".", "_")] for path in seen if path.replace(".", "_") in changes}
    reference = sealed.outcomes
    parquet = None if reference is None else FileObservation("file", 10, reference.sha256)
    return RunObservation(manifest.run_id, seen, (), parquet, rehashed=True, num_not_checked=0)


def view_of(*manifests: Manifest, outcomes: Mapping[str, RunOutcomes] | None = None) -> ArchiveView:
    """Return an archive whose disk agrees with *manifests*, and whose outcomes do unless given."""
    return ArchiveView(
        manifests=manifests,
        observations={manifest.run_id: observed(manifest) for manifest in manifests},
        outcomes=outcomes
        if outcomes is not None
        else {one.run_id: outcomes_for(one.run_id) for one in manifests},
    )


def lines(findings: Sequence[Finding]) -> list[str]:
    """Return *findings* as a person reads them, without the way out."""
    return [f"{one.severity} {one.rule} {one.run_id} {one.place}: {one.message}" for one in findings]


def changed(evaluations: Sequence[Evaluation], label: str, **changes: object) -> tuple[Evaluation, ...]:
    """Return *evaluations* with *changes* of the one called *label*."""
    return tuple(one.model_copy(update=changes) if one.label == label else one for one in evaluations)
