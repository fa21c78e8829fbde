"""Root causes are proposed with the lines that speak for them, and only where something does."""

from __future__ import annotations

import pytest

from runkit.checks.causes import CauseRecord, Control, proposed_causes
from runkit.checks.generations import system_generations
from runkit.checks.taxonomy import CAUSES, cause
from runkit.errors import UnknownName
from runkit.ingest.signals import read_signals
from runkit.records.generation import Generation
from runkit.records.manifest import Evidence, Manifest, StatusFact, Training
from tests.checks.builders import SETTINGS, N, answers, manifest_of, outcomes_for, outcomes_of

LAST_STEP = Evidence(path="train.log", line=3, what="last training step")
HEAD = "Step 20/2000 | Loss (avg over last 20): 1.0\n" * 3


def ended(status: str, reason: str = "the log just ends") -> Manifest:
    fact = StatusFact.model_validate({"value": status, "reason": reason, "evidence": LAST_STEP})
    training = Training(planned_steps=2000, last_step=20, evidence=LAST_STEP, loss_steps=(), loss_values=())
    return manifest_of(status=fact, training=training, evaluations=())


def shown(record: CauseRecord) -> list[tuple[str, str, list[str]]]:
    return [
        (one.code, one.confidence, [f"{proof.path}:{proof.line}" for proof in one.evidence])
        for one in proposed_causes(record)
    ]


