"""Whether a changed setting changed anything that was measured: by bytes of dumps and by logged losses."""

from __future__ import annotations

from runkit.checks.duplicates import dump_digests
from runkit.records.manifest import Manifest

AGREEMENT_OF_LOSSES = 1e-4
"""Relative difference up to which two logged losses are one number, but for the order of summation."""


def losses_in_common(manifest: Manifest, other: Manifest) -> dict[int, tuple[float, float]]:
    """Return the steps at which both logged a loss, with both losses in nats."""
    here, there = manifest.sealed.training, other.sealed.training
    theirs = dict(zip(there.loss_steps, there.loss_values, strict=False))
    ours = zip(here.loss_steps, here.loss_values, strict=False)
    return {step: (loss, theirs[step]) for step, loss in ours if step in theirs}


def relative_difference(loss: float, other: float) -> float:
    """Return how far two losses are apart, as a share of the larger one."""
    return abs(loss - other) / max(abs(loss), abs(other)) if loss != other else 0.0


def first_loss_evidence(manifest: Manifest, control: Manifest) -> str | None:
    """Return that the first logged losses are one number, or None."""
    for step, (loss, other) in losses_in_common(manifest, control).items():
        if relative_difference(loss, other) > AGREEMENT_OF_LOSSES:
            return None
        return f"loss {loss:g} and {other:g} at step {step}"
    return None


def unchanged_measurement(manifest: Manifest, control: Manifest) -> str | None:
    """Return why nothing that was measured differs between two runs after training began, or None.

    Every dump of trained weights that both have is byte-identical, and there is one. Without such dumps:
    every logged loss is the same number, and there are at least three. A setting that acts late leaves early
    dumps alike, so all of them have to agree.
    """
    here, there = _trained_dumps(manifest), _trained_dumps(control)
    common = sorted(here.keys() & there.keys())
    losses = losses_in_common(manifest, control).values()
    if common:
        if any(here[label] != there[label] for label in common):
            return None
        return f"all {len(common)} dumps of trained weights are byte-identical"
    if len(losses) >= 3 and all(loss == other for loss, other in losses):
        return f"all {len(losses)} logged losses are equal"
    return None


def _trained_dumps(manifest: Manifest) -> dict[str, str]:
    """Return the label of each evaluation of trained weights with the digest of its dump."""
    digests = dump_digests(manifest)
    return {
        evaluation.label: digests[evaluation.dump]
        for evaluation in manifest.sealed.evaluations
        if evaluation.step != 0 and evaluation.label != "0" and evaluation.dump in digests
    }
