"""Amounts: what is printed from a count agrees with the count, and with no other that rounds differently."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.audit.amounts import Amount, amounts
from runkit.stats.rounding import percent


def only(text: str) -> Amount:
    found = list(amounts(text))
    assert len(found) == 1, found
    return found[0]


counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_a_printed_percentage_agrees_with_its_count(pair: tuple[int, int]) -> None:
    count, n = pair
    assert only(f"accuracy {percent(count, n)}%").holds(Fraction(count, n))


@given(counts, st.integers(1, 6))
def test_a_printed_fraction_agrees_with_its_count_and_with_none_further_off(
    pair: tuple[int, int], decimals: int
) -> None:
    value = Fraction(*pair)
    amount = only(f"it is {float(value):.{decimals}f} now")
    assert amount.holds(value)
    assert not amount.holds(value + Fraction(11, 10 ** (decimals + 1)))


@given(counts)
def test_a_count_is_exact(pair: tuple[int, int]) -> None:
    count, n = pair
    amount = only(f"{count}/{n} correct")
    assert (amount.unit, amount.n) == ("count", n)
    assert amount.holds(Fraction(count))
    assert not amount.holds(Fraction(count + 1))


@pytest.mark.parametrize(
    ("text", "holding", "failing"),
    [
        ("~12 pts", "0.125", "0.14"),
        ("~15 points", "0.145", "0.17"),
        ("~30–40%".replace("–", "-"), "0.44", "0.46"),
        ("<0.01", "-0.04", "0.01"),
        ("> 10 points", "0.105", "0.10"),
        ("at least 60 %", "0.605", "0.59"),
        ("at or below 0.5 %", "0.005", "0.02"),
        ("no more than 3 points", "0.03", "0.04"),
        ("two points", "0.02", "0.03"),
        ("about half of", "0.505", "0.60"),
        ("12.5pp", "0.125", "0.126"),
        ("64.5 per cent", "0.645", "0.65"),
    ],
)
def test_hedges_comparators_and_words_are_understood(text: str, holding: str, failing: str) -> None:
    amount = only(f"it is {text} the others")
    assert amount.holds(Fraction(holding))
    assert not amount.holds(Fraction(failing))


@pytest.mark.parametrize(
    "text",
    ["2025-11-16", "at 20:12:12", "Llama 3.1", "v0.3", "Section 4.2", "phase1_all", "#12", "1.2 MiB", "80GB"],
)
def test_dates_versions_names_and_sizes_are_no_amounts(text: str) -> None:
    assert list(amounts(text)) == []
