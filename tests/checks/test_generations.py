"""Signs of what is wrong with generated texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.checks.generations import (
    AnswerShare,
    TextSigns,
    invalid_form,
    is_loop,
    late_marker,
    outcome_changes,
    steady_items,
    system_generations,
    text_signs,
)
from runkit.records.generation import Generation
from runkit.records.outcomes import EvaluationOutcomes
from tests.checks.builders import ITEMS, changed, manifest_of, outcomes_for

QUESTION = "Tom has 3 apples and buys 4 more. How many apples does Tom have now?"


def written(
    text: str, *, answer: str | None = "7", finish: str | None = None, question: str = QUESTION
) -> Generation:
    return Generation(question=question, text=text, gold="7", answer=answer, finish=finish)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" \n", "empty"),
        ("The answer is 7.", "no marker"),
        ("#### <number>", "not a number"),
        ("####", "not a number"),
        ("#### seven\n#### 7", "not a number"),
        ("#### 7", "other"),
        ("#### $1,200.", "other"),
        ("#### .6", "other"),
    ],
)
def test_an_invalid_text_has_one_form(text: str, form: str) -> None:
    assert invalid_form(text) == form


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("#### 100\n\n" * 20, True),
        ("I think. " * 3 + "I thin", False),  # too short to be sure of
        ("I think so, and so on. " * 3 + "I thin", True),
        ("3 + 4 = 7.\n#### 7\n" + "ha " * 30, True),
        ("A long solution of many words that is all different. " * 2 + "#### 7", False),
        ("1" + "0" * 250, True),
        ("", False),
    ],
)
def test_a_loop_is_a_piece_at_the_end_that_is_repeated_over_half_of_the_text(text: str, loops: bool) -> None:
    assert is_loop(text) is loops


@given(st.text(alphabet="ab,", min_size=1, max_size=12), st.integers(3, 20), st.text("xyz", max_size=20))
def test_whatever_is_repeated_over_most_of_a_text_is_a_loop(piece: str, repeats: int, before: str) -> None:
    repeated = piece * repeats
    assert is_loop(before + repeated) or len(repeated) < 40


def test_the_first_marker_may_belong_to_another_question_or_to_the_asked_one_once_more() -> None:
    assert late_marker(written("3 + 4 = 7\n#### 7\nQ: Another?\nA: #### 9")) is None
    assert late_marker(written("3 + 4 = 7\n\nQ: Jane has 5 pens. How many?\nA: #### 5")) == "leaked"
    assert late_marker(written(f"\nQ: {QUESTION}\nA: 3 + 4\n#### 7")) == "restated"
    assert late_marker(written("Q: Another?\nA: no marker at all")) is None


def test_signs_are_counted_over_all_texts_and_forms_over_invalid_ones() -> None:
    signs = text_signs(
        [
            written("", answer=None),
            written("no answer", answer=None),
            written(f"{QUESTION.upper()}  #### 7"),
            written("#### 100\n" * 20, answer="100"),
            written(f"{QUESTION}\nI do not know #### 8", answer="8"),
        ]
    )
    assert signs == TextSigns(
        invalid_forms={"empty": 1, "no marker": 1, "not a number": 0, "other": 0},
        num_truncated=None,
        num_echoed=2,
        num_looped=1,
        num_leaked=0,
        num_restated=0,
        num_echoed_in_vain=1,
        num_looped_in_vain=1,
    )


def test_truncation_is_counted_only_when_the_dump_says_why_every_text_ended() -> None:
    assert text_signs([written("a", finish="eos"), written("b", finish="length")]).num_truncated == 1
    assert text_signs([written("a", finish="eos"), written("b")]).num_truncated is None


def test_one_answer_in_half_of_the_outputs_is_a_collapse_and_nothing_extracted_is_none() -> None:
    half = EvaluationOutcomes(
        "9", ("a", "b", "c", "d"), ("1", "2", "3", "4"), {"bridged": ("5", "5", "6", "1")}
    )
    counted = system_generations(half, "bridged", None)
    assert counted.is_collapsed
    assert counted.most_common == (
        AnswerShare("5", 2, 0.5),
        AnswerShare("1", 1, 0.25),
        AnswerShare("6", 1, 0.25),
    )
    assert (counted.distinct_answers, counted.signs) == (3, None)
    invalid = EvaluationOutcomes("9", ("a", "b"), ("1", "2"), {"bridged": (None, None)})
    assert not system_generations(invalid, "bridged", None).is_collapsed


def test_changes_and_steady_items_are_those_of_the_same_items() -> None:
    outcomes = outcomes_for("r")
    first, second, third = outcome_changes(manifest_of("r"), outcomes, "bridged")
    assert [(one.before, one.after) for one in (first, second, third)] == [
        ("0", "10"),
        ("10", "20"),
        ("20", "final"),
    ]
    assert {pair: count for pair, count in second.counts.items() if count} == {
        ("correct", "correct"): 10,
        ("wrong", "correct"): 2,
        ("wrong", "wrong"): 8,
    }
    (steady,) = steady_items(manifest_of("r"), outcomes, "bridged")
    assert (steady.labels, steady.always_invalid) == (("10", "20", "final"), ())
    assert (steady.always_correct, steady.never_correct) == (ITEMS[:10], ITEMS[12:])


def test_evaluations_on_other_items_are_not_compared() -> None:
    run = manifest_of("r")
    elsewhere = changed(run.sealed.evaluations, "final", items_sha256="0" * 64)
    changes = outcome_changes(manifest_of("r", evaluations=elsewhere), outcomes_for("r"), "bridged")
    assert [(one.before, one.after) for one in changes] == [("0", "10"), ("10", "20")]
