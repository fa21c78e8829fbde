"""The texts of a preserved run that checks look at, as far as they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from runkit.records.generation import Generation


class SuspectedSecret(NamedTuple):
    """Where a kept file holds what looks like a secret; never the secret."""

    path: str
    line: int
    kind: str


@dataclass(frozen=True)
class RunTexts:
    """What was read of one run beside its manifest and outcomes."""

    generations: Mapping[str, Sequence[Generation]] = field(default_factory=dict)
    """Label of an evaluation to what the bridged system wrote, in the order of the dump."""
    unknown_summaries: tuple[str, ...] = ()
    """Paths of summaries in which no line has a known form."""
    secrets: tuple[SuspectedSecret, ...] = ()
    """What looks secret in the files that lie in the archive."""
