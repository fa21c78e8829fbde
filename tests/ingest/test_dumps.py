"""Dumps become three-way outcomes; answers are texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.archive.outcomes_file import outcomes_to_parquet
from runkit.ingest.dumps import read_dump, scores
from runkit.records.manifest import SystemScore
from runkit.records.measurement import AnswerCount


def row(index: int, gold: str, answer: str | None, **more: object) -> str:
    return json.dumps(
        {"index": index, "question": "?", "gold_extracted": gold, "bridged_extracted": answer, **more}
    )


def test_a_score_counts_correct_wrong_and_invalid() -> None:
    dump = read_dump(
        "\n".join([row(0, "1", "1"), row(1, "2", "1"), row(2, "3", "[invalid]"), row(3, "4", None)]),
        label="9",
    )
    assert dump.outcomes is not None
    assert scores(dump.outcomes) == (
        SystemScore(
            system="bridged",
            correct=1,
            wrong=1,
            invalid=2,
            distinct_answers=2,
            most_common=(AnswerCount(answer="1", count=2),),
        ),
    )


@pytest.mark.parametrize("answer", ["10.", ".6", "1" + "0" * 250, "3.50", "-7"])
def test_answers_are_compared_as_text(answer: str) -> None:
    dump = read_dump(row(0, answer, answer) + "\n" + row(1, answer, answer + "0"), label="9")
    assert dump.outcomes is not None
    assert dump.outcomes.correct("bridged") == (True, False)


def test_a_torn_last_line_is_counted_and_the_rest_is_kept() -> None:
    text = row(0, "1", "1") + "\n" + row(1, "2", "2")[:-7]
    dump = read_dump(text, label="9")
    assert dump.outcomes is not None
    assert (dump.outcomes.items, dump.num_unreadable_rows) == (("0",), 1)


def test_an_empty_dump_has_no_outcomes_rather_than_zeros() -> None:
    assert read_dump("", label="9").outcomes is None


def test_rank_local_indices_are_replaced_by_the_place_in_the_dump() -> None:
    dump = read_dump(row(0, "1", "1") + "\n" + row(0, "2", "2"), label="9")
    assert dump.outcomes is not None
    assert dump.outcomes.items == ("0", "1")


def test_other_questions_with_equal_answers_are_other_items() -> None:
    first = read_dump(row(0, "1", "1"), label="9").items_sha256
    assert first != read_dump(row(0, "1", "1", question="another?"), label="9").items_sha256
    assert first == read_dump(row(0, "1", "8"), label="9").items_sha256


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    read_dump(text, label="9")


def test_numbers_stay_the_text_that_they_were_written_as() -> None:
    digits = "1" * 5000
    rows = [f'{{"gold_extracted": "{gold}", "bridged_extracted": {gold}}}' for gold in ("10.0", digits)]
    dump = read_dump("\n".join(rows), label="9")
    assert dump.outcomes is not None
    assert dump.outcomes.answers["bridged"] == ("10.0", digits)
    assert dump.outcomes.correct("bridged") == (True, True)


def test_an_answer_that_is_neither_text_nor_number_makes_its_row_unreadable() -> None:
    text = row(0, "1", "1") + "\n" + json.dumps({"gold_extracted": "1", "bridged_extracted": ["1"]})
    dump = read_dump(text, label="9")
    assert dump.outcomes is not None
    assert (dump.outcomes.items, dump.num_unreadable_rows) == (("0",), 1)


@pytest.mark.parametrize(
    "hostile", ["[" * 100_000, '{"gold_extracted": ' * 3000, '{"a": 1e999999}', "\x00", '"\\ud800"']
)
def test_hostile_rows_are_counted_and_nothing_else(hostile: str) -> None:
    dump = read_dump(hostile + "\n" + row(0, "1", "1"), label="9")
    assert dump.outcomes is not None
    assert (dump.outcomes.items, dump.num_unreadable_rows) == (("0",), 1)


def test_half_a_surrogate_pair_is_spelled_out_so_that_it_can_be_stored() -> None:
    dump = read_dump('{"gold_extracted": "1", "bridged_extracted": "\\ud800"}', label="9")
    assert dump.outcomes is not None
    assert dump.outcomes.answers["bridged"] == ("\\ud800",)
    assert outcomes_to_parquet({"9": dump.outcomes})[1] == 1


def test_a_byte_order_mark_costs_no_row() -> None:
    dump = read_dump("\ufeff" + row(0, "1", "1"), label="9")
    assert (dump.num_unreadable_rows, dump.outcomes is not None) == (0, True)
