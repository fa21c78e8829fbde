"""Whether a final evaluation is of the checkpoint that it names, told by steps and by equal outputs."""

from __future__ import annotations

from collections.abc import Iterator

from runkit.checks.catalogue import found
from runkit.checks.measurement import place_of
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding, Severity
from runkit.records.manifest import Evaluation, Manifest
from runkit.records.run_texts import RunTexts
from runkit.stats.paired import mcnemar_exact, paired_counts

SYSTEM = "bridged"
_CONVINCING_P = 0.01
"""Two evaluations of one checkpoint with unseeded noise share few texts; a chance excess is not accused."""


def _checkpoint_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        yield from _step_is_not_best(manifest)
        if manifest.run_id in archive.texts:
            yield from _outputs_are_not_of_best(manifest, archive.texts[manifest.run_id])


def compared_labels(manifest: Manifest) -> tuple[str, ...]:
    """Return the evaluations whose texts are compared: final, best, last; empty when none can be."""
    final, best, last = _evaluations(manifest)
    if final is None or best is None or last is None or best is last or final.step is not None:
        return ()
    return ("final", best.label, last.label)


def _evaluations(manifest: Manifest) -> tuple[Evaluation | None, Evaluation | None, Evaluation | None]:
    """Return the final evaluation, and of those on its items the first best and the last one."""
    final = manifest.sealed.evaluation("final")
    if final is None or final.items_sha256 is None:
        return final, None, None
    candidates = [
        one
        for one in manifest.sealed.evaluations
        if one.label not in {"final", "0"}
        and one.items_sha256 == final.items_sha256
        and _correct(one) is not None
    ]
    if not candidates:
        return final, None, None
    highest = max(_correct(one) or 0 for one in candidates)
    return final, next(one for one in candidates if _correct(one) == highest), candidates[-1]


def _correct(evaluation: Evaluation) -> int | None:
    score = evaluation.score(SYSTEM)
    return score.correct if score is not None and score.n else None


def _step_is_not_best(manifest: Manifest) -> Iterator[Finding]:
    """Yield a finding when the dump's own step is not one that had the highest score."""
    final = manifest.sealed.evaluation("final")
    peak = manifest.sealed.metric("peak.bridged")
    if final is None or peak is None or final.checkpoint != "best" or final.step is None or not peak.steps:
        return
    if final.step not in peak.steps:
        best = ", ".join(map(str, peak.steps))
        message = (
            f"the final evaluation is said to be of the best checkpoint, and its dump says step "
            f"{final.step}; the highest score is that of step {best} ({peak.correct} of {peak.n})"
        )
        yield found("RK304", manifest.run_id, final.dump or place_of(manifest, final), message)


def _outputs_are_not_of_best(manifest: Manifest, texts: RunTexts) -> Iterator[Finding]:
    """Yield a finding when the final outputs agree with those of the last step more than of the best."""
    final, best, last = _evaluations(manifest)
    labels = compared_labels(manifest)
    if final is None or best is None or last is None or not labels:
        return
    if any(label not in texts.generations for label in labels):
        return
    written, of_best, of_last = ([one.text for one in texts.generations[label]] for label in labels)
    if not len(written) == len(of_best) == len(of_last):
        return
    same_as_last = [here == there for here, there in zip(written, of_last, strict=True)]
    same_as_best = [here == there for here, there in zip(written, of_best, strict=True)]
    counts = paired_counts(same_as_last, same_as_best)
    p = mcnemar_exact(counts.only_first, counts.only_second)
    if counts.only_first <= counts.only_second or p >= _CONVINCING_P:
        return
    tie = f", which step {last.label} ties later" if _correct(best) == _correct(last) else ""
    named = "is said to be of the best checkpoint" if final.checkpoint == "best" else "names no step"
    message = (
        f"the final evaluation {named}, and {sum(same_as_last)} of its {len(written)} outputs are word for "
        f"word those of the last step {last.label}, {sum(same_as_best)} those of the best step "
        f"{best.label}{tie} (p = {p:.1g})"
    )
    severity: Severity = "error" if final.checkpoint == "best" else "warning"
    yield found("RK304", manifest.run_id, place_of(manifest, final), message, severity=severity)


CHECKPOINTS = Family("checkpoints", _checkpoint_findings, frozenset({"RK304"}))
