"""Which runs repeat which: as people declare it, and as far as the effective configurations bear it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runkit.checks.comparison import effective_difference
from runkit.checks.view import ArchiveView
from runkit.records.manifest import Manifest
from runkit.records.record import Scalar
from runkit.records.replicates import ReplicateGroup
from runkit.records.schema import settings_in_effect


def declared_replicates(archive: ArchiveView) -> dict[str, str]:
    """Return for each run the smallest id among the runs that it is declared a replicate of, over any way."""
    return _joined(archive.by_id, _declared(archive.by_id.values()))


def replicate_groups(manifests: Sequence[Manifest]) -> tuple[ReplicateGroup, ...]:
    """Return the runs that belong together, sorted by the run that the others repeat.

    Two runs belong together when one is declared to replicate the other and nothing differs but seeds. Equal
    configurations alone do not join runs: one of them may be called an ablation, which RK401 tells of. Nor
    does a declaration that the configurations do not bear out (RK403).
    """
    by_id = {manifest.run_id: manifest for manifest in sorted(manifests, key=lambda run: run.run_id)}
    pairs = [
        (one, other)
        for one, other in _declared(by_id.values())
        if other in by_id and _is_repeated(by_id[one], by_id[other])
    ]
    members: dict[str, list[Manifest]] = {}
    for run_id, smallest in _joined(by_id, pairs).items():
        members.setdefault(smallest, []).append(by_id[run_id])
    groups = map(_group, members.values())
    return tuple(sorted((one for one in groups if len(one.run_ids) > 1), key=lambda one: one.run_ids))


def _declared(manifests: Iterable[Manifest]) -> list[tuple[str, str]]:
    return [
        (manifest.run_id, relation.run_id)
        for manifest in manifests
        for relation in manifest.relations("replicates")
    ]


def _joined(run_ids: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return each of *run_ids* with the smallest one that *pairs* lead to; unknown ids join nothing."""
    group = {run_id: run_id for run_id in run_ids}

    def smallest(run_id: str) -> str:
        while group[run_id] != run_id:
            group[run_id] = group[group[run_id]]
            run_id = group[run_id]
        return run_id

    for one, other in pairs:
        if other in group:
            first, second = sorted((smallest(one), smallest(other)))
            group[second] = first
    return {run_id: smallest(run_id) for run_id in group}


def _is_repeated(manifest: Manifest, original: Manifest) -> bool:
    """Return whether both configurations are recorded and differ in seeds at most."""
    if not manifest.sealed.configuration.effective or not original.sealed.configuration.effective:
        return False
    difference = effective_difference(manifest, original)
    return not difference.consequences and all(one.is_seed for one in difference.changed)


def _group(runs: Sequence[Manifest]) -> ReplicateGroup:
    run_ids = {run.run_id for run in runs}
    repeat = {run.run_id for run in runs if {one.run_id for one in run.relations("replicates")} & run_ids}
    lead = min([run for run in runs if run.run_id not in repeat] or runs, key=_by_start)
    # Two runs may each agree with a third one that did not record what they differ in.
    others = [run for run in runs if run is not lead and _is_repeated(run, lead)]
    seed_keys = tuple(sorted({one.key for run in others for one in effective_difference(run, lead).changed}))
    others.sort(key=lambda run: _by_seeds(run, seed_keys))
    return ReplicateGroup((lead.run_id, *(run.run_id for run in others)), seed_keys)


def _by_start(manifest: Manifest) -> tuple[str, str]:
    started = manifest.sealed.started
    return (started.at if started is not None else "9999", manifest.run_id)


def _by_seeds(manifest: Manifest, seed_keys: Sequence[str]) -> tuple[tuple[tuple[float, str], ...], str]:
    settings: Mapping[str, Scalar] = settings_in_effect(manifest.sealed)
    return tuple(_in_order(settings.get(key)) for key in seed_keys), manifest.run_id


def _in_order(seed: Scalar) -> tuple[float, str]:
    return (float(seed), "") if isinstance(seed, int | float) else (float("inf"), str(seed))
