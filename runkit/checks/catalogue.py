"""The catalogue of codes: looking up a rule, and making a finding of one; the texts are in the rulebook."""

from __future__ import annotations

from types import MappingProxyType

from runkit.checks.rule import Rule, RuleFamily
from runkit.checks.rulebook import RULES
from runkit.errors import UnknownName
from runkit.records.finding import NEVER_WAIVED, Finding, Severity

__all__ = ["RULES", "Rule", "RuleFamily", "found", "is_known", "rule", "waiver_refusal"]

_BY_CODE = MappingProxyType({known.code: known for known in RULES})


def rule(code: str) -> Rule:
    """Return the rule called *code*, in upper or lower case.

    Raises:
        UnknownName: There is no such rule; names the nearest one.
    """
    known = _BY_CODE.get(code.upper())
    if known is None:
        raise UnknownName.among("rule", code.upper(), _BY_CODE, way_out="`runkit explain` lists all of them")
    return known


def is_known(code: str) -> bool:
    """Return whether *code* is one of the catalogue."""
    return code in _BY_CODE


def waiver_refusal(code: str) -> str | None:
    """Return why no finding of *code* can be waived in the notes of a run; None when one can.

    >>> waiver_refusal("RK107")
    >>> waiver_refusal("RK601")
    'RK601 is about documents and tables, which notes of a run do not speak of'
    """
    if code in NEVER_WAIVED:
        return f"{code} cannot be waived: no reason makes a record what was sealed, or a waiver hold"
    if code in _BY_CODE and _BY_CODE[code].family == "documents":
        return f"{code} is about documents and tables, which notes of a run do not speak of"
    return None


def found(
    code: str, run_id: str, place: str, message: str, *, way_out: str = "", severity: Severity | None = None
) -> Finding:
    """Return a finding of rule *code*; severity and way out are the rule's own unless given."""
    broken = rule(code)
    return Finding(
        rule=code,
        severity=severity or broken.severity,
        run_id=run_id,
        place=place,
        message=message,
        way_out=way_out or broken.way_out,
    )
