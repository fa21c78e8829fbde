"""Claims that two accuracies differ against the archive, in every way in which it can be meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from runkit.audit.claims import Difference, Order, Where
from runkit.audit.judging.wording import FINAL_AND_PEAK, final_evidence, named, no_difference
from runkit.audit.truth import Archive, Judgement, Point, chosen, decimal, peak_points, points
from runkit.records.manifest import Manifest


def judged_difference(archive: Archive, run: Manifest, claim: Difference) -> Judgement:
    """Return what the archive says of a difference, in any of the ways in which it can be meant."""
    readings = list(_readings(archive, run, claim))
    if not readings:
        return Judgement("unverifiable", "", no_difference(run, claim))
    for value, base, what in readings:
        if _difference_agrees(claim, value, base):
            return Judgement("supported", f"{decimal(value)} ({what})", final_evidence(run))
    if claim.kind == "between_runs" and len(claim.other_run) > 1:
        return Judgement("unverifiable", "", "the name fits several runs")
    value, _, what = readings[0]
    return Judgement("contradicted", f"{decimal(value)} ({what})", final_evidence(run))


def _readings(archive: Archive, run: Manifest, claim: Difference) -> Iterable[tuple[Fraction, Fraction, str]]:
    """Yield value, the larger accuracy that it can be relative to, and what it is."""
    bridged = points(run, "bridged")
    places = _places(bridged, claim.where, run)
    if claim.kind == "degradation":
        top, final = peak_points(bridged), [point for point in bridged if point.label == "final"]
        after = [
            point for point in bridged if top and point.step is not None and (top[0].step or 0) < point.step
        ]
        for point in [*final, *after[-1:], *(sorted(after, key=lambda one: one.value)[:1])]:
            if top:
                yield top[0].value - point.value, top[0].value, f"peak {top[0].told()} - {named(point)}"
    elif claim.kind in {"gap", "gain"}:
        other_name = "target" if claim.kind == "gap" else "source"
        others = {point.label: point for point in points(run, other_name)}
        for point in places:
            other = others.get(point.label)
            if other is not None:
                value = other.value - point.value if claim.kind == "gap" else point.value - other.value
                what = f"{other_name} {other.told()} against bridged {named(point)}"
                yield value, max(other.value, point.value), what
    elif claim.kind == "between_models":
        alone = {name: points(run, name)[-1:] for name in ("source", "target")}
        for source, target in zip(alone["source"], alone["target"], strict=False):
            what = f"target {target.told()} against source {source.told()}"
            yield target.value - source.value, max(target.value, source.value), what
            yield source.value - target.value, max(target.value, source.value), what
    else:
        for run_id in claim.other_run:
            other_run = archive.by_id[run_id]
            theirs = points(other_run, "bridged")
            if claim.where.steps is not None:
                yours_at = {point.step: point for point in theirs if point.label != "final"}
                for point in chosen(bridged, Where(steps=claim.where.steps), run):
                    if point.step in yours_at and point.label != "final":
                        what = f"{named(point)} against {yours_at[point.step].told()} of {run_id}"
                        gap = point.value - yours_at[point.step].value
                        yield gap, max(point.value, yours_at[point.step].value), what
            for stat in FINAL_AND_PEAK:
                mine = chosen(bridged, Where(stat), run)
                yours = chosen(theirs, Where(stat), other_run)
                if mine and yours:
                    what = f"{stat}: {mine[0].told()} against {yours[0].told()} of {run_id}"
                    yield mine[0].value - yours[0].value, max(mine[0].value, yours[0].value), what


def _places(bridged: Sequence[Point], where: Where, run: Manifest) -> tuple[Point, ...]:
    """Return the points that a difference can be taken at: the stated ones, else final, peak and last."""
    if where.is_stated:
        return chosen(bridged, where, run)
    final = [point for point in bridged if point.label == "final"]
    during = [point for point in bridged if point.label != "final"]
    at = chosen(bridged, Where(steps=where.steps), run) if where.steps is not None else ()
    return (*final, *peak_points(bridged)[:1], *during[-1:], *at)


def _difference_agrees(claim: Difference, value: Fraction, base: Fraction) -> bool:
    amount, wanted = claim.amount, value
    if claim.kind == "gap":
        wanted = value if claim.direction <= 0 else -value
    elif claim.kind == "gain":
        wanted = value if claim.direction >= 0 else -value
    elif claim.kind == "between_runs":
        wanted = value if claim.direction > 0 else -value
    readings = [wanted]
    if claim.kind == "degradation" and amount.sign:
        # With a sign it may be final minus peak; people write both.
        readings = [-wanted] if amount.sign < 0 else [wanted, -wanted]
    elif amount.sign < 0:
        readings = [-wanted, wanted]
    if amount.unit == "percent" and base:
        readings += [one / base for one in readings]
    said_sign = amount.low * (amount.sign or 1)
    return any(
        amount.holds(one) or (amount.sign < 0 and said_sign - amount.slack <= one <= said_sign + amount.slack)
        for one in readings
    )


def judged_order(archive: Archive, run: Manifest, claim: Order) -> Judgement:
    """Return whether one accuracy is above another; finals count, and the peak when no final was measured."""
    bridged = points(run, "bridged")
    if claim.other == "run":
        return _order_of_runs(archive, run, claim, bridged)
    others = {point.label: point for point in points(run, claim.other)}
    verdicts = []
    final = [point for point in bridged if point.label == "final"]
    wanted = final or list(bridged[-1:])
    if claim.where.stat == "peak":
        wanted = list(peak_points(bridged))
    for point in [*wanted[:1], *peak_points(bridged)[:1]]:
        other = others.get(point.label)
        if other is not None:
            is_above = point.value > other.value
            is_below = point.value < other.value
            holds = is_above if claim.relation == "above" else is_below
            verdicts.append(
                (holds != claim.is_denied, f"bridged {named(point)}, {claim.other} {other.told()}", point)
            )
    if not verdicts:
        return Judgement("unverifiable", "", f"{run.run_id} has no such scores")
    first, actual, point = verdicts[0]
    if first:
        return Judgement("supported", actual, point.evidence)
    if all(not holds for holds, _, _ in verdicts):
        return Judgement("contradicted", actual, point.evidence)
    return Judgement(
        "unverifiable",
        actual,
        "it holds for the peak and not for the final evaluation, and the text does not say which",
    )


def _order_of_runs(archive: Archive, run: Manifest, claim: Order, bridged: Sequence[Point]) -> Judgement:
    if len(claim.other_run) != 1:
        return Judgement("unverifiable", "", "the name fits several runs")
    other = archive.by_id[claim.other_run[0]]
    holds = []
    actual = ""
    for stat in FINAL_AND_PEAK:
        mine = chosen(bridged, Where(stat), run)
        yours = chosen(points(other, "bridged"), Where(stat), other)
        if mine and yours:
            gap = mine[0].value - yours[0].value
            actual = actual or f"{stat} {mine[0].told()} against {yours[0].told()} of {other.run_id}"
            holds.append(
                {"above": gap > 0, "below": gap < 0, "close": abs(gap) <= Fraction(5, 100)}[claim.relation]
                != claim.is_denied
            )
    if not holds:
        return Judgement("unverifiable", "", f"{run.run_id} and {other.run_id} have no scores to compare")
    if any(holds):
        return Judgement("supported", actual, final_evidence(run))
    if claim.relation == "close":
        return Judgement("unverifiable", actual, "how close is close is not said")
    return Judgement("contradicted", actual, final_evidence(run))
