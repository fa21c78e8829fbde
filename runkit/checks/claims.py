"""What the notes claim about results, tested against the outcomes; claims in documents are read elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runkit.checks.catalogue import found
from runkit.checks.measured_claims import is_of_measures, untestable
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Claim, Manifest
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes

if TYPE_CHECKING:
    from runkit.stats.paired import PairedCounts

SYSTEM = "bridged"
FROZEN = ("source", "target")

SIGNIFICANT_P = 0.05

PEAK_SEED = 0
"""Of the resamples that correct a peak; a finding is a function of the archive."""


@dataclass(frozen=True)
class _Tested:
    """A claim, and the items that it is about."""

    manifest: Manifest
    claim: Claim
    counts: PairedCounts

    @property
    def place(self) -> str:
        return f"notes.claims.{self.claim.says}.{self.claim.than}"


def claiming_runs(archive: ArchiveView) -> frozenset[str]:
    """Return the ids of the runs whose outcomes are needed to test what notes claim."""
    needed = set()
    for manifest in archive.manifests:
        for claim in manifest.notes.claims:
            needed |= {manifest.run_id, claim.than} & archive.by_id.keys()
    return frozenset(needed)


def _claim_findings(archive: ArchiveView) -> Iterator[Finding]:
    tested = []
    for manifest in archive.by_id.values():
        for claim in manifest.notes.claims:
            if is_of_measures(archive, manifest, claim):
                continue
            yield from _named_badly(archive, manifest, claim)
            yield from _selected(archive, manifest, claim)
            counts = _counts(archive, manifest, claim)
            if counts is not None and counts.n:
                tested.append(_Tested(manifest, claim, counts))
            elif (reason := _why_untestable(archive, manifest, claim)) is not None:
                yield untestable(manifest, claim, reason)
    yield from _unsupported([one for one in tested if one.claim.says != "no_difference"])
    for one in tested:
        yield from _unseen(one)


def _named_badly(archive: ArchiveView, manifest: Manifest, claim: Claim) -> Iterator[Finding]:
    is_known = claim.than in FROZEN or claim.than in archive.by_id or claim.than in archive.unreadable_ids
    if not is_known:
        message = f"the claim names {claim.than}, which is not in the archive"
        yield found("RK404", manifest.run_id, f"notes.claims.{claim.says}.{claim.than}", message)


def _counts(archive: ArchiveView, manifest: Manifest, claim: Claim) -> PairedCounts | None:
    from runkit.stats.paired import paired_counts

    outcomes = archive.outcomes.get(manifest.run_id, {})
    ours = outcomes.get(_label(manifest, claim))
    theirs = ours if claim.than in FROZEN else archive.outcomes.get(claim.than, {}).get("final")
    reference = claim.than if claim.than in FROZEN else SYSTEM
    if ours is None or theirs is None or SYSTEM not in ours.answers or reference not in theirs.answers:
        return None
    if (ours.items, ours.golds) != (theirs.items, theirs.golds):
        return None
    return paired_counts(ours.correct(SYSTEM), theirs.correct(reference))


def _why_untestable(archive: ArchiveView, manifest: Manifest, claim: Claim) -> str | None:
    """Return why a claim about preserved runs has no counts; None where another finding says it."""
    ours = archive.outcomes.get(manifest.run_id)
    theirs = ours if claim.than in FROZEN else archive.outcomes.get(claim.than)
    if (claim.than not in FROZEN and claim.than not in archive.by_id) or (not ours and not theirs):
        return None
    if not ours or _label(manifest, claim) not in ours:
        return f"the run has no outcomes of its {claim.measured_at} evaluation"
    if not theirs or (claim.than not in FROZEN and "final" not in theirs):
        return f"{claim.than} has no outcomes of a final evaluation"
    return "the two were not measured on the same items"


def _label(manifest: Manifest, claim: Claim) -> str:
    metric = manifest.sealed.metric(f"peak.{SYSTEM}")
    if claim.measured_at == "final" or metric is None or not metric.steps:
        return "final"
    return str(metric.steps[0])


def _unsupported(tested: list[_Tested]) -> Iterator[Finding]:
    """Yield the claims of a difference that do not survive Holm over all claims with one reference."""
    from runkit.stats.multiplicity import holm
    from runkit.stats.paired import mcnemar_exact

    families: dict[str, list[_Tested]] = defaultdict(list)
    for one in tested:
        families[one.claim.than].append(one)
    for family in families.values():
        pvalues = [mcnemar_exact(one.counts.only_first, one.counts.only_second) for one in family]
        for one, p, adjusted in zip(family, pvalues, holm(pvalues), strict=True):
            gain = one.counts.only_first - one.counts.only_second
            has_right_sign = gain > 0 if one.claim.says == "better" else gain < 0
            if not has_right_sign or adjusted >= SIGNIFICANT_P:
                message = (
                    f"the notes call the run {one.claim.says} than {one.claim.than}: "
                    f"{_difference(one.counts)}, "
                    f"exact p {p:.3f}, {adjusted:.3f} after Holm over {len(family)} "
                    f"claim{'s' if len(family) > 1 else ''} with this reference; expected a "
                    f"{'gain' if one.claim.says == 'better' else 'loss'} with an adjusted p below "
                    f"{SIGNIFICANT_P}"
                )
                yield found("RK502", one.manifest.run_id, one.place, message)


def _selected(archive: ArchiveView, manifest: Manifest, claim: Claim) -> Iterator[Finding]:
    """Yield that a claim rests on the best of several checkpoints, with what that checkpoint is worth."""
    metric = manifest.sealed.metric(f"peak.{SYSTEM}")
    if claim.measured_at != "peak" or metric is None or metric.value_fraction is None:
        return
    candidates = _candidates(manifest, archive.outcomes.get(manifest.run_id, {}))
    corrected = ""
    if len(candidates) > 1:
        from runkit.stats.peak import corrected_peak

        value = corrected_peak([one.correct(SYSTEM) for one in candidates], seed=PEAK_SEED)
        worth = f"{100 * value.corrected_fraction:.1f} %"
        corrected = f"; chosen on resampled items and scored on the others it is {worth}"
    steps = ", ".join(map(str, metric.steps))
    message = (
        f"the claim rests on {100 * metric.value_fraction:.1f} % at step {steps}, the largest of "
        f"{metric.num_candidates or len(candidates)} evaluations on the items that chose it{corrected}; "
        "expected the "
        "final evaluation, or a step that was named beforehand"
    )
    yield found("RK503", manifest.run_id, f"notes.claims.{claim.says}.{claim.than}", message)


def _candidates(manifest: Manifest, measured: RunOutcomes) -> list[EvaluationOutcomes]:
    labels = [one.label for one in manifest.sealed.evaluations if one.label != "final"]
    found_ones = [measured[label] for label in labels if label in measured]
    items = {(one.items, one.golds) for one in found_ones}
    return found_ones if len(items) == 1 and all(SYSTEM in one.answers for one in found_ones) else []


def _unseen(one: _Tested) -> Iterator[Finding]:
    """Yield that the items could not have shown the size that is claimed, or do not exclude a difference."""
    if one.claim.says == "no_difference":
        yield from _not_equivalent(one)
        return
    size = one.claim.by_fraction
    if size is None:
        return
    from runkit.stats.exact_power import exact_minimum_detectable_effect

    counts = one.counts
    detectable = exact_minimum_detectable_effect(counts.discordance_fraction, counts.n)
    if detectable is None or detectable > size:
        shown = "no difference" if detectable is None else f"only {100 * detectable:.1f} points or more"
        message = (
            f"the claim is about {100 * size:.1f} points; {counts.n} items with "
            f"{100 * counts.discordance_fraction:.1f} % discordant ones show {shown} with 80 % power"
        )
        yield found("RK504", one.manifest.run_id, one.place, message)


def _not_equivalent(one: _Tested) -> Iterator[Finding]:
    from runkit.stats.equivalence import equivalence

    margin = one.claim.by_fraction
    shown = equivalence(one.counts, margin=margin if margin is not None else 0.5)
    smallest = f"{100 * shown.smallest_margin_fraction:.1f} points"
    if margin is None:
        message = (
            f"the notes claim no difference to {one.claim.than} and give no margin; "
            f"{_difference(one.counts)}, "
            f"which excludes differences beyond {smallest} and no smaller ones"
        )
    elif shown.is_equivalent:
        return
    else:
        message = (
            f"the notes claim no difference to {one.claim.than} beyond {100 * margin:.1f} points; "
            f"{_difference(one.counts)}, two one-sided tests p = {shown.p:.3f}: these items exclude "
            f"differences beyond {smallest} only"
        )
    yield found("RK504", one.manifest.run_id, one.place, message)


def _difference(counts: PairedCounts) -> str:
    return (
        f"{100 * counts.difference_fraction:+.1f} points on {counts.n} items (discordant "
        f"{counts.only_first}:{counts.only_second})"
    )


CLAIMS = Family("claims", _claim_findings, frozenset({"RK502", "RK503", "RK504", "RK506"}))
