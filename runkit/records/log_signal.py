"""A line of a log that says why something stopped."""

from __future__ import annotations

from typing import Literal, NamedTuple

SignalKind = Literal[
    "walltime", "preempted", "node failure", "interrupted", "host out of memory", "gpu out of memory", "nccl",
    "cuda", "import", "disk full", "not finite", "killed", "segfault", "exception",
]  # fmt: skip


class LogSignal(NamedTuple):
    """One such line."""

    kind: SignalKind
    line: int
