"""What the catalogue says about one code; not the check itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runkit.records.finding import Severity

RuleFamily = Literal["integrity", "measurement", "completion", "lineage", "statistics", "documents"]

Verb = Literal["validate", "lineage", "table", "audit"]


@dataclass(frozen=True)
class Rule:
    """One code of the catalogue. A published code never moves to another meaning."""

    code: str
    name: str
    """Short name in kebab case."""
    family: RuleFamily
    severity: Severity
    """How bad a finding usually is; a check may lower it for one finding, never raise it."""
    summary: str
    """What is found, in one sentence."""
    why: str
    """Why the rule exists, and why it has this severity."""
    example: str
    way_out: str
    checked_by: Verb | None
    """The verb that can find it; null when this version cannot."""

    @property
    def is_checked(self) -> bool:
        """Whether this version can find it."""
        return self.checked_by is not None
