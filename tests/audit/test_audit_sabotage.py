"""The generated README, all of it true, holds no contradiction; one changed number in it is found."""

from __future__ import annotations

import re

import pytest

from tests.audit.reading import ROOT, audited_text, own_archive

README = (ROOT / "preserved_runs" / "README.md").read_text(encoding="utf-8")


def test_what_runkit_prints_itself_is_never_contradicted() -> None:
    verdicts = audited_text(README, manifests=own_archive())
    assert [one for one in verdicts if one.verdict == "contradicted"] == []
    assert sum(one.verdict == "supported" for one in verdicts) > 500


@pytest.mark.parametrize(
    ("found", "changed", "quantity"),
    [
        (
            "| Final bridged | 64.5% | 129/200 |",
            "| Final bridged | 66.5% | 129/200 |",
            "final.bridged_accuracy",
        ),
        (
            "| Final bridged | 64.5% | 129/200 |",
            "| Final bridged | 64.5% | 133/200 |",
            "final.bridged_accuracy",
        ),
        ("| +12.5 points |", "| +10.5 points |", "gap.target_minus_final_bridged"),
        ("| step 1500, test split", "| step 1250, test split", None),
        ("**Status**: truncated", "**Status**: completed", "status"),
        ("| 250 | 52.0% (104/200) | 8.0% (16/200)", "| 250 | 52.0% (104/200) | 9.0% (18/200)", None),
        ("| 71.6% (358/500) \\[67.5", "| 70.6% (353/500) \\[67.5", "final.bridged_accuracy"),
        ("| +30.6 points (153/500)", "| +32.6 points (153/500)", "gain.final_bridged_minus_source"),
    ],
)
def test_one_changed_value_is_found(found: str, changed: str, quantity: str | None) -> None:
    section = next(part for part in README.split('<a id="run-') if found in part)
    line = section[: section.index(found)].count("\n") + 1
    edited = section.replace(found, changed, 1)
    contradicted = [
        one for one in audited_text(edited, manifests=own_archive()) if one.verdict == "contradicted"
    ]
    if quantity is None:
        assert {one.line for one in contradicted} <= {line}
    else:
        assert [(one.line, one.quantity) for one in contradicted if one.line == line][:1] == [
            (line, quantity)
        ]


def test_a_cell_that_counts_the_endings_of_several_runs_is_no_claim_on_the_one_that_is_named() -> None:
    row = "| Run | Status |\n| --- | --- |\n| pocket\\_linear | STATUS |\n"
    told = {
        status: [one.verdict for one in audited_text(row.replace("STATUS", status))]
        for status in ("completed (4), early stopped (1)", "completed", "early stopped")
    }
    assert told == {
        "completed (4), early stopped (1)": [],
        "completed": ["supported"],
        "early stopped": ["contradicted"],
    }


def test_a_changed_step_in_a_sentence_is_found() -> None:
    source = "## `phase1_full_20251116_201212`\n\nPeak bridged accuracy 0.680 at step STEP.\n"
    words = {
        step: {one.quantity: one.verdict for one in audited_text(source.replace("STEP", step))}
        for step in ("1500", "1750")
    }
    assert words == {
        "1500": {"peak.bridged_accuracy": "supported", "peak.step": "supported"},
        "1750": {"peak.bridged_accuracy": "supported", "peak.step": "contradicted"},
    }


def test_the_same_sentence_under_another_heading_is_judged_by_that_run() -> None:
    sentence = "Final bridged accuracy 0.645, four H100s, `eval_every=250`."
    runs = ("phase1_full_20251116_201212", "ablB_20251116_234242", "pocket")
    told = {run: [one.verdict for one in audited_text(f"## `{run}`\n\n{sentence}\n")] for run in runs}
    assert told == {
        runs[0]: ["supported", "supported", "supported"],
        runs[1]: ["contradicted", "supported", "supported"],
        runs[2]: ["contradicted", "contradicted", "unverifiable"],
    }


@pytest.mark.parametrize(
    "doubtful",
    [
        "We expect a final bridged accuracy of 0.80.",
        "If it worked, the final bridged accuracy would be 0.80.",
        "Goal: final bridged accuracy of 0.80.",
        "The paper of Li et al. reports a final accuracy of 0.80.",
        "The mean of the final bridged accuracy across seeds is 0.80.",
        "On SQuAD the final bridged accuracy is 0.80.",
        "Next run: `eval_every=500`.",
    ],
)
def test_what_is_hoped_for_cited_or_of_another_task_is_never_contradicted(doubtful: str) -> None:
    verdicts = audited_text(f"## `phase1_full_20251116_201212`\n\n{doubtful}\n")
    assert {one.verdict for one in verdicts} <= {"unverifiable"}


def test_a_name_that_fits_two_runs_decides_nothing() -> None:
    (verdict,) = [
        one
        for one in audited_text("The phase2_swap run ends at 0.80 bridged.\n")
        if "accuracy" in one.quantity
    ]
    assert (verdict.verdict, re.sub(r"\d{8}_\d{6}", "", verdict.evidence)) == (
        "unverifiable",
        "the name fits phase2_swap_, phase2_swap_",
    )
