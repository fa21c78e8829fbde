"""What notes claim of runs of any program, tested on the measure that they are judged by or that is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.errors import UnknownName, UsageError
from runkit.records.finding import Finding
from runkit.records.manifest import Claim, Manifest
from runkit.records.selector import select
from runkit.stats.pairing import comparison, incomparable, paired
from runkit.stats.rounding import pvalue

if TYPE_CHECKING:
    from runkit.stats.compare import Compared
    from runkit.stats.pairing import ScorePair

SIGNIFICANT_P = 0.05


@dataclass(frozen=True)
class _Tested:
    manifest: Manifest
    claim: Claim
    pair: ScorePair
    found: Compared

    @property
    def place(self) -> str:
        return _place(self.claim)


def measured_runs(archive: ArchiveView) -> frozenset[str]:
    """Return the ids of runs of format 2 whose item scores are needed for relations and claims."""
    needed = set()
    for manifest in archive.manifests:
        others = {claim.than for claim in manifest.notes.claims}
        others |= {one.run_id for one in manifest.relations("ablates")}
        if others:
            needed |= {manifest.run_id, *others}
    return frozenset(
        run_id for run_id in needed & archive.by_id.keys() if archive.by_id[run_id].sealed.scores is not None
    )


def _claim_findings(archive: ArchiveView) -> Iterator[Finding]:
    tested = []
    for manifest in archive.by_id.values():
        for claim in manifest.notes.claims:
            if not is_of_measures(archive, manifest, claim):
                continue
            one = _tested(archive, manifest, claim)
            if isinstance(one, _Tested):
                tested.append(one)
            else:
                yield untestable(manifest, claim, one)
    yield from _unsupported([one for one in tested if one.claim.says != "no_difference"])
    yield from _not_equivalent([one for one in tested if one.claim.says == "no_difference"])
    yield from _too_small([one for one in tested if one.claim.says != "no_difference"])


def is_of_measures(archive: ArchiveView, manifest: Manifest, claim: Claim) -> bool:
    """Return whether *claim* is about a run of format 2, whose measures are of any kind."""
    other = archive.by_id.get(claim.than)
    return manifest.sealed.scores is not None or (other is not None and other.sealed.scores is not None)


def untestable(manifest: Manifest, claim: Claim, reason: str) -> Finding:
    """Return the finding that *claim* cannot be tested."""
    message = f"the notes say {claim.says} than {claim.than}, and that cannot be tested: {reason}"
    return found("RK506", manifest.run_id, _place(claim), message)


def _place(claim: Claim) -> str:
    return f"notes.claims.{claim.says}.{claim.than}"


def _tested(archive: ArchiveView, manifest: Manifest, claim: Claim) -> _Tested | str:
    """Return the claim with what was measured, or why it cannot be tested."""
    other = archive.by_id.get(claim.than)
    if other is None:
        return f"{claim.than} is not in the archive"
    if manifest.sealed.scores is None or other.sealed.scores is None:
        return "one of the two was preserved by an older version; preserve it again under a new id"
    text = claim.measure
    if text is None and claim.measured_at == "peak":
        return 'nobody says which measure is the largest; name it in the claim, measure = "loss@max"'
    try:
        ours, theirs = (select(run.sealed, text).score for run in (manifest, other))
    except (UsageError, UnknownName) as error:
        return f'{error}; name it in the claim, measure = "task/metric"'
    if ours.value is None or theirs.value is None:
        return f"{ours.name} has no value in {manifest.run_id if ours.value is None else claim.than}"
    reason = incomparable(ours, theirs)
    if reason is not None:
        return reason
    if ours.metric.direction is None and claim.says != "no_difference":
        return f"nobody says whether higher or lower {ours.metric.name} is better"
    here, there = archive.items.get(manifest.run_id, {}), archive.items.get(claim.than, {})
    pair = paired(ours, theirs, here.get(ours.key), there.get(theirs.key))
    tested = comparison(pair)
    if tested.p is None:
        return pair.not_paired_because or f"there is no test of it: {tested.method}"
    return _Tested(manifest, claim, pair, tested)


def _unsupported(tested: list[_Tested]) -> Iterator[Finding]:
    """Yield the claims that do not survive Holm over all claims with one reference and measure."""
    from runkit.stats.compare import is_better
    from runkit.stats.multiplicity import holm

    families: dict[tuple[str, str], list[_Tested]] = defaultdict(list)
    for one in tested:
        families[one.claim.than, one.pair.name].append(one)
    for family in families.values():
        pvalues = [one.found.p if one.found.p is not None else 1.0 for one in family]
        for one, p, adjusted in zip(family, pvalues, holm(pvalues), strict=True):
            better = is_better(one.found.difference, one.pair.first.metric.direction)
            if better is not (one.claim.says == "better") or adjusted >= SIGNIFICANT_P:
                message = (
                    f"the notes call the run {one.claim.says} than {one.claim.than}: {_difference(one)}, "
                    f"p {pvalue(p)}, {pvalue(adjusted)} after Holm over {len(family)} "
                    f"claim{'s' if len(family) > 1 else ''} with this reference; expected "
                    f"a difference to the {one.claim.says} with an adjusted p below {SIGNIFICANT_P}"
                )
                yield found("RK502", one.manifest.run_id, one.place, message)


def _not_equivalent(tested: list[_Tested]) -> Iterator[Finding]:
    """Yield claims of no difference whose interval reaches beyond the margin that they give."""
    for one in tested:
        margin, low, high = one.claim.by or one.claim.by_fraction, one.found.low, one.found.high
        if low is None or high is None:
            yield untestable(one.manifest, one.claim, one.found.method)
        elif margin is None or max(abs(low), abs(high)) > margin:
            said = "and give no margin" if margin is None else f"beyond {margin:g}"
            message = (
                f"the notes claim no difference to {one.claim.than} {said}: {_difference(one)} excludes "
                f"differences beyond {max(abs(low), abs(high)):.3g} only"
            )
            yield found("RK504", one.manifest.run_id, one.place, message)


def _too_small(tested: list[_Tested]) -> Iterator[Finding]:
    """Yield claims of a size that the interval of the difference does not reach."""
    for one in tested:
        size, low, high = one.claim.by or one.claim.by_fraction, one.found.low, one.found.high
        if size is None or low is None or high is None:
            continue
        if max(abs(low), abs(high)) < size:
            message = f"the claim is about {size:g}: {_difference(one)} does not reach that"
            yield found("RK504", one.manifest.run_id, one.place, message)


def _difference(one: _Tested) -> str:
    tested = one.found
    interval = ""
    if tested.low is not None and tested.high is not None:
        interval = f" [{tested.low:.3g}, {tested.high:.3g}]"
    difference = tested.difference if tested.difference is not None else 0.0
    return f"{difference:+.3g}{interval} {one.pair.name} on {tested.n:,} items"


def _ablation_findings(archive: ArchiveView) -> Iterator[Finding]:
    """Yield ablations whose difference from their control is not proven, by what they are judged by."""
    for manifest in archive.by_id.values():
        for relation in manifest.relations("ablates"):
            other = archive.by_id.get(relation.run_id)
            if other is None or manifest.sealed.scores is None or other.sealed.scores is None:
                continue
            try:
                ours, theirs = (select(run.sealed, None).score for run in (manifest, other))
            except (UsageError, UnknownName):
                continue
            here = archive.items.get(manifest.run_id, {}).get(ours.key)
            there = archive.items.get(other.run_id, {}).get(theirs.key)
            pair = paired(ours, theirs, here, there)
            if pair.first_items is None:
                continue
            tested = comparison(pair)
            if tested.p is not None and tested.p >= SIGNIFICANT_P:
                shown = f"{tested.difference or 0.0:+.3g} {pair.name} on {tested.n:,} items"
                message = f"against {other.run_id}: {shown}, p {pvalue(tested.p)}; noise can do that alone"
                yield found("RK501", manifest.run_id, f"notes.relations.ablates.{other.run_id}", message)


def _findings(archive: ArchiveView) -> Iterator[Finding]:
    yield from _claim_findings(archive)
    if archive.items:
        yield from _ablation_findings(archive)


MEASURED_CLAIMS = Family("measured claims", _findings, frozenset({"RK501", "RK502", "RK504", "RK506"}))
