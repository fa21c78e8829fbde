"""Numbers as text, rounded once: counts by integer arithmetic, the rest in decimal, halves away from zero."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from runkit.stats.proportions import Interval

MINUS = "−"


def percent(count: int, n: int) -> str:
    """Return ``count / n`` in percent with one decimal, from the integers.

    >>> percent(1621, 2000), percent(129, 200)
    ('81.1', '64.5')
    """
    return _with_sign(_rounded(Fraction(100 * count, n), 1), plus="")


def points(difference: int, n: int) -> str:
    """Return ``difference / n`` in percentage points with one decimal and a sign; zero has none.

    >>> points(-4, 200), points(17, 200), points(0, 200)
    ('−2.0', '+8.5', '0.0')
    """
    return _with_sign(_rounded(Fraction(100 * difference, n), 1), plus="+")


def percent_interval(interval: Interval) -> str:
    """Return an interval of fractions in percent.

    >>> percent_interval(Interval(0.749988, 0.858328))
    '[75.0, 85.8]'
    """
    low, high = (_with_sign(_rounded(_exact(end) * 100, 1), plus="") for end in interval)
    return f"[{low}, {high}]"


def points_interval(interval: Interval) -> str:
    """Return an interval of differences, fractions, in points; a plus sign is left out.

    >>> points_interval(Interval(-0.012284, 0.160728))
    '[−1.2, 16.1]'
    """
    return percent_interval(interval)


def plain_percent(fraction: float) -> str:
    """Return a fraction of which no counts are known in percent, with one decimal.

    >>> plain_percent(0.645), plain_percent(-0.02)
    ('64.5', '−2.0')
    """
    return _with_sign(_rounded(_exact(fraction) * 100, 1), plus="")


def plain_points(fraction: float) -> str:
    """Return a size of a difference, a fraction, in points without a sign.

    >>> plain_points(0.0942870002924426)
    '9.4'
    """
    return _with_sign(_rounded(_exact(fraction) * 100, 1), plus="")


def stored(value: float) -> float:
    """Return *value* with nine decimals, so that files do not depend on the last bit of a machine's root.

    >>> stored(0.017827483041695072)
    0.017827483
    """
    return round(value, 9)


def pvalue(p: float) -> str:
    """Return a p-value with three decimals; below 0.001 only that it is.

    >>> pvalue(0.0186238), pvalue(0.00045), pvalue(1.0)
    ('0.019', '<0.001', '1.000')
    """
    return "<0.001" if p < 0.001 else str(_rounded(_exact(p), 3))


def _exact(value: float) -> Fraction:
    return Fraction(Decimal(repr(value)))


def _rounded(value: Fraction, decimals: int) -> Decimal:
    scaled = abs(value) * 10**decimals
    tenths = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    signed = -tenths if value < 0 else tenths
    return Decimal(signed).scaleb(-decimals).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


def _with_sign(value: Decimal, *, plus: str) -> str:
    if value == 0:
        return str(abs(value))
    return f"{MINUS}{abs(value)}" if value < 0 else f"{plus}{value}"


def measured_value(value: float) -> str:
    """Return *value* with four significant digits, and with all digits before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4 or magnitude > 9:
        return f"{value:.3e}"
    return (
        f"{value:.{max(0, 3 - max(magnitude, 0))}f}" if magnitude >= 0 else f"{value:.{3 - magnitude - 1}f}"
    )
