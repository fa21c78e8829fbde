"""Sabotage of how a run ended, and of what is said about it."""

from __future__ import annotations

from runkit.checks.gather import gather
from runkit.records.manifest import (
    Code,
    Evidence,
    Manifest,
    MissingArtifact,
    Notes,
    Software,
    StatusFact,
    Training,
)
from tests.checks.builders import lines, manifest_of, view_of

LINE = Evidence(path="inner/train.log", line=1274, what="CUDA ran out of memory.")


def judged(manifest: Manifest) -> list[str]:
    return lines(gather(view_of(manifest)))


def ended(status: str, **more: object) -> Manifest:
    fact = StatusFact.model_validate({"value": status, "reason": "the log just ends", "evidence": LINE})
    training = Training(planned_steps=2000, last_step=520, evidence=LINE, loss_steps=(), loss_values=())
    return manifest_of(status=fact, training=training, **more)


def test_a_truncated_run_is_found_with_its_last_line() -> None:
    assert judged(ended("truncated")) == [
        "error RK301 control inner/train.log:1274: the run ends at step 520 of 2000, with no final "
        "evaluation and "
        "no early-stop line"
    ]


def test_a_crashed_run_is_found_with_what_stopped_it() -> None:
    assert judged(ended("crashed")) == [
        "error RK302 control inner/train.log:1274: the run crashed at step 520 of 2000: CUDA ran out of "
        "memory"
    ]


def test_a_run_that_stopped_early_is_whole() -> None:
    assert judged(ended("early_stopped")) == []


def test_a_claim_that_the_log_refutes_is_found() -> None:
    honest = ended("early_stopped")
    claimed = Notes(claimed_status="completed")
    assert judged(honest.model_copy(update={"notes": claimed})) == [
        "error RK303 control notes.claimed_status: the notes claim that the run is completed, its own "
        "artifacts say "
        "early_stopped (inner/train.log:1274)"
    ]


def test_a_claim_that_the_log_confirms_is_no_finding() -> None:
    honest = ended("early_stopped")
    assert judged(honest.model_copy(update={"notes": Notes(claimed_status="early_stopped")})) == []


def test_a_missing_summary_is_noted() -> None:
    missing = MissingArtifact(
        path="summary.log", role="summary", evidence=None, reason="the script was killed"
    )
    assert judged(manifest_of(missing_artifacts=(missing,))) == [
        "info RK305 control summary.log: summary.log is not there; expected a summary with the end of the "
        "run: the "
        "script was killed"
    ]
    without = tuple(one for one in manifest_of().sealed.artifacts if one.role != "summary")
    assert judged(manifest_of(artifacts=without)) == [
        "info RK305 control sealed.artifacts: no artifact is a summary; expected one with the end of the run"
    ]


def with_code(**fields: object) -> Manifest:
    code = Code.model_validate({"git_commit": "a" * 40, "is_dirty": False, "missing_because": None, **fields})
    return manifest_of(software=Software(python_version=None, packages={}, code=code))


def test_unknown_code_is_noted() -> None:
    assert judged(with_code(git_commit=None, is_dirty=None, missing_because="not recorded")) == [
        "info RK410 control sealed.software.code: the run does not record which commit it ran: not recorded"
    ]
    assert judged(with_code(is_dirty=None)) == [
        "info RK410 control sealed.software.code: nobody knows whether the code differed from commit "
        "aaaaaaaaaaaa"
    ]
    assert judged(with_code(is_dirty=True)) == [
        "info RK410 control sealed.software.code: the code differed from commit aaaaaaaaaaaa, and the "
        "changes were "
        "not kept"
    ]
