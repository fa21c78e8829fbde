"""Sabotage of which checkpoint a final evaluation is of, and of what is read as text."""

from __future__ import annotations

import re

from runkit.checks.gather import gather
from runkit.checks.view import ArchiveView
from runkit.records.generation import Generation
from runkit.records.manifest import Manifest, Metric
from runkit.records.run_texts import RunTexts
from tests.checks.builders import N, answers, changed, lines, manifest_of, view_of

PEAK = Metric(
    name="peak.bridged",
    value_fraction=0.7,
    correct=14,
    n=N,
    steps=(10,),
    split="test",
    num_candidates=3,
    evidence="recomputed",
    missing_because=None,
)


def best_is_step_10(checkpoint: str) -> Manifest:
    clean = manifest_of()
    better = clean.sealed.evaluations[1].systems[-1].model_copy(update={"correct": 14, "wrong": 6})
    systems = (*clean.sealed.evaluations[1].systems[:-1], better)
    evaluations = changed(clean.sealed.evaluations, "10", systems=systems)
    return manifest_of(evaluations=changed(evaluations, "final", checkpoint=checkpoint))


def texts(prefix: str, num_other: int = 0) -> list[Generation]:
    """Return one text an item; the last *num_other* are of nobody else."""
    return [
        Generation(
            question="",
            text=f"{prefix if place < N - num_other else 'other'} {place} #### {place}",
            gold="1",
            answer="1",
            finish=None,
        )
        for place in range(N)
    ]


def judged(manifest: Manifest, written: RunTexts) -> list[str]:
    view = view_of(manifest, outcomes={})
    read = ArchiveView(view.manifests, view.observations, {}, {manifest.run_id: written})
    return [line for line in lines(gather(read)) if not re.search("RK20[19]", line)]


def test_outputs_of_the_last_step_under_the_name_of_the_best_are_an_error() -> None:
    written = RunTexts({"10": texts("early"), "20": texts("late"), "final": texts("late", 4)})
    assert judged(best_is_step_10("best"), written) == [
        "error RK304 control train.log:103: the final evaluation is said to be of the best checkpoint, "
        "and 16 "
        "of its 20 outputs are word for word those of the last step 20, 0 those of the best step 10 (p = "
        "3e-05)"
    ]


def test_the_same_outputs_without_a_name_are_a_warning() -> None:
    written = RunTexts({"10": texts("early"), "20": texts("late"), "final": texts("late", 4)})
    assert [line.split(":")[0] for line in judged(best_is_step_10("unknown"), written)] == [
        "warning RK304 control train.log"
    ]


def test_outputs_of_the_best_step_and_a_chance_excess_are_no_finding() -> None:
    for final in (texts("early"), texts("late", 17)):
        written = RunTexts({"10": texts("early"), "20": texts("late"), "final": final})
        assert judged(best_is_step_10("best"), written) == []


def test_a_final_dump_of_another_step_than_the_best_is_an_error_without_any_text() -> None:
    clean = manifest_of()
    final = changed(clean.sealed.evaluations, "final", checkpoint="best", step=20, items_sha256="0" * 64)
    assert judged(manifest_of(evaluations=final, metrics=(PEAK,)), RunTexts()) == [
        "error RK304 control dump_final.jsonl: the final evaluation is said to be of the best "
        "checkpoint, and "
        "its dump says step 20; the highest score is that of step 10 (14 of 20)"
    ]
    named = changed(clean.sealed.evaluations, "final", checkpoint="best", step=10, items_sha256="0" * 64)
    assert judged(manifest_of(evaluations=named, metrics=(PEAK,)), RunTexts()) == []


def test_a_summary_without_any_known_line_is_told() -> None:
    assert judged(manifest_of(), RunTexts(unknown_summaries=("summary.log",))) == [
        "info RK305 control summary.log: no line of summary.log has a known form; expected the end of the run"
    ]


def test_outputs_that_repeat_the_question_or_themselves_in_vain_are_a_collapse() -> None:
    question = "How many apples does Tom have now?"
    echo = [Generation(question, question, "1", None, None)] * 10 + texts("fine")[:10]
    loop = [Generation("", "#### 1000\n" * 9, "1", "1000", None)] * 10 + texts("fine")[:10]
    solved = [Generation(question, f"{question} #### 1", "1", "1", None)] * N
    for outputs, what in ((echo, "repeat the question"), (loop, "end in a repeated piece of text")):
        assert judged(manifest_of(final=answers(12)), RunTexts({"final": outputs})) == [
            f"warning RK208 control train.log:103: the final evaluation: 10 of 20 bridged outputs {what} "
            "and are "
            "not correct; expected fewer than half"
        ]
    assert judged(manifest_of(final=answers(12)), RunTexts({"final": solved})) == []
