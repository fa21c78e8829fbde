"""Audit against the ground truth of the seed document: which claims are found, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runkit.audit.auditing import Verdict
from tests.audit.reading import audited_text, confusion
from tests.conftest import SHARED

pytestmark = pytest.mark.seed

# The oracle's name of a quantity -> ours, where the two differ.
SAME_QUANTITY = {
    "artifacts.train_log_and_jsonl_present": "artifacts.dump_present",
    "config.prompt_alignment_enabled": "config.prompt_alignment",
    "config.rope_projection_enabled": "config.rope_projection",
    "config.rope_projection_off": "config.rope_projection",
    "config.kl_enabled": "config.kl",
    "config.prompt_and_rope_alignment": "config.prompt_alignment_and_rope_projection",
    "info_nce.behaviour": "behaviour.as_expected",
    "early_stop.behaviour": "behaviour.as_expected",
    "final.bridged_minus_source": "final.bridged_above_source",
    "final.bridged_minus_target": "final.bridged_below_target",
    "final.bridged_lt_target": "final.bridged_below_target",
    "final.any_run_beats_target": "final.bridged_below_target",
    "final.phase1_minus_ablB": "final.difference_to.phase1_full_20251116_201212",
    "final.abs_diff_to_phase1": "final.order_of_runs",
    "trajectory.recovery_after_1250": "trajectory.recovery",
    "trajectory.instability_at_2000": "trajectory.instability",
    "ablation.conclusion_kl_insufficient": "ablation.kl_effect",
    "ablation.prompt_alignment_dominant": "ablation.prompt_alignment_effect",
    "ablation.rope_gain_pts": "ablation.rope_projection_gain",
    "degradation.mid_training_peak_minus_final": "degradation.peak_minus_final",
    "step.500.samples_with_digits": "step.500.bridged_valid",
    "outputs.all_reencoded_questions": "outputs.texts",
    "dit.reproduced_question_text": "outputs.texts",
    "embeddings.collapsed": "embeddings.state",
}

# Two quantities of one phrase: `below target` is a gap without a number, `4 x H100` implies four processes.
ALSO = {
    (44, "gap.target_minus_final_bridged"): "final.bridged_below_target",
    (9, "world_size"): "gpu.model_and_count",
}

NOT_KEPT = {(62, "outputs.all_reencoded_questions"), (62, "training.answer_supervision")}
"""Contradicted by the texts of outputs and by a diagnostic of the log, which manifests do not keep."""


@pytest.fixture(scope="module")
def verdicts() -> tuple[Verdict, ...]:
    return audited_text((SHARED / "seed" / "PRESERVED_RUNS.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def oracle() -> list[dict[str, object]]:
    lines = Path(SHARED / "oracles" / "seed_claims.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def found(verdicts: tuple[Verdict, ...], claim: dict[str, object]) -> str:
    place = (claim["line"], str(claim["quantity"]))
    wanted = ALSO.get(place, SAME_QUANTITY.get(place[1], place[1]))  # type: ignore[arg-type]
    here = [one.verdict for one in verdicts if one.line == claim["line"] and one.quantity == wanted]
    return here[0] if here else "not found"


def test_the_confusion_table_on_the_seed_document(
    verdicts: tuple[Verdict, ...], oracle: list[dict[str, object]]
) -> None:
    pairs = [(str(claim["verdict"]), found(verdicts, claim)) for claim in oracle]
    assert confusion(pairs) == (
        "expected      contradicted    supported unverifiable    not found\n"
        "contradicted            18            0            2            0\n"
        "supported                0           80            0            1\n"
        "unverifiable             0            0           15            0"
    )


def test_every_contradicted_claim_but_two_is_found_and_they_need_what_is_not_archived(
    verdicts: tuple[Verdict, ...], oracle: list[dict[str, object]]
) -> None:
    missed = {
        (claim["line"], claim["quantity"])
        for claim in oracle
        if claim["verdict"] == "contradicted" and found(verdicts, claim) != "contradicted"
    }
    assert missed == NOT_KEPT


def test_nothing_is_called_contradicted_that_the_oracle_does_not_call_so(
    verdicts: tuple[Verdict, ...], oracle: list[dict[str, object]]
) -> None:
    wrong = [
        (claim["line"], str(claim["quantity"])) for claim in oracle if claim["verdict"] == "contradicted"
    ]
    named = {(line, ALSO.get((line, name), SAME_QUANTITY.get(name, name))) for line, name in wrong}  # type: ignore[arg-type]
    called = {(one.line, one.quantity) for one in verdicts if one.verdict == "contradicted"}
    assert called <= named


def test_the_causes_are_the_findings_of_the_other_verbs(verdicts: tuple[Verdict, ...]) -> None:
    causes = [one.because for one in verdicts if one.verdict == "contradicted"]
    assert {code: causes.count(code) for code in set(causes)} == {
        "RK108": 1,
        "RK107": 1,
        "RK401": 8,
        "RK207": 1,
        "RK303": 1,
        "": 6,
    }
