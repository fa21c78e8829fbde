"""Claims about scores against the archive: every reading that the words allow is tried first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from runkit.audit.amounts import Amount
from runkit.audit.claims import (
    CommonOutput,
    Difference,
    Measure,
    NoCollapse,
    NumItems,
    Order,
    PeakStep,
    Recovery,
    Score,
    Series,
    Stat,
    Where,
)
from runkit.audit.truth import (
    Archive,
    Judgement,
    Point,
    chosen,
    decimal,
    peak_points,
    points,
    supported_if,
    system_of,
)
from runkit.records.manifest import Manifest

_FINAL_AND_PEAK: tuple[Stat, Stat] = ("final", "peak")


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
        return Judgement("unverifiable", "", _nothing_there(run, where))
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
        return Judgement("supported", matching[0].told(), _at(matching))
    trained = peak_points([point for point in everything if point.step])
    if where.stat == "peak" and claim.measure != "accuracy" and trained and _agrees(amount, trained[0]):
        return Judgement("supported", trained[0].told(), _at(trained))
    if where.stat == "peak" and (
        top := [
            point
            for point in everything
            if point.label == "final" and point.value >= meant[0].value and _agrees(amount, point)
        ]
    ):
        return Judgement("supported", top[0].told(), _at(top))
    if claim.measure == "valid" and all(point.count is None for point in meant):
        return Judgement("unverifiable", "", "only logged numbers are known")
    if claim.measure == "valid":
        return _valid_reading(amount, meant)
    return Judgement("contradicted", _listed(meant), _at(meant), because)


def _is_other_measure(run: Manifest, claim: Score, system: str) -> bool:
    """Return whether the number is exactly another measure there: then it was read wrongly, not written so."""
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
        return Judgement("contradicted", actual, _at(meant))
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
        return Judgement("supported", listed, _at(meant))
    if where.steps is None and where.stat == "any":
        trained = [point for point in meant if point.step != 0 and point.label != "final"]
        if any(amount.holds(point.value) for point in trained):
            return Judgement(
                "unverifiable", listed, "it holds for some evaluations, and the text does not say for which"
            )
    outside = [point for point in meant if point not in inside]
    return Judgement("contradicted", listed, _at(outside), because)


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
    return supported_if(set(claim.steps) <= steps, actual, _at(top))


def judged_difference(archive: Archive, run: Manifest, claim: Difference) -> Judgement:
    """Return what the archive says of a difference, in any of the ways in which it can be meant."""
    readings = list(_readings(archive, run, claim))
    if not readings:
        return Judgement("unverifiable", "", _no_difference(run, claim))
    for value, base, what in readings:
        if _difference_agrees(claim, value, base):
            return Judgement("supported", f"{decimal(value)} ({what})", _final_evidence(run))
    if claim.kind == "between_runs" and len(claim.other_run) > 1:
        return Judgement("unverifiable", "", "the name fits several runs")
    value, _, what = readings[0]
    return Judgement("contradicted", f"{decimal(value)} ({what})", _final_evidence(run))


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
                yield top[0].value - point.value, top[0].value, f"peak {top[0].told()} - {_named(point)}"
    elif claim.kind in {"gap", "gain"}:
        other_name = "target" if claim.kind == "gap" else "source"
        others = {point.label: point for point in points(run, other_name)}
        for point in places:
            other = others.get(point.label)
            if other is not None:
                value = other.value - point.value if claim.kind == "gap" else point.value - other.value
                what = f"{other_name} {other.told()} against bridged {_named(point)}"
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
                        what = f"{_named(point)} against {yours_at[point.step].told()} of {run_id}"
                        gap = point.value - yours_at[point.step].value
                        yield gap, max(point.value, yours_at[point.step].value), what
            for stat in _FINAL_AND_PEAK:
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
    return (*final, *peak_points(bridged)[:1], *during[-1:])


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
                (holds != claim.is_denied, f"bridged {_named(point)}, {claim.other} {other.told()}", point)
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
    for stat in _FINAL_AND_PEAK:
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
        return Judgement("supported", actual, _final_evidence(run))
    if claim.relation == "close":
        return Judgement("unverifiable", actual, "how close is close is not said")
    return Judgement("contradicted", actual, _final_evidence(run))


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
            return Judgement("supported", listed, _at(everything))
        absent = [one for one in claim.amounts if not any(one.holds(point.value) for point in everything)]
        if absent:
            best = best or Judgement("contradicted", listed, _at(everything))
        else:
            best = best or Judgement("unverifiable", listed, "the values occur in another order")
    return best or Judgement("unverifiable", "", f"{run.run_id} has no such scores")


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
    actual = f"peak {top[0].told()}, then at least {_named(worst)}"
    if 10 * worst.value >= 9 * top[0].value:
        return Judgement("supported", actual, worst.evidence)
    if 2 * worst.value < top[0].value:
        return Judgement("contradicted", actual, worst.evidence)
    return Judgement("unverifiable", actual, "how far a collapse has to fall is not said")


def judged_items(run: Manifest, claim: NumItems) -> Judgement:
    """Return with how many items the evaluations were made."""
    sizes = {one.n for one in run.sealed.evaluations if one.n}
    actual = ", ".join(map(str, sorted(sizes)))
    if claim.n in sizes:
        return Judgement("supported", actual, "number of rows in the dumps")
    return Judgement(
        "unverifiable", actual, "the number may count something else than the items of an evaluation"
    )


def _listed(meant: Sequence[Point]) -> str:
    if len(meant) == 1:
        return _named(meant[0])
    return ", ".join(f"{point.label}: {point.told()}" for point in meant)


def _named(point: Point) -> str:
    return (
        f"{point.told()} {'in the final evaluation' if point.label == 'final' else f'at step {point.label}'}"
    )


def _at(meant: Sequence[Point]) -> str:
    shown = [point.evidence for point in meant[:3] if point.evidence]
    more = f" and {len(meant) - 3} more" if len(meant) > 3 else ""
    return ", ".join(shown) + more


def _final_evidence(run: Manifest) -> str:
    everything = points(run, "bridged")
    return everything[-1].evidence if everything else ""


def _nothing_there(run: Manifest, where: Where) -> str:
    if where.stat == "final":
        status = run.sealed.status
        return f"{run.run_id} has no final evaluation: {status.reason}"
    return f"{run.run_id} has no evaluation there"


def _no_difference(run: Manifest, claim: Difference) -> str:
    if claim.where.is_stated and claim.where.stat == "final":
        return f"{run.run_id} has no final evaluation: {run.sealed.status.reason}"
    return f"{run.run_id} has not the scores for it"
