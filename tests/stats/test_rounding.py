"""Numbers are rounded once, from integers, halves away from zero."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.stats.proportions import Interval
from runkit.stats.rounding import (
    percent,
    percent_interval,
    plain_percent,
    plain_points,
    points,
    points_interval,
    pvalue,
)

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_a_percentage_is_the_decimal_quotient_rounded_half_up(counts: tuple[int, int]) -> None:
    with localcontext(prec=60):
        exact = Decimal(100 * counts[0]) / counts[1]
        assert percent(*counts) == str(exact.quantize(Decimal("0.1"), rounding=ROUND_HALF_UP))


@pytest.mark.parametrize(("count", "n", "text"), [(1621, 2000, "81.1"), (1619, 2000, "81.0"), (1, 400, "0.3"),
                                                  (129, 200, "64.5"), (0, 7, "0.0"),
                                                  (7, 7, "100.0")])  # fmt: skip
def test_halves_go_up_where_floats_would_go_down(count: int, n: int, text: str) -> None:
    assert percent(count, n) == text


@given(COUNTS)
def test_a_loss_is_printed_as_the_gain_with_another_sign(counts: tuple[int, int]) -> None:
    gain, loss = points(*counts), points(-counts[0], counts[1])
    assert gain.lstrip("+") == loss.lstrip("−")
    assert (gain[0] == "+" and loss[0] == "−") or gain == loss == "0.0"


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    assert points(-1, 5000) == points(1, 5000) == "0.0"
    assert percent_interval(Interval(-0.0004, 0.0004)) == "[0.0, 0.0]"


def test_intervals_and_sizes_are_in_percent_with_one_decimal() -> None:
    assert percent_interval(Interval(0.5766, 0.7079)) == "[57.7, 70.8]"
    assert points_interval(Interval(-0.068655, 0.028793)) == "[−6.9, 2.9]"
    assert (plain_points(0.09428), plain_percent(0.645)) == ("9.4", "64.5")


@pytest.mark.parametrize(("p", "text"), [(0.0009999, "<0.001"), (0.001, "0.001"), (0.0185, "0.019"),
                                         (0.05, "0.050"),
                                         (1.0, "1.000")])  # fmt: skip
def test_a_small_pvalue_is_bounded_and_not_zero(p: float, text: str) -> None:
    assert pvalue(p) == text
