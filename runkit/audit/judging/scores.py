"""Claims about scores against the archive: every reading that the words allow is tried first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from runkit.audit.amounts import Amount
from runkit.audit.claims import Measure, NumItems, PeakStep, Score, Series, Where
from runkit.audit.judging.wording import dumps_of, listed, nothing_there
from runkit.audit.truth import Judgement, Point, chosen, decimal, peak_points, points, supported_if, system_of
from runkit.records.manifest import Manifest


def judged_score(run: Manifest, claim: Score) -> Judgement:
    """Return what the archive says of a score."""
    told, best = "", None
    readings = 0
    for word in claim.systems:
        system = system_of(run, word)
        if system is None:
            continue
        everything = points(run, system, claim.measure)
        if not everything:
            continue
        readings += 1
        judgement = _score_reading(run, claim, everything)
        if judgement.word != "supported" and claim.other_reading is not None:
            other = _score_reading(run, replace(claim, amount=claim.other_reading), everything)
            judgement = other if other.word == "supported" else judgement
        if judgement.word == "supported":
            return judgement
        if judgement.word == "contradicted" and _is_other_measure(run, claim, system):
            judgement = Judgement(
                "unverifiable",
                judgement.actual,
                f"the number is no {claim.measure} share, but an accuracy"
                if claim.measure != "accuracy"
                else "the number is no accuracy, but a share of invalid answers",
            )
        if judgement.word == "contradicted" and not claim.is_direct and _is_another_score(run, claim):
            reason = "another evaluation or model of the run has just this number, and may be meant"
            judgement = Judgement("unverifiable", judgement.actual, reason)
        best = judgement if best is None or (system == "bridged") else best
        told = told or judgement.actual
    if best is None:
        names = ", ".join(claim.systems)
        return Judgement("unverifiable", "", f"{run.run_id} has no measured {claim.measure} of {names}")
    return best


def _score_reading(run: Manifest, claim: Score, everything: Sequence[Point]) -> Judgement:
    where, amount = claim.where, claim.amount
    meant = chosen(everything, where, run)
    if not meant:
        return Judgement("unverifiable", "", nothing_there(run, where))
    if amount.n is not None and all(point.n != amount.n for point in meant):
        return Judgement(
            "unverifiable", meant[-1].told(), f"the evaluations have {meant[-1].n} items, not {amount.n}"
        )
    because = "RK207" if claim.measure == "invalid" and _is_above_threshold(everything) else ""
    if amount.is_range or (where.steps is not None and where.steps.is_throughout):
        return _range_reading(amount, meant, where, because)
    matching = [point for point in meant if _agrees(amount, point)]
    is_bound = amount.comparator != "=" and (where.stat == "peak" or _is_stretch(where))
    if is_bound and len(matching) != len(meant):
        matching = []
    if matching:
        return Judgement("supported", matching[0].told(), dumps_of(matching))
    trained = peak_points([point for point in everything if point.step])
    if where.stat == "peak" and claim.measure != "accuracy" and trained and _agrees(amount, trained[0]):
        return Judgement("supported", trained[0].told(), dumps_of(trained))
    if where.stat == "peak" and (
        top := [
            point
            for point in everything
            if point.label == "final" and point.value >= meant[0].value and _agrees(amount, point)
        ]
    ):
        return Judgement("supported", top[0].told(), dumps_of(top))
    if claim.measure == "valid" and all(point.count is None for point in meant):
        return Judgement("unverifiable", "", "only logged numbers are known")
    if claim.measure == "valid":
        return _valid_reading(amount, meant)
    return Judgement("contradicted", listed(meant), dumps_of(meant), because)


def _is_other_measure(run: Manifest, claim: Score, system: str) -> bool:
    """Return whether the number is exactly another measure there: then it was misread."""
    if claim.amount.comparator != "=" or claim.amount.is_hedged or claim.amount.is_range:
        return False
    others: tuple[Measure, ...] = ("invalid", "valid") if claim.measure == "accuracy" else ("accuracy",)
    names = {system, "bridged", "target", "source"} if claim.measure != "accuracy" else {system}
    return any(
        _agrees(claim.amount, point)
        for name in names
        for other in others
        for point in chosen(points(run, name, other), claim.where, run)
    )


def _is_another_score(run: Manifest, claim: Score) -> bool:
    """Return whether the number is exactly that of another evaluation or model of *run*."""
    if claim.amount.comparator != "=" or claim.amount.is_hedged or claim.amount.is_range:
        return False
    everything = (
        point for name in ("bridged", "source", "target") for point in points(run, name, claim.measure)
    )
    return any(_agrees(claim.amount, point) for point in everything)


def _is_stretch(where: Where) -> bool:
    """Return whether all evaluations of a stretch of training are meant."""
    steps = where.steps
    return steps is not None and not steps.is_after and (steps.low is not None or steps.is_throughout)


def _is_above_threshold(everything: Sequence[Point]) -> bool:
    """Return whether RK207 has something to say of these invalid shares of a trained bridge."""
    return any(5 * point.value > 1 for point in everything if point.step != 0)


def _valid_reading(amount: Amount, meant: Sequence[Point]) -> Judgement:
    """Judge *k of n have a number*: an answer was extracted from at least as many as are valid."""
    least = min(meant, key=lambda point: point.value)
    said = amount.low if amount.n is None else amount.low / amount.n
    actual = (
        f"{least.count}/{least.n} have an extracted answer, {(least.n or 0) - (least.count or 0)} are invalid"
    )
    if said < least.value:
        return Judgement("contradicted", actual, dumps_of(meant))
    return Judgement(
        "unverifiable", actual, "outputs without an extracted answer may contain digits all the same"
    )


def _range_reading(amount: Amount, meant: Sequence[Point], where: Where, because: str) -> Judgement:
    inside = [point for point in meant if amount.holds(point.value)]
    low, high = min(point.value for point in meant), max(point.value for point in meant)
    listed = f"{decimal(low)}-{decimal(high)}: " + ", ".join(
        f"{point.label}: {point.told()}" for point in meant
    )
    if len(inside) == len(meant):
        return Judgement("supported", listed, dumps_of(meant))
    if where.steps is None and where.stat == "any":
        trained = [point for point in meant if point.step != 0 and point.label != "final"]
        if any(amount.holds(point.value) for point in trained):
            return Judgement(
                "unverifiable", listed, "it holds for some evaluations, and the text does not say for which"
            )
    outside = [point for point in meant if point not in inside]
    return Judgement("contradicted", listed, dumps_of(outside), because)


def _agrees(amount: Amount, point: Point) -> bool:
    if amount.unit == "count":
        return point.count is not None and amount.holds(Fraction(point.count)) and amount.n in (None, point.n)
    return amount.holds(point.value)


def judged_peak_step(run: Manifest, claim: PeakStep) -> Judgement:
    """Return whether the maximum was reached at the claimed steps, or at some of several tied ones."""
    top = peak_points(points(run, "bridged"))
    if not top:
        return Judgement("unverifiable", "", f"{run.run_id} has no measured accuracy of bridged")
    steps = {point.step for point in top}
    actual = f"{top[0].told()} at step {', '.join(str(point.step) for point in top)}"
    return supported_if(set(claim.steps) <= steps, actual, dumps_of(top))


def judged_series(run: Manifest, claim: Series) -> Judgement:
    """Return whether the evaluations give the amounts in that order, perhaps with others in between."""
    best: Judgement | None = None
    for word in claim.systems:
        system = system_of(run, word)
        everything = points(run, system) if system is not None else ()
        if not everything:
            continue
        place = 0
        for amount in claim.amounts:
            place = next(
                (
                    index + 1
                    for index in range(place, len(everything))
                    if amount.holds(everything[index].value)
                ),
                -1,
            )
            if place < 0:
                break
        listed = ", ".join(f"{point.label}: {point.told()}" for point in everything)
        if place >= 0:
            return Judgement("supported", listed, dumps_of(everything))
        absent = [one for one in claim.amounts if not any(one.holds(point.value) for point in everything)]
        if absent:
            best = best or Judgement("contradicted", listed, dumps_of(everything))
        else:
            best = best or Judgement("unverifiable", listed, "the values occur in another order")
    return best or Judgement("unverifiable", "", f"{run.run_id} has no such scores")


def judged_items(run: Manifest, claim: NumItems) -> Judgement:
    """Return with how many items the evaluations were made."""
    sizes = {one.n for one in run.sealed.evaluations if one.n}
    actual = ", ".join(map(str, sorted(sizes)))
    if claim.n in sizes:
        return Judgement("supported", actual, "number of rows in the dumps")
    return Judgement(
        "unverifiable", actual, "the number may count something else than the items of an evaluation"
    )
