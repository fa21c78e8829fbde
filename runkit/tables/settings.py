"""Values of a configuration as text in a column of a factor."""

from __future__ import annotations

from runkit.records.record import Scalar


def setting(value: Scalar) -> str:
    """Return a configuration value as text: a tick for true, a dash for false and for nothing.

    >>> setting(True), setting(False), setting(8), setting(0.1), setting("cross")
    ('✓', '–', '8', '0.1', 'cross')
    """
    if value is True:
        return "✓"
    if value is False or value is None:
        return "–"
    return str(value)


def setting_name(value: Scalar) -> str:
    """Return how a specification names a configuration value: as JSON, strings without quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
