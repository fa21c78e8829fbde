"""Older manifests read as today's: one pure step a format, each from the format before.

There is one format so far, so there is no step yet. A step gets the document of its format and returns that
of the next; it may rearrange sealed facts, and then the seal is made anew if, and only if, it was whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runkit import __version__
from runkit.errors import RecordInvalid
from runkit.records.record import canonical_digest

CURRENT_FORMAT = 1

Step = Callable[[dict[str, Any]], dict[str, Any]]

STEPS: Mapping[int, Step] = {}
"""Format to the step that leads from it to the next one."""


def migrated(
    document: dict[str, Any],
    *,
    origin: str,
    steps: Mapping[int, Step] = STEPS,
    current: int = CURRENT_FORMAT,
) -> dict[str, Any]:
    """Return *document*, a manifest of any format up to *current*, as one of *current*.

    A document that names no format is returned as it is; what it lacks is for its reader to say.

    Raises:
        RecordInvalid: It has a format that this version of runkit does not know.
    """
    found = document.get("format")
    if not isinstance(found, int) or isinstance(found, bool) or found == current:
        return document
    if found > current:
        raise RecordInvalid(
            f"{origin} has format {found}; runkit {__version__} reads formats up to {current}: update runkit"
        )
    was_whole = _is_sealed(document)
    for number in range(found, current):
        if number not in steps:
            raise RecordInvalid(f"{origin} has format {found}; no runkit ever wrote that format")
        document = steps[number](document) | {"format": number + 1}
    return _sealed_again(document) if was_whole else document


def _is_sealed(document: dict[str, Any]) -> bool:
    seal = document.get("seal")
    return isinstance(seal, dict) and seal.get("digest") == canonical_digest(document.get("sealed"))


def _sealed_again(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"seal": {"algorithm": "sha256", "digest": canonical_digest(document["sealed"])}}
