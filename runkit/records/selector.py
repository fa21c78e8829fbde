"""How a person names one number of a run.

The form is ``[system:][task/]metric[{condition=value}][@final|best|last|max|STEP]``. Parts may be left out
while the rest names one score of the run. A metric may have an ``@`` of its own, as ``pass@1``. ``max`` is
the best value over the steps, in the direction of the metric.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runkit.errors import UnknownName, UsageError
from runkit.records.format1 import protocol_of, scores_of
from runkit.records.manifest import RunFacts
from runkit.records.measurement import Score

_FORM = re.compile(
    r"^(?P<rest>[^{}@]+(?:@\w+)*?)(?:\{(?P<conditions>[^{}]*)\})?(?:@(?P<at>final|best|last|max|\d{1,18}))?$"
)
_SHOWN = 8


@dataclass(frozen=True)
class Selector:
    """What a selector says, before it is known which of its words is a system and which a task."""

    text: str
    rest: str
    conditions: Mapping[str, str]
    at: str | None

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Return the selector that *text* is.

        Raises:
            UsageError: It has another form.
        """
        match = _FORM.match(text.strip())
        pairs = [pair.partition("=") for pair in (match["conditions"] or "").split(",")] if match else []
        if match is None or (match["conditions"] and not all(equals for _key, equals, _value in pairs)):
            raise UsageError(
                f"{text!r} names no measure; expected [system:][task/]metric[{{condition=value}}]"
                "[@final|best|last|max|STEP], for example gsm8k/exact_match or bridged:accuracy@final"
            )
        conditions = {key.strip(): value.strip() for key, equals, value in pairs if equals}
        return cls(text, match["rest"].strip(), conditions, match["at"])

    @property
    def whole(self) -> Selector:
        """The same words with no step split off: ``pass@1`` is a metric, where a run has one of that name."""
        return Selector(self.text, f"{self.rest}@{self.at}", self.conditions, None)

    def fits(self, score: Score) -> bool:
        """Return whether *score* is one that the words name, whatever its weights."""
        names = (
            score.metric.name,
            f"{score.task}/{score.metric.name}",
            f"{score.system}:{score.metric.name}",
            f"{score.system}:{score.task}/{score.metric.name}",
        )
        known = {**score.conditions, "split": score.split or "", "metric": score.metric.name}
        return self.rest in names and all(known.get(key) == value for key, value in self.conditions.items())


@dataclass(frozen=True)
class Selected:
    """The score that a selector names."""

    score: Score
    num_candidates: int = 1
    """Of how many steps it is the best; 1 where nothing was chosen among."""


def select(facts: RunFacts, text: str | None) -> Selected:
    """Return the score of a run that *text* names; None: the measure that the run is judged by.

    Raises:
        UsageError: It names several; the candidates are listed.
        UnknownName: It names none.
    """
    scores, protocol = scores_of(facts), protocol_of(facts)
    text = text if text is not None else protocol.primary
    if text is None:
        finals = [score for score in scores if score.weights.is_final]
        return Selected(_only(facts, "the measure", finals or list(scores)))
    selector = Selector.parse(text)
    if selector.at is not None and any(map(selector.whole.fits, scores)):
        selector = selector.whole
    fitting = [score for score in scores if selector.fits(score)]
    if not fitting:
        names = sorted({_named(score) for score in scores})
        raise UnknownName.among(f"measure of {facts.run_id}", text, names)
    if len({score.system for score in fitting}) > 1:
        trained = protocol.names("trained")
        fitting = [score for score in fitting if score.system in trained] or fitting
    if selector.at == "max":
        return _best_of_steps(facts, text, fitting)
    return Selected(_only(facts, text, _at(fitting, selector.at)))


def primary(facts: RunFacts) -> Score | None:
    """Return the score that the run is judged by; None when nobody said which, or it has none."""
    try:
        return select(facts, None).score
    except (UsageError, UnknownName):
        return None


def _at(scores: Sequence[Score], at: str | None) -> list[Score]:
    if at is None or at == "final":
        finals = [score for score in scores if score.weights.is_final]
        return finals if finals or at else list(scores)
    if at.isdigit():
        return [
            score for score in scores if score.weights.step == int(at) and not score.weights.is_final
        ] or [score for score in scores if score.weights.step == int(at)]
    kind = [score for score in scores if score.weights.kind == at]
    if at == "last" and not kind:
        steps = [score.weights.step for score in scores if score.weights.step is not None]
        return [score for score in scores if steps and score.weights.step == max(steps)]
    return kind


def _best_of_steps(facts: RunFacts, text: str, scores: Sequence[Score]) -> Selected:
    during = [score for score in scores if not score.weights.is_final and score.value is not None]
    _one_measure(facts, text, during)
    if not during:
        raise UsageError(f"{text}: {facts.run_id} was not measured in the course of its training")
    direction = during[0].metric.direction
    if direction is None:
        raise UsageError(
            f"{text}: nobody said whether higher or lower {during[0].metric.name} is better, so no step is "
            "the best; say it in runkit.toml, [metrics]"
        )
    choose = max if direction == "higher" else min
    return Selected(choose(during, key=lambda score: score.value or 0.0), len(during))


def _one_measure(facts: RunFacts, text: str, scores: Sequence[Score]) -> None:
    names = sorted({_named(score) for score in scores})
    if len(names) > 1:
        _refuse(facts, text, names)


def _only(facts: RunFacts, text: str, scores: Sequence[Score]) -> Score:
    if len(scores) == 1:
        return scores[0]
    if not scores:
        raise UsageError(
            f"{text}: {facts.run_id} has no such score; it has "
            f"{_listed(sorted(spelled(one) for one in scores_of(facts))) or 'none at all'}"
        )
    _refuse(facts, text, sorted(spelled(score) for score in scores))
    raise AssertionError


def _refuse(facts: RunFacts, text: str, names: Sequence[str]) -> None:
    raise UsageError(f"{text} is not one score of {facts.run_id}; name one of {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _named(score: Score) -> str:
    return spelled(score).rpartition("@")[0]


def spelled(score: Score) -> str:
    """Return the selector that names *score* in full."""
    conditions = ",".join(f"{key}={value}" for key, value in sorted(score.conditions.items()))
    inside = f"{{{conditions}}}" if conditions else ""
    name, _, label = score.name.rpartition("@")
    return f"{name}{inside}@{label}"
