"""Outcomes survive the round trip through Parquet, and equal outcomes are equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.archive.outcomes_file import outcomes_from_parquet, outcomes_to_parquet
from runkit.errors import RunUnreadable
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes

texts = st.text(max_size=6)


@st.composite
def run_outcomes(draw: st.DrawFn) -> RunOutcomes:
    outcomes = {}
    for label in draw(st.lists(st.sampled_from(["0", "250", "final"]), unique=True)):
        items = tuple(draw(st.lists(texts, min_size=1, max_size=5, unique=True)))
        column = st.lists(st.none() | texts, min_size=len(items), max_size=len(items)).map(tuple)
        golds = tuple(draw(st.lists(texts, min_size=len(items), max_size=len(items))))
        answers = draw(st.dictionaries(st.sampled_from(["source", "target", "bridged"]), column, min_size=1))
        outcomes[label] = EvaluationOutcomes(label, items, golds, answers)
    return outcomes


@given(run_outcomes())
def test_outcomes_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, outcomes: RunOutcomes
) -> None:
    path = tmp_path_factory.mktemp("outcomes") / "r.parquet"
    parquet, num_rows = outcomes_to_parquet(outcomes)
    path.write_bytes(parquet)
    assert outcomes_from_parquet(path) == outcomes
    assert num_rows == sum(len(found.items) * len(found.answers) for found in outcomes.values())
    assert outcomes_to_parquet(outcomes)[0] == parquet


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.outcomes.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(RunUnreadable, match=r"r\.outcomes\.parquet is not a readable Parquet file"):
        outcomes_from_parquet(path)
