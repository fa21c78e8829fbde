"""What really differs between two runs that are compared; from effective configurations, never from names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runkit.records.manifest import Manifest
from runkit.records.record import Record, Scalar, canonical_digest, canonical_json
from runkit.records.schema import settings_in_effect

SEED_KEYS = frozenset({"seed"})
"""Last parts of keys that choose a random draw and no method."""

SETUP_KEYS = frozenset({"world_size", "global_batch", "global_batch_size"})
"""Last parts of keys that say how much is computed at once, which is judged as comparability."""

NOT_SET = "(not set)"

_BY_COMMAND = "command"
"""Reader of runs of other programs. What they compute is told by their code, so that code is compared; the
engine's
own runs say by settings what they do, and which commit ran them is judged beside."""

_ABSENT = object()

_NO_CODE_CHANGED = canonical_digest([])
"""Digest of changes that are no code, such as files that an earlier run wrote."""


@dataclass(frozen=True)
class KeyDifference:
    """One setting that differs."""

    key: str
    value: str
    """In the run, as JSON, or :data:`NOT_SET`."""
    control_value: str
    """In the control."""

    def __str__(self) -> str:
        return f"{self.key}: {self.control_value} -> {self.value}"

    @property
    def last_part(self) -> str:
        """The key without its sections."""
        return self.key.rpartition(".")[2]

    @property
    def is_seed(self) -> bool:
        """Whether the key chooses a random draw."""
        return self.last_part in SEED_KEYS

    @property
    def is_setup(self) -> bool:
        """Whether the key says how much is computed at once."""
        return self.last_part in SETUP_KEYS


@dataclass(frozen=True)
class EffectiveDifference:
    """What differs between the effective configurations, models and data of two runs."""

    changed: tuple[KeyDifference, ...]
    """Sorted by key."""
    consequences: tuple[KeyDifference, ...]
    """Keys that have an effect in only one of the two because another key changed."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not self.changed and not self.consequences

    def named(self, factor: str) -> tuple[KeyDifference, ...]:
        """Return the differences that *factor*, a key or some of its dotted parts, speaks of."""
        return tuple(one for one in self.changed if is_named(one.key, factor))


def is_named(key: str, factor: str) -> bool:
    """Return whether *factor* is *key*, or whole dotted parts of it."""
    return f".{factor}." in f".{key}."


def effective_difference(manifest: Manifest, control: Manifest) -> EffectiveDifference:
    """Return what *manifest* really changes with respect to *control*.

    A number is the same number however it is written; a truth value is no number. A key that is younger than
    one of the runs is filled in with what it means that it is absent. A key that is absent because it became
    inert is a consequence and not a change. Models and data count when they are
    recorded on both sides.
    """
    changed: list[KeyDifference] = []
    consequences: list[KeyDifference] = []
    here, there = manifest.sealed.configuration, control.sealed.configuration
    if here.effective_digest != there.effective_digest:
        for difference in _settings_changed(*_filled(manifest, control)):
            became_inert = (difference.key in here.inert) != (difference.key in there.inert)
            is_absent = NOT_SET in (difference.value, difference.control_value)
            (consequences if became_inert and is_absent else changed).append(difference)
    told = {(one.value, one.control_value) for one in changed}
    inputs = _inputs_changed(manifest, control)
    changed += [one for one in inputs if (one.value, one.control_value) not in told]
    changed += _code_changed(manifest, control)
    return EffectiveDifference(tuple(sorted(changed, key=lambda one: one.key)), tuple(consequences))


def is_noop(manifest: Manifest, control: Manifest) -> bool:
    """Return whether the two runs ran the same thing, so that one is a replicate of the other.

    False when no effective configuration is recorded: what is unknown is not equal.
    """
    if not manifest.sealed.configuration.effective or not control.sealed.configuration.effective:
        return False
    return effective_difference(manifest, control).is_empty


def _filled(manifest: Manifest, control: Manifest) -> tuple[Mapping[str, Scalar], Mapping[str, Scalar]]:
    """Return the effective settings of both, with keys that are younger than a run at their meaning."""
    here, there = manifest.sealed, control.sealed
    if _BY_COMMAND in {here.provenance.reader, there.provenance.reader}:
        return _without_code(here.configuration.effective), _without_code(there.configuration.effective)
    if here.configuration.effective.keys() == there.configuration.effective.keys():
        return here.configuration.effective, there.configuration.effective
    return settings_in_effect(here), settings_in_effect(there)


def _without_code(effective: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """Return *effective* without the digests of code that older versions wrote among the settings."""
    return {key: value for key, value in effective.items() if not key.startswith("code.")}


def _code_changed(manifest: Manifest, control: Manifest) -> Iterator[KeyDifference]:
    """Yield that the code of two commands differs, where it is recorded for both."""
    if {manifest.sealed.provenance.reader, control.sealed.provenance.reader} != {_BY_COMMAND}:
        return
    here, there = _code_of(manifest), _code_of(control)
    if here is not None and there is not None and here != there:
        yield KeyDifference("code", canonical_json(here), canonical_json(there))


def _code_of(manifest: Manifest) -> str | None:
    """Return commit and changes in few words, equal for equal code; None when they are not recorded."""
    code = manifest.sealed.software.code
    if code.git_commit is None or code.is_dirty is None:
        return None
    if code.digest is None and code.is_dirty:
        kept = [one.sha256 for one in manifest.sealed.artifacts if one.path in code.changes]
        return f"{code.git_commit[:12]} with changes {canonical_digest(kept)[:12]}" if kept else None
    if code.digest is None or code.digest == _NO_CODE_CHANGED:
        return code.git_commit[:12]
    return f"{code.git_commit[:12]} with changes {code.digest[:12]}"


def _settings_changed(here: Mapping[str, Scalar], there: Mapping[str, Scalar]) -> Iterator[KeyDifference]:
    candidates = {key for key, value in here.items() if (other := there.get(key, _ABSENT)) is not value
                  and not (value == other and type(value) is type(other))}  # fmt: skip
    candidates |= there.keys() - here.keys()
    for key in sorted(candidates):
        value, control_value = _spelled(here, key), _spelled(there, key)
        if value != control_value:
            yield KeyDifference(key, value, control_value)


def _spelled(effective: Mapping[str, Scalar], key: str) -> str:
    return _value_text(effective[key]) if key in effective else NOT_SET


def _value_text(value: Scalar) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return canonical_json(value)


def _inputs_changed(manifest: Manifest, control: Manifest) -> Iterator[KeyDifference]:
    for role in ("source", "target"):
        here, there = manifest.sealed.model(role), control.sealed.model(role)
        if here is not None and there is not None:
            yield from _told_apart(f"models.{role}", ("name", "revision", "sha256"), here, there)
    yield from _told_apart("data", ("name", "fingerprint"), manifest.sealed.data, control.sealed.data)


def _told_apart(prefix: str, parts: tuple[str, ...], here: Record, there: Record) -> Iterator[KeyDifference]:
    """Yield the first of *parts* that is recorded on both sides and differs."""
    for part in parts:
        value, control_value = getattr(here, part), getattr(there, part)
        if value is not None and control_value is not None and value != control_value:
            yield KeyDifference(f"{prefix}.{part}", canonical_json(value), canonical_json(control_value))
            return
