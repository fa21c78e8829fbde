"""The catalogue of codes: looking up a rule, and making a finding of one; the texts are in the rulebook."""

from __future__ import annotations

from types import MappingProxyType

from runkit.checks.rule import Rule, RuleFamily
from runkit.checks.rulebook import RULES
from runkit.errors import UnknownName
from runkit.records.finding import Finding, Severity

__all__ = ["RULES", "Rule", "RuleFamily", "found", "rule"]

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
