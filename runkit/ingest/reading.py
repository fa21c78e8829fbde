"""What all readers share: evaluations, status and training progress from a log and its dumps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from runkit.ingest.dumps import Dump, read_dump, scores
from runkit.ingest.folder import RunFolder, order_of_label
from runkit.ingest.trainlog import LoggedEvaluation, TrainLog
from runkit.records.manifest import (
    ALL_ZERO,
    EARLIER_START,
    NO_SAMPLES,
    Evaluation,
    Evidence,
    LoggedScore,
    MissingArtifact,
    StatusFact,
    Training,
)
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes


class Measurements(NamedTuple):
    """All evaluations of a run, and the outcomes behind them."""

    evaluations: tuple[Evaluation, ...]
    outcomes: RunOutcomes


class EvaluationPlan(NamedTuple):
    """What an evaluation was meant to be, by configuration."""

    num_items: int | None
    split: str
    checkpoint: str


def read_measurements(
    folder: RunFolder, log: TrainLog, plan: Callable[[str], EvaluationPlan]
) -> Measurements:
    """Return every evaluation that the log names or a dump holds.

    Args:
        plan: For an evaluation's label, what was planned.
    """
    dumps = folder.dumps()
    logged = {found.label for found in log.evaluations}
    labels = sorted({*dumps, *logged, *log.earlier_evaluations}, key=order_of_label)
    evaluations: list[Evaluation] = []
    outcomes: dict[str, EvaluationOutcomes] = {}
    for label in labels:
        if label in log.earlier_evaluations:
            evaluations.append(_of_an_earlier_start(label, plan(label)))
            continue
        path = dumps.get(label)
        dump = read_dump(folder.read_text(path), label=label) if path else None
        if dump and dump.outcomes:
            outcomes[label] = dump.outcomes
        inside = folder.inside(path) if path else None
        evaluations.append(_evaluation(label, plan(label), dump, inside, log.evaluation(label)))
    return Measurements(tuple(evaluations), outcomes)


def _evaluation(
    label: str, plan: EvaluationPlan, dump: Dump | None, path: str | None, logged: LoggedEvaluation | None
) -> Evaluation:
    return Evaluation.model_validate(
        {
            "label": label,
            "step": int(label) if label != "final" else dump.checkpoint_step if dump else None,
            "split": (dump.split if dump else None) or plan.split,
            "n_planned": plan.num_items,
            "checkpoint": plan.checkpoint,
            "noise_draw": dump.noise_draw if dump else None,
            "dump": path,
            "num_unreadable_rows": dump.num_unreadable_rows if dump else 0,
            "items_sha256": dump.items_sha256 if dump else None,
            "systems": scores(dump.outcomes) if dump and dump.outcomes else (),
            "logged": tuple(
                LoggedScore(system=system, accuracy_fraction=accuracy)
                for system, accuracy in (logged.accuracies if logged else {}).items()
            ),
            "log_line": logged.line if logged else None,
            "missing_because": _why_no_outcomes(dump, logged),
            "contradicting_log_lines": logged.other_lines if logged else (),
        }
    )


def _of_an_earlier_start(label: str, plan: EvaluationPlan) -> Evaluation:
    """Return the evaluation without numbers: neither its line nor its dump is the last start's."""
    return Evaluation.model_validate(
        {
            "label": label,
            "step": int(label) if label != "final" else None,
            "split": plan.split,
            "n_planned": plan.num_items,
            "checkpoint": plan.checkpoint,
            "noise_draw": None,
            "dump": None,
            "num_unreadable_rows": 0,
            "items_sha256": None,
            "systems": (),
            "logged": (),
            "log_line": None,
            "missing_because": EARLIER_START,
        }
    )


def _why_no_outcomes(dump: Dump | None, logged: LoggedEvaluation | None) -> str | None:
    if dump is not None and dump.outcomes is not None:
        return None
    if logged is not None and not logged.has_samples:
        return NO_SAMPLES
    if logged is not None and logged.accuracies and not any(logged.accuracies.values()):
        return ALL_ZERO
    if dump is None:
        return "the evaluation is in the log, its per-sample dump is not in the run directory"
    return "the per-sample dump has no readable row"


def read_status(log: TrainLog, log_path: str, measurements: Measurements) -> StatusFact:
    """Return how the run ended, with the line that proves it; nobody's last word is taken on trust."""
    status = _status_of_last_start(log, log_path, measurements)
    if not log.start_lines:
        return status
    lines = ", ".join(map(str, log.start_lines))
    told = f"the log holds {len(log.start_lines)} starts, at lines {lines}, and this is the last"
    return status.model_copy(update={"reason": f"{status.reason}; {told}"})


def read_no_samples(log: TrainLog, log_path: str, measurements: Measurements) -> StatusFact | None:
    """Return the status of a run whose log has evaluations of which none measured anything, else None."""
    if measurements.outcomes:
        return None
    if log.no_samples_line is not None:
        return _status(
            "no_eval_samples",
            "the log says that evaluation had no sample records, so its accuracies measure nothing",
            Evidence(path=log_path, line=log.no_samples_line, what="evaluation without sample records"),
        )
    told = [found for found in measurements.evaluations if found.logged]
    if told and all(found.missing_because == ALL_ZERO for found in told):
        return _status(
            "no_eval_samples",
            f"{ALL_ZERO}, in {'all evaluations' if len(told) > 1 else 'the only evaluation'}",
            Evidence(path=log_path, line=told[0].log_line, what="evaluation in which everything is 0"),
        )
    return None


