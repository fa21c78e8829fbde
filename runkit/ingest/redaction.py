"""The facts of a run without secrets: what every reader read passes through here before anybody keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runkit.ingest.ingested import IngestedRun
from runkit.records.manifest import Notes, RunFacts
from runkit.records.record import Scalar, canonical_digest
from runkit.secrets.arguments import clean_arguments
from runkit.secrets.text import DROPPED, is_secret_value, without_secrets

_SETTINGS = frozenset({"logged", "effective", "automatic", "environment"})
"""Fields that map names of settings to values."""


def redacted(run: IngestedRun) -> IngestedRun:
    """Return *run* with :data:`~runkit.secrets.text.DROPPED` where its facts or notes held a secret.

    The digest of the configuration is taken of what is left, so that it says nothing of the secret.
    """
    facts, notes = run.facts, run.notes
    document = _cleaned(facts)
    if document is not None:
        configuration = document["configuration"]
        configuration["effective_digest"] = canonical_digest(configuration["effective"])
        facts = RunFacts.from_mapping(document, origin="the facts without secrets")
    document = _cleaned(notes)
    if document is not None:
        notes = Notes.from_mapping(document, origin="the notes without secrets")
    return replace(run, facts=facts, notes=notes)


def clean_setting(name: str, value: Scalar) -> Scalar:
    """Return *value* of the setting *name* as it may be written down."""
    if isinstance(value, bool) or value is None:
        return value
    if is_secret_value(name, str(value)):
        return DROPPED
    return without_secrets(value) if isinstance(value, str) else value


def _cleaned(record: RunFacts | Notes) -> dict[str, Any] | None:
    """Return *record* without secrets, as JSON has it, or None when it holds none."""
    document: dict[str, Any] = record.model_dump(mode="json")
    clean: dict[str, Any] = _clean(document)
    return clean if clean != document else None


def _clean(document: Any, name: str = "") -> Any:
    if isinstance(document, Mapping):
        if name in _SETTINGS:
            return {without_secrets(key): clean_setting(key, value) for key, value in document.items()}
        return {key: _clean(value, key) for key, value in document.items()}
    if isinstance(document, list):
        if name == "argv":
            return list(clean_arguments(document).argv)
        return [_clean(one, name) for one in document]
    return without_secrets(document) if isinstance(document, str) else document
