"""Whether a difference to a control is more than chance; the tests themselves are in ``runkit.stats``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runkit.checks.catalogue import found
from runkit.checks.claims import claiming_runs
from runkit.checks.comparison import is_noop
from runkit.checks.lineage import place_of
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest, Relation
from runkit.records.outcomes import EvaluationOutcomes

if TYPE_CHECKING:
    from runkit.stats.noise import NoiseFloor
    from runkit.stats.paired import PairedCounts

SYSTEM = "bridged"
EVALUATION = "final"

SIGNIFICANT_P = 0.05


def compared_runs(archive: ArchiveView) -> tuple[str, ...]:
    """Return the ids of the runs whose outcomes these checks need, sorted; the others need not be read."""
    replicates = _by_digest(archive)
    needed = set(claiming_runs(archive))
    for manifest, control, _ in _comparisons(archive):
        needed |= {manifest.run_id, control.run_id}
        needed |= set(replicates[control.sealed.configuration.effective_digest])
    return tuple(sorted(needed))


def _statistics_findings(archive: ArchiveView) -> Iterator[Finding]:
    replicates = _by_digest(archive)
    floors: dict[str, NoiseFloor | None] = {}
    for manifest, control, relation in _comparisons(archive):
        here, there = _final(archive, manifest), _final(archive, control)
        if here is None or there is None or not _can_be_paired(here, there):
            continue
        if control.run_id not in floors:
            candidates = replicates[control.sealed.configuration.effective_digest]
            floors[control.run_id] = _measured_floor(archive, control, candidates)
        yield from _inside_noise(manifest, control, relation, _paired(here, there), floors[control.run_id])


def _comparisons(archive: ArchiveView) -> Iterator[tuple[Manifest, Manifest, Relation]]:
    """Yield each ablation with its control where both have a measured final evaluation."""
    for manifest in archive.by_id.values():
        for relation in manifest.relations("ablates"):
            control = archive.by_id.get(relation.run_id)
            if control is None or control is manifest:
                continue
            finals = (manifest.sealed.evaluation(EVALUATION), control.sealed.evaluation(EVALUATION))
            if all(final is not None and final.score(SYSTEM) is not None for final in finals):
                yield manifest, control, relation


def _by_digest(archive: ArchiveView) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = defaultdict(list)
    for run_id, manifest in archive.by_id.items():
        runs[manifest.sealed.configuration.effective_digest].append(run_id)
    return runs


def _final(archive: ArchiveView, manifest: Manifest) -> EvaluationOutcomes | None:
    final = archive.outcomes.get(manifest.run_id, {}).get(EVALUATION)
    return final if final is not None and final.answers.get(SYSTEM) else None


def _can_be_paired(first: EvaluationOutcomes, second: EvaluationOutcomes) -> bool:
    return first.items == second.items and first.golds == second.golds


def _paired(here: EvaluationOutcomes, there: EvaluationOutcomes) -> PairedCounts:
    from runkit.stats.paired import paired_counts

    return paired_counts(here.correct(SYSTEM), there.correct(SYSTEM))


def _measured_floor(archive: ArchiveView, control: Manifest, candidates: list[str]) -> NoiseFloor | None:
    """Return the noise floor from the runs that ran what *control* ran, or None when they show no noise."""
    reference = _final(archive, control)
    if reference is None:
        return None
    replicates = [archive.by_id[run_id] for run_id in candidates]
    finals = [_final(archive, run) for run in replicates if run is control or is_noop(run, control)]
    paired = [final for final in finals if final is not None and _can_be_paired(final, reference)]
    correct = [final.correct(SYSTEM) for final in paired]
    if len(correct) < 2:
        return None
    from runkit.stats.noise import noise_floor

    floor = noise_floor(correct)
    return floor if floor.floor_fraction > 0 else None


def _inside_noise(
    manifest: Manifest, control: Manifest, relation: Relation, counts: PairedCounts, floor: NoiseFloor | None
) -> Iterator[Finding]:
    from runkit.stats.paired import mcnemar_exact

    p = mcnemar_exact(counts.only_first, counts.only_second)
    delta = counts.difference_fraction
    is_below_floor = floor is not None and abs(delta) <= floor.floor_fraction
    if p >= SIGNIFICANT_P or is_below_floor:
        expected = _expected(floor, is_below_floor=is_below_floor)
        message = (
            f"{_points(delta)} against {control.run_id} on {counts.n} items (discordant "
            f"{counts.only_first}:{counts.only_second}, McNemar exact p = {p:.2f}), {expected}"
        )
        yield found("RK501", manifest.run_id, place_of(relation), message)


def _expected(floor: NoiseFloor | None, *, is_below_floor: bool) -> str:
    if floor is None:
        return f"expected p below {SIGNIFICANT_P}; no replicate of the control measures its noise"
    measured = (
        f"the noise floor of {100 * floor.floor_fraction:.1f} points that {floor.num_runs} runs of "
        "the control's configuration measure"
    )
    if is_below_floor:
        return f"inside {measured}"
    return f"expected p below {SIGNIFICANT_P}; it is beyond {measured}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.1f} points"


STATISTICS = Family("statistics", _statistics_findings, frozenset({"RK501"}))