def _status_of_last_start(log: TrainLog, log_path: str, measurements: Measurements) -> StatusFact:
    final = log.evaluation("final")
    without_samples = read_no_samples(log, log_path, measurements)
    if without_samples is not None:
        return without_samples
    crashed_after = final is None and (log.last_crash_line or 0) > (log.stopped_early_line or 0)
    if log.stopped_early_line is not None and not crashed_after:
        return _status(
            "early_stopped",
            _stopped_early(log, has_final=final is not None),
            Evidence(path=log_path, line=log.stopped_early_line, what="early-stop line"),
        )
    if final is not None:
        return _status(
            "completed",
            "the final evaluation is there, and no line says that training stopped early",
            Evidence(path=log_path, line=final.line, what="final evaluation"),
        )
    if log.interrupted_line is not None:
        return _status(
            "truncated",
            f"the run was interrupted {_progress(log)}",
            Evidence(path=log_path, line=log.interrupted_line, what="interruption by the user"),
        )
    if log.crash_line is not None:
        return _status(
            "crashed",
            f"an error stands in the log {_progress(log)}, and no final evaluation follows",
            Evidence(path=log_path, line=log.crash_line, what="first line of the error"),
        )
    dump = _whole_final_dump(measurements)
    if dump is not None:
        return _status(
            "completed",
            "the samples of the final evaluation are all there, though the log does not show it",
            Evidence(path=dump, line=None, what="samples of the final evaluation"),
        )
    return _status(
        "truncated",
        f"the log ends {_progress(log)} without a final evaluation, an early-stop line or an error",
        Evidence(
            path=log_path,
            line=log.last_step_line or max(log.num_lines, 1),
            what="last training step" if log.last_step_line else "end of the log",
        ),
    )


def _whole_final_dump(measurements: Measurements) -> str | None:
    """Return the dump of the final evaluation when no sample of it is missing or torn."""
    final = next((found for found in measurements.evaluations if found.label == "final"), None)
    if final is None or not final.n or final.num_unreadable_rows:
        return None
    return final.dump if final.n_planned in {None, final.n} else None


def _status(value: str, reason: str, evidence: Evidence) -> StatusFact:
    return StatusFact.model_validate({"value": value, "reason": reason, "evidence": evidence})


def _stopped_early(log: TrainLog, *, has_final: bool) -> str:
    if log.stopped_early_step is None:
        return "training stopped early; the log is cut before the step"
    at_the_end = log.stopped_early_step == log.planned_steps
    return (
        f"training stopped early at step {log.stopped_early_step}{_of_plan(log)}"
        f"{', which was the last one anyway' if at_the_end else ''}"
        f"{'' if has_final else '; no final evaluation follows'}"
    )


def _of_plan(log: TrainLog) -> str:
    return f" of {log.planned_steps}" if log.planned_steps is not None else ""


def _progress(log: TrainLog) -> str:
    return f"after step {log.steps[-1]}{_of_plan(log)}" if log.steps else "before the first logged step"


def read_training(log: TrainLog, log_path: str, *, planned_steps: int | None) -> Training:
    """Return how far training came."""
    points = [(step, loss) for step, loss in zip(log.steps, log.losses, strict=True) if loss is not None]
    line = log.last_step_line
    return Training(
        planned_steps=planned_steps if planned_steps is not None else log.planned_steps,
        last_step=log.steps[-1] if log.steps else None,
        evidence=Evidence(path=log_path, line=line, what="last training step") if line else None,
        loss_steps=tuple(step for step, _loss in points),
        loss_values=tuple(loss for _step, loss in points),
    )


def read_missing(folder: RunFolder, log: TrainLog, *, has_final: bool) -> tuple[MissingArtifact, ...]:
    """Return the files that the log says were written, or that a whole run has, and that are not there."""
    missing = []
    for logged in log.checkpoints:
        name = PurePosixPath(logged.path).name
        if not any(path.name == name for path in folder.root.rglob("*")):
            evidence = Evidence(
                path=folder.log_path, line=logged.line, what="the line that says it was saved"
            )
            missing.append(_missing(folder, name, "checkpoint", evidence, "the log says it was saved"))
    for logged in log.dumps:
        name = PurePosixPath(logged.path).name
        if not (folder.log_folder / name).is_file():
            evidence = Evidence(
                path=folder.log_path, line=logged.line, what="the line that says it was written"
            )
            missing.append(_missing(folder, name, "dump", evidence, "the log says it was written"))
    if not has_final and not (folder.log_folder / "eval_samples_step_final.jsonl").is_file():
        missing.append(
            _missing(
                folder, "eval_samples_step_final.jsonl", "dump", None, "a run that ends has a final dump"
            )
        )
    if not list(folder.root.glob("summary.log")) and not list(folder.log_folder.glob("summary.log")):
        missing.append(
            MissingArtifact(
                path="summary.log", role="summary", evidence=None, reason="the launch script writes one"
            )
        )
    return tuple({(found.path, found.role): found for found in missing}.values())


def _missing(
    folder: RunFolder, name: str, role: str, evidence: Evidence | None, reason: str
) -> MissingArtifact:
    path = folder.inside(folder.log_folder / name)
    return MissingArtifact.model_validate(
        {"path": path, "role": role, "evidence": evidence, "reason": reason}
    )
