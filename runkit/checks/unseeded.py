"""Whether a run's last weights gave other answers when they were measured again; without seeds, noise "
"does."""

from __future__ import annotations

from collections.abc import Iterator

from runkit.checks.catalogue import found
from runkit.checks.measurement import place_of
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding, Severity
from runkit.records.manifest import Evaluation, Manifest
from runkit.records.outcomes import RunOutcomes

SYSTEM = "bridged"
SIGNIFICANT_P = 0.05


def _unseeded_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        outcomes = archive.outcomes.get(manifest.run_id)
        if outcomes:
            yield from _measured_again(manifest, outcomes)


def _measured_again(manifest: Manifest, outcomes: RunOutcomes) -> Iterator[Finding]:
    final, last = manifest.sealed.evaluation("final"), _last_trained(manifest)
    if final is None or last is None or final.noise_draw is not None or last.noise_draw is not None:
        return
    here, there = outcomes.get("final"), outcomes.get(last.label)
    if here is None or there is None or (here.items, here.golds) != (there.items, there.golds):
        return
    if SYSTEM not in here.answers or SYSTEM not in there.answers:
        return
    changed = sum(
        now != before for now, before in zip(here.answers[SYSTEM], there.answers[SYSTEM], strict=True)
    )
    if not changed:
        return
    from runkit.stats.paired import mcnemar_exact, paired_counts

    counts = paired_counts(here.correct(SYSTEM), there.correct(SYSTEM))
    p = mcnemar_exact(counts.only_first, counts.only_second)
    message = (
        f"the noise of evaluations is not seeded: the last step {last.label} and the final evaluation have "
        f"{sum(there.correct(SYSTEM))} and {sum(here.correct(SYSTEM))} of {counts.n} correct on the same "
        "items, "
        f"{changed} answers differ (discordant {counts.only_first}:{counts.only_second}, McNemar exact "
        f"p = {p:.2f}); where the final weights are the last ones, nothing but noise changed"
    )
    severity: Severity = "warning" if p < SIGNIFICANT_P else "info"
    yield found("RK505", manifest.run_id, place_of(manifest, final), message, severity=severity)


def _last_trained(manifest: Manifest) -> Evaluation | None:
    """Return the evaluation at the last training step, or None when the last step was not evaluated."""
    last_step = manifest.sealed.training.last_step
    return next(
        (one for one in manifest.sealed.evaluations if one.label != "final" and one.step == last_step), None
    )


UNSEEDED = Family("unseeded noise", _unseeded_findings, frozenset({"RK505"}))
