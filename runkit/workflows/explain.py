"""``explain``: the catalogue's page for one code; table cells are explained where tables are made."""

from __future__ import annotations

from runkit.checks.catalogue import RULES, Rule, rule


def explain(code: str) -> Rule:
    """Return the rule *code*.

    Raises:
        UnknownName: There is no such rule; names the nearest one.
    """
    return rule(code)


def every_rule() -> tuple[Rule, ...]:
    """Return all rules, sorted by code."""
    return RULES
