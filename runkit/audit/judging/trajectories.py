"""Claims about curves and about answers that many outputs share, against the archive."""

from __future__ import annotations

from fractions import Fraction

from runkit.audit.claims import CommonOutput, NoCollapse, Recovery
from runkit.audit.judging.wording import named
from runkit.audit.truth import Judgement, decimal, peak_points, points
from runkit.records.manifest import Manifest


def judged_common_output(run: Manifest, claim: CommonOutput) -> Judgement:
    """Return how often the answer was given."""
    evaluations = [one for one in run.sealed.evaluations if one.score("bridged") is not None]
    steps = claim.where.steps
    if steps is not None and steps.at:
        evaluations = [one for one in evaluations if one.step in steps.at]
    seen = []
    for evaluation in evaluations:
        score = evaluation.score("bridged")
        if score is None:
            continue
        count = next((one.count for one in score.most_common if one.answer == claim.answer), None)
        if count is None:
            listed = len(score.most_common) >= 5
            count = 0 if not listed else None
        share = Fraction(count, score.n) if count is not None else None
        holds = share is not None and (
            claim.amount.holds(share if claim.amount.unit != "count" else Fraction(count or 0))
            if claim.amount
            else share > Fraction(1, 2)
        )
        seen.append(
            (
                holds,
                f"{count if count is not None else 'few'} of {score.n} are {claim.answer}",
                evaluation.dump or "",
            )
        )
    if not seen:
        return Judgement("unverifiable", "", f"{run.run_id} has no such outputs")
    agreed = next((one for one in seen if one[0]), None)
    if agreed is not None:
        return Judgement("supported", agreed[1], agreed[2])
    return Judgement("contradicted", seen[-1][1], seen[-1][2], "RK208")


def judged_recovery(run: Manifest, claim: Recovery) -> Judgement:
    """Return whether there was a low point to recover from, and training to recover by."""
    everything = points(run, "bridged")
    during = [point for point in everything if point.label != "final" and point.step is not None]
    final = next((point for point in everything if point.label == "final"), None)
    listed = ", ".join(f"{point.label}: {decimal(point.value)}" for point in during)
    if claim.is_final:
        if final is None or not during:
            return Judgement("unverifiable", "", f"{run.run_id} has no final evaluation")
        last, top = during[-1], peak_points(everything)[0]
        if last.step != run.sealed.training.last_step or final.value <= top.value:
            return Judgement(
                "unverifiable",
                f"{listed}, final: {decimal(final.value)}",
                "the archive does not show which weights the final evaluation is of",
            )
        actual = (
            f"no weights scored it in training: {last.told()} at step {last.step}, "
            f"the last one trained, and at most {top.told()}; the final "
            f"evaluation repeats one of these and gives {final.told()}"
        )
        return Judgement("contradicted", actual, f"{last.evidence}; {final.evidence}")
    at = [point for point in during if point.step == claim.after_step]
    if not at:
        return Judgement("unverifiable", listed, f"{run.run_id} has no evaluation at step {claim.after_step}")
    before = [point for point in during if (point.step or 0) < (claim.after_step or 0)]
    after = [point for point in during if (point.step or 0) > (claim.after_step or 0)]
    if before and all(point.value <= at[0].value for point in before):
        return Judgement("contradicted", f"no low point at step {claim.after_step}: {listed}", at[0].evidence)
    if any(point.value > at[0].value for point in after):
        return Judgement("supported", listed, at[0].evidence)
    return Judgement("contradicted" if after else "unverifiable", listed, at[0].evidence)


def judged_no_collapse(run: Manifest, _claim: NoCollapse) -> Judgement:
    """Return how low accuracy fell after its peak; below a half is a collapse, above nine tenths is none."""
    everything = points(run, "bridged")
    top = peak_points(everything)
    if not top:
        return Judgement("unverifiable", "", f"{run.run_id} has no measured accuracy of bridged")
    after = everything[everything.index(top[0]) + 1 :]
    if not after:
        return Judgement("unverifiable", top[0].told(), "nothing was measured after the peak")
    worst = min(after, key=lambda point: point.value)
    actual = f"peak {top[0].told()}, then at least {named(worst)}"
    if 10 * worst.value >= 9 * top[0].value:
        return Judgement("supported", actual, worst.evidence)
    if 2 * worst.value < top[0].value:
        return Judgement("contradicted", actual, worst.evidence)
    return Judgement("unverifiable", actual, "how far a collapse has to fall is not said")
