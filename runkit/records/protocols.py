"""The words of one laboratory, as data: what is measured in a run that bridges two frozen models."""

from __future__ import annotations

from runkit.records.measurement import Metric, Protocol, System

ACCURACY = Metric(name="accuracy", kind="ternary", direction="higher", unit="fraction", low=0.0, high=1.0)
"""Share of items answered correctly; an answer that could not be extracted is not correct."""

BRIDGE = Protocol(
    name="bridge",
    primary="bridged:accuracy@final",
    systems=(
        System(name="bridged", role="trained"),
        System(name="source", role="reference"),
        System(name="target", role="reference"),
        System(name="shuffled_source", role="control"),
    ),
)

BRIDGE_READERS = frozenset({"runkit", "bridge-cluster"})
"""Readers of run directories whose runs follow this protocol."""
