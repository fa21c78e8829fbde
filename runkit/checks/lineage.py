"""Whether runs are related as their notes declare; compares effective configurations, not results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runkit.checks.catalogue import found
from runkit.checks.comparison import (
    EffectiveDifference,
    KeyDifference,
    effective_difference,
    is_named,
    is_noop,
)
from runkit.checks.cycles import cycles
from runkit.checks.duplicates import duplicate_findings, equal_dumps
from runkit.checks.noop import first_loss_evidence, unchanged_measurement
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Evaluation, Manifest, Relation
from runkit.records.record import canonical_json

_ORDERED = ("ablates", "follows", "supersedes")
"""Relations that say which run came first."""

_MAX_SHOWN = 6

NOT_RECORDED = "null"
"""How a setting that a run did not record is spelled."""


def _lineage_findings(archive: ArchiveView) -> Iterator[Finding]:
    superseded = _superseded_by(archive)
    for manifest in archive.by_id.values():
        for relation in manifest.notes.relations:
            yield from _relation_findings(archive, manifest, relation, superseded)
    yield from _cycle_findings(archive)
    yield from duplicate_findings(archive)


def _relation_findings(
    archive: ArchiveView, manifest: Manifest, relation: Relation, superseded: dict[str, str]
) -> Iterator[Finding]:
    other = archive.by_id.get(relation.run_id)
    place = place_of(relation)
    if other is None and relation.run_id not in archive.unreadable_ids:
        message = f"{manifest.run_id} {relation.kind} {relation.run_id}, which is not in the archive"
        yield found("RK404", manifest.run_id, place, message)
    newer = superseded.get(relation.run_id, manifest.run_id)
    if relation.kind != "supersedes" and newer != manifest.run_id:
        message = f"{manifest.run_id} {relation.kind} {relation.run_id}, which {newer} supersedes"
        yield found("RK408", manifest.run_id, place, message)
    if other is None or other is manifest:
        return
    if relation.kind == "ablates":
        yield from ablation_findings(manifest, other, relation)
    elif relation.kind == "replicates":
        yield from _replicate_findings(manifest, other, relation)
    elif relation.kind == "swaps":
        yield from _swap_findings(manifest, other, relation)


def ablation_findings(manifest: Manifest, control: Manifest, relation: Relation) -> Iterator[Finding]:
    """Yield where the declared ablation of *control* is not what really differs."""
    difference = effective_difference(manifest, control)
    if difference.is_empty:
        if is_noop(manifest, control):
            yield _noop(manifest, control, relation)
        return
    unchanged = unchanged_measurement(manifest, control)
    if unchanged is not None:
        yield _noop_by_bytes(manifest, control, relation, difference, unchanged)
    yield from _factors_not_changed(manifest, control, relation, difference)
    yield from _confounded(control, manifest.run_id, relation, difference)
    yield from _unlike_conditions(manifest, control, relation, difference)


def _replicate_findings(manifest: Manifest, original: Manifest, relation: Relation) -> Iterator[Finding]:
    """Yield what a declared replicate changes besides the seed."""
    difference = effective_difference(manifest, original)
    changed = [one for one in difference.changed if not one.is_seed]
    if changed:
        message = (
            f"{manifest.run_id} is declared as a replicate of {original.run_id} and differs in "
            f"{_differences(changed)}; expected nothing but the seed"
        )
        yield found("RK403", manifest.run_id, place_of(relation), message)


def _swap_findings(manifest: Manifest, original: Manifest, relation: Relation) -> Iterator[Finding]:
    """Yield whether a declared swap exchanges the two models, and what it changes besides."""
    here, there = _pair_of(manifest), _pair_of(original)
    if None in here or None in there:
        return
    if here != there[::-1]:
        message = (
            f"{manifest.run_id} is declared as a swap of {original.run_id}, and its models are not "
            f"exchanged: {there[0]} to {there[1]} there, {here[0]} to {here[1]} here"
        )
        yield found("RK402", manifest.run_id, place_of(relation), message)
        return
    models = {canonical_json(name) for name in here}
    changed = [
        one
        for one in effective_difference(manifest, original).changed
        if {one.value, one.control_value} != models and not one.key.startswith("models.")
    ]
    others = [one for one in changed if not one.is_setup and not _is_declared(one, relation)]
    if others:
        message = (
            f"{manifest.run_id} is declared as a swap of {original.run_id} and differs also in "
            f"{_differences(others)}; expected only the two models to be exchanged"
        )
        yield found("RK403", manifest.run_id, place_of(relation), message)
    yield from _unlike_conditions(manifest, original, relation, effective_difference(manifest, original))


def _pair_of(manifest: Manifest) -> tuple[str | None, str | None]:
    source, target = (manifest.sealed.model(role) for role in ("source", "target"))
    return (source.name if source else None, target.name if target else None)


def place_of(relation: Relation) -> str:
    """Return the field of the notes that holds *relation*."""
    return f"notes.relations.{relation.kind}.{relation.run_id}"


def _noop(manifest: Manifest, control: Manifest, relation: Relation) -> Finding:
    evidence = [f"effective digest {manifest.sealed.configuration.effective_digest[:12]}… in both"]
    if same := equal_dumps(manifest, control):
        evidence.append(f"byte-identical {_listed(same)}")
    if losses := first_loss_evidence(manifest, control):
        evidence.append(losses)
    factors = f" declares {_listed(relation.factors)} and" if relation.factors else ""
    message = (
        f"{manifest.run_id}{factors} has the same effective configuration as its control {control.run_id} "
        f"({'; '.join(evidence)}): they are replicates, not an ablation{_other_code(manifest, control)}"
    )
    return found("RK401", manifest.run_id, place_of(relation), message)


def _noop_by_bytes(
    manifest: Manifest, control: Manifest, relation: Relation, difference: EffectiveDifference, evidence: str
) -> Finding:
    message = (
        f"{manifest.run_id} changes {_differences(difference.changed)} against its control "
        f"{control.run_id}, and nothing that was measured differs: {evidence}; what changed had no "
        "effect, or one run is a copy of the other"
    )
    return found("RK401", manifest.run_id, place_of(relation), message)


def _other_code(manifest: Manifest, control: Manifest) -> str:
    here, there = manifest.sealed.software.code.git_commit, control.sealed.software.code.git_commit
    if here is None or there is None or here == there:
        return ""
    return f"; only the code differs ({there[:8]} -> {here[:8]}), and no setting says how"


def _factors_not_changed(
    manifest: Manifest, control: Manifest, relation: Relation, difference: EffectiveDifference
) -> Iterator[Finding]:
    unchanged = [factor for factor in relation.factors if not difference.named(factor)]
    if unchanged:
        what = "; ".join(_why_unchanged(factor, manifest, control) for factor in unchanged)
        message = f"{what}; what differs from {control.run_id} is {_differences(difference.changed)}"
        yield found("RK402", manifest.run_id, place_of(relation), message)


def _why_unchanged(factor: str, manifest: Manifest, control: Manifest) -> str:
    here, there = manifest.sealed.configuration, control.sealed.configuration
    if any(is_named(key, factor) for key in [*here.effective, *there.effective]):
        return f"the declared factor {factor} has the same value in both runs"
    inert = [reason for key, reason in {**there.inert, **here.inert}.items() if is_named(key, factor)]
    if inert:
        return f"the declared factor {factor} changed nothing: {inert[0]}"
    return f"the declared factor {factor} is a setting of neither run"


def _confounded(
    control: Manifest, run_id: str, relation: Relation, difference: EffectiveDifference
) -> Iterator[Finding]:
    declared = [one for one in difference.changed if _is_declared(one, relation)]
    undeclared = [one for one in difference.changed if not _is_declared(one, relation) and not one.is_setup]
    if undeclared:
        seed = " (the seed too, so chance differs)" if any(one.is_seed for one in undeclared) else ""
        expected = f"only {_listed(relation.factors)}" if relation.factors else "one declared factor"
        what = _differences(undeclared)
        message = f"undeclared differences to {control.run_id}: {what}{seed}; expected {expected}"
        yield found("RK403", run_id, place_of(relation), message)
    elif len(relation.factors) > 1 and len(declared) > 1:
        message = (
            f"{len(declared)} declared settings differ from {control.run_id} together, so that no single one "
            f"explains the result: {_differences(declared)}"
        )
        yield found("RK403", run_id, place_of(relation), message, severity="info")


def _is_declared(difference: KeyDifference, relation: Relation) -> bool:
    return any(is_named(difference.key, factor) for factor in relation.factors)


def _unlike_conditions(
    manifest: Manifest, control: Manifest, relation: Relation, difference: EffectiveDifference
) -> Iterator[Finding]:
    setup = [one for one in difference.changed if one.is_setup and not _is_declared(one, relation)]
    unlike = [*_unlike_items(manifest, control), *_unlike_setup(setup)]
    unlike += _unlike_measurement(manifest, control)
    if any("batch" in one.last_part for one in setup):
        unlike += _unlike_samples(manifest, control)
    here, there = manifest.sealed.command.world_size, control.sealed.command.world_size
    if not any(one.last_part == "world_size" for one in difference.changed) and None not in (here, there):
        unlike += [f"world size ({there} -> {here})"] if here != there else []
    if unlike:
        message = f"{manifest.run_id} and its control {control.run_id} differ in {'; '.join(unlike)}"
        yield found("RK407", manifest.run_id, place_of(relation), message)


def _unlike_items(manifest: Manifest, control: Manifest) -> Iterator[str]:
    here, there = manifest.sealed.evaluation("final"), control.sealed.evaluation("final")
    if here is None or there is None:
        return
    if here.n and there.n and here.n != there.n:
        yield f"the number of final items ({there.n} -> {here.n})"
    elif here.items_sha256 and there.items_sha256 and here.items_sha256 != there.items_sha256:
        yield f"the final items themselves ({here.n} in both, other questions, answers or order)"


def _unlike_setup(setup: Sequence[KeyDifference]) -> Iterator[str]:
    for one in setup:
        if NOT_RECORDED not in (one.value, one.control_value):
            yield f"{one.last_part.replace('_', ' ')} ({one.control_value} -> {one.value})"


def _unlike_measurement(manifest: Manifest, control: Manifest) -> Iterator[str]:
    """Yield how the two final evaluations were made differently: split, checkpoint, noise."""
    here, there = manifest.sealed.evaluation("final"), control.sealed.evaluation("final")
    if here is None or there is None or not here.n or not there.n:
        return
    if here.split != there.split:
        yield f"the split of the final items ({there.split} -> {here.split})"
    if "unknown" not in (here.checkpoint, there.checkpoint) and here.checkpoint != there.checkpoint:
        yield f"the weights that were evaluated ({there.checkpoint} -> {here.checkpoint})"
    if here.noise_draw != there.noise_draw:
        yield f"the evaluation noise ({_noise(there)} -> {_noise(here)})"


def _noise(evaluation: Evaluation) -> str:
    return "not seeded" if evaluation.noise_draw is None else f"draw {evaluation.noise_draw}"


def _unlike_samples(manifest: Manifest, control: Manifest) -> Iterator[str]:
    """Yield how many training samples each saw, where both recorded global batch and steps."""
    here, there = (
        (run.sealed.configuration.effective.get("global_batch"), run.sealed.training.last_step)
        for run in (manifest, control)
    )
    seen = [batch * steps for batch, steps in (here, there) if type(batch) is int and type(steps) is int]
    if len(seen) == 2:
        yield f"the training samples seen ({seen[1]:,} -> {seen[0]:,})"


def _superseded_by(archive: ArchiveView) -> dict[str, str]:
    return {
        relation.run_id: manifest.run_id
        for manifest in archive.by_id.values()
        for relation in manifest.relations("supersedes")
    }


def _cycle_findings(archive: ArchiveView) -> Iterator[Finding]:
    edges = {
        run_id: tuple(
            relation.run_id
            for relation in manifest.notes.relations
            if relation.kind in _ORDERED and relation.run_id in archive.by_id
        )
        for run_id, manifest in archive.by_id.items()
    }
    for cycle in cycles(edges):
        way = " -> ".join([*cycle[:_MAX_SHOWN], *(["…"] if len(cycle) > _MAX_SHOWN else []), cycle[0]])
        message = f"relations lead in a circle over {len(cycle)} run{'s' if len(cycle) > 1 else ''}: {way}"
        yield found("RK405", cycle[0], "notes.relations", message)


def _differences(differences: Sequence[KeyDifference]) -> str:
    return (
        _listed([f"{one.key} ({one.control_value} -> {one.value})" for one in differences]) or "nothing else"
    )


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_MAX_SHOWN])
    more = [f"{len(names) - _MAX_SHOWN} more"] if len(names) > _MAX_SHOWN else []
    return ", ".join(shown + more)


LINEAGE = Family(
    "lineage",
    _lineage_findings,
    frozenset({"RK401", "RK402", "RK403", "RK404", "RK405", "RK406", "RK407", "RK408"}),
)