@pytest.mark.parametrize(
    ("status", "line", "code", "confidence"),
    [
        ("truncated", "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2025-11-18 DUE TO TIME LIMIT ***",
         "truncated.walltime", "proven"),
        ("crashed", "slurmstepd-n1: error: *** STEP 7.0 ON n1 CANCELLED DUE TO PREEMPTION ***",
         "truncated.preempted", "proven"),
        ("crashed", "srun: error: Node failure on n1", "crash.node_failure", "proven"),
        ("crashed", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0", "crash.host_oom", "proven"),
        ("crashed", "[rank2]: torch.OutOfMemoryError: CUDA out of memory. Tried", "crash.oom", "proven"),
        ("crashed", "RuntimeError: CUDA error: out of memory", "crash.oom", "proven"),
        ("crashed", "torch.distributed.DistBackendError: NCCL error in: x.cpp", "crash.nccl", "proven"),
        ("crashed", "[rank0]:[E1118 21:00:00 ProcessGroupNCCL.cpp:1] [Rank 0] Watchdog caught collective "
         "operation timeout", "crash.nccl", "proven"),
        ("crashed", "ModuleNotFoundError: No module named 'peft'", "crash.import", "proven"),
        ("crashed", "OSError: [Errno 28] No space left on device", "crash.disk_full", "proven"),
        ("crashed", "RuntimeError: CUDA error: device-side assert triggered", "crash.cuda", "proven"),
        ("crashed", "[Crash] the loss is not finite at step 340", "crash.not_finite", "proven"),
        ("crashed", "Segmentation fault (core dumped)", "crash.segfault", "proven"),
        ("truncated", "[Interrupted]", "truncated.interrupted", "proven"),
        ("crashed", "/x.sh: line 3: 1234 Killed    python train.py", "crash.host_oom", "possible"),
        ("crashed", "KeyError: 'answer'", "crash.exception", "possible"),
    ],
)  # fmt: skip
def test_what_ended_a_run_is_named_by_its_line(status: str, line: str, code: str, confidence: str) -> None:
    log = HEAD + "Traceback (most recent call last):\n" * (status == "crashed") + line + "\n"
    number = log.count("\n")
    assert shown(CauseRecord(ended(status), {}, signals=read_signals(log))) == [
        (code, confidence, [f"train.log:{number}"])
    ]


def test_a_truncated_log_that_says_nothing_is_truncated_for_an_unknown_reason() -> None:
    assert shown(CauseRecord(ended("truncated"), {}, signals=read_signals(HEAD))) == [
        ("truncated.unknown", "proven", ["train.log:3"])
    ]


def test_an_error_that_training_survived_is_no_cause() -> None:
    log = "torch.OutOfMemoryError: CUDA out of memory\n" + HEAD[: HEAD.index("\n") + 1] * 2
    assert shown(CauseRecord(ended("truncated"), {}, signals=read_signals(log)))[0][0] == "truncated.unknown"


def test_a_model_that_writes_about_errors_names_no_cause() -> None:
    assert (
        read_signals(
            "He said: torch.OutOfMemoryError\n the slurmstepd: error: DUE TO TIME LIMIT\nQ: Killed?\n"
        )
        == ()
    )


def test_a_whole_run_that_is_better_than_both_has_no_cause() -> None:
    better = outcomes_of("final", answers(N))
    run = manifest_of(final=answers(N))
    assert shown(CauseRecord(run, {**outcomes_for("control"), "final": better})) == []


def test_no_samples_is_a_cause_of_its_own() -> None:
    assert shown(CauseRecord(ended("no_eval_samples"), {})) == [
        ("eval.no_samples", "proven", ["train.log:3"])
    ]


def worse(settings: dict[str, object] | None = None, *, text: str = "#### 5") -> CauseRecord:
    final = answers(1)
    outcomes = {**outcomes_for("control"), "final": outcomes_of("final", final)}
    run = manifest_of(final=final, settings={**SETTINGS, **(settings or {})})
    texts = [
        Generation(question="How many apples does Tom have?", text=text, gold="1", answer="5", finish=None)
    ] * N
    return CauseRecord(
        run,
        outcomes,
        setting_lines=(("dit_teacher", 72), ("eval_prompt_mode", 31)),
        reported=system_generations(outcomes["final"], "bridged", texts),
    )


def test_a_bridge_that_is_significantly_worse_says_so_with_the_evaluation() -> None:
    assert shown(worse()) == [
        ("underperforms.target", "proven", ["train.log:103", "dump_final.jsonl:None"]),
        ("underperforms.source", "proven", ["train.log:103", "dump_final.jsonl:None"]),
    ]


def test_a_question_that_is_read_twice_is_possible_and_likely_when_the_outputs_repeat_it() -> None:
    settings: dict[str, object] = {"dit_teacher": "prompt", "eval_prompt_mode": "soft_plus_text"}
    assert shown(worse(settings))[0] == (
        "conditioning.duplicated_prompt",
        "possible",
        ["train.log:72", "train.log:31", "train.log:103"],
    )
    echoing = shown(worse(settings, text="How many apples does Tom have? I do not know. #### 5"))
    assert [one[:2] for one in echoing[:2]] == [
        ("conditioning.duplicated_prompt", "likely"),
        ("collapse.echo", "proven"),
    ]
    assert "conditioning" not in shown(worse({**settings, "eval_prompt_mode": "soft_only"}))[0][0]


def test_an_ablation_of_nothing_and_one_that_cannot_be_told_from_its_control_are_named() -> None:
    control = Control(manifest_of("control"), outcomes_for("control"))
    same = CauseRecord(manifest_of("ablation"), outcomes_for("ablation"), controls=[control])
    other = CauseRecord(
        manifest_of("ablation", settings={**SETTINGS, "seed": 2}),
        outcomes_for("ablation"),
        controls=[control],
    )
    assert shown(same)[0] == ("noise.ablation_not_distinct", "proven", ["train.log:1"])
    assert shown(other)[0] == ("noise.ablation_not_distinct", "possible", ["train.log:103"])


def test_every_code_is_documented_once_and_a_misspelled_one_is_answered() -> None:
    codes = [one.code for one in CAUSES]
    assert len(codes) == len(set(codes))
    assert all(one.meaning and one.told_by and one.way_out for one in CAUSES)
    with pytest.raises(UnknownName, match=r"there is no root cause 'crash.omm'; did you mean 'crash.oom'"):
        cause("crash.omm")
