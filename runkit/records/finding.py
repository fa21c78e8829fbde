"""What a check returns: one thing found wrong, as a value. Never raised, never printed here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Worst first."""


NEVER_WAIVED = frozenset({"RK102", "RK104", "RK105", "RK106", "RK109", "RK110", "RK112"})
"""Rules whose findings no reason makes acceptable: the record is not what was sealed (RK102, RK104, RK105,
RK106, RK110), or a waiver itself does not hold (RK109, RK112)."""


@dataclass(frozen=True, order=True)
class Finding:
    """One finding: which rule, how bad, which run, where, what was found against what was expected."""

    rule: str
    """Code in the catalogue, for example ``"RK401"``."""
    severity: Severity
    run_id: str
    """The run, or an empty string when no single run is meant."""
    place: str
    """File and line (``train.log:1274``), or the field of the manifest (``sealed.status``)."""
    message: str
    """One sentence: what was found and what was expected."""
    way_out: str = ""
    """What to do about it; empty when there is nothing that a person could do."""
    waived_because: str | None = None
    """The reason from the run's notes when a person waived this finding."""

    @property
    def message_sha256(self) -> str:
        """Digest of the message, which a waiver of this finding names."""
        return text_sha256(self.message)


def text_sha256(text: str) -> str:
    """Return the SHA-256 of *text* in UTF-8; what no UTF-8 can say counts as it stands."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
