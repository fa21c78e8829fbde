"""One number of a run by its name: parts may be left out while the rest names one, else all are listed."""

from __future__ import annotations

from typing import Any

import pytest

from runkit.errors import UnknownName, UsageError
from runkit.records.manifest import SealedFacts
from runkit.records.measurement import Metric, Protocol, Score, System, Weights
from runkit.records.metrics import metric_named
from runkit.records.selector import Selector, primary, select, spelled
from tests.checks.builders import facts_of

FINAL = Weights()


def score(name: str, value: float | None = 0.5, *, task: str = "run", **more: Any) -> Score:
    metric = more.pop("metric", metric_named(name, "scalar", values=[]))
    why = None if value is not None else "nan"
    evidence = "logged" if value is not None else None
    return Score(metric=metric, task=task, value=value, evidence=evidence, missing_because=why, **more)


def at(step: int, kind: Any = "live") -> Weights:
    return Weights(step=step, kind=kind, is_final=False)


def run(*scores: Score, primary: str | None = None, systems: tuple[System, ...] = ()) -> SealedFacts:
    protocol = Protocol(primary=primary, systems=systems)
    return facts_of("r", {}, evaluations=(), scores=scores, series=(), protocol=protocol)


COURSE = run(
    score("accuracy", 0.2, weights=at(10)),
    score("accuracy", 0.7, weights=at(20)),
    score("accuracy", None, weights=at(30)),
    score("accuracy", 0.6, weights=at(40, "last")),
    score("accuracy", 0.65, weights=Weights(kind="best", step=20)),
    score("loss", 3.0, weights=at(10)),
    score("loss", 1.0, weights=at(20)),
    score("loss", 2.0),
)
SYSTEMS = run(
    score("f1", 0.8, task="squad", system="model"),
    score("f1", 0.3, task="squad", system="small"),
    score("f1", 0.4, task="nq", system="small"),
    systems=(System(name="model", role="trained"), System(name="small", role="reference")),
)
CONDITIONS = run(
    score("exact_match", 0.1, task="gsm8k", conditions={"filter": "strict"}),
    score("exact_match", 0.2, task="gsm8k", conditions={"filter": "flexible"}),
)


@pytest.mark.parametrize(
    ("facts", "text", "value"),
    [
        (COURSE, "accuracy", 0.65), (COURSE, "accuracy@final", 0.65), (COURSE, "accuracy@best", 0.65),
        (COURSE, "accuracy@last", 0.6), (COURSE, "accuracy@10", 0.2), (COURSE, "accuracy@20", 0.7),
        (COURSE, "accuracy@max", 0.7), (COURSE, "loss@max", 1.0), (COURSE, "loss", 2.0),
        (COURSE, " model:run/loss@10 ", 3.0), (COURSE, "run/loss@20", 1.0),
        (SYSTEMS, "squad/f1", 0.8), (SYSTEMS, "small:squad/f1", 0.3), (SYSTEMS, "nq/f1", 0.4),
        (SYSTEMS, "model:f1", 0.8), (SYSTEMS, "f1", 0.8),
        (CONDITIONS, "gsm8k/exact_match{filter=strict}", 0.1),
        (CONDITIONS, "exact_match{filter = flexible}@final", 0.2),
    ],
)  # fmt: skip
def test_a_selector_names_one_score(facts: SealedFacts, text: str, value: float) -> None:
    assert select(facts, text).score.value == value


def test_the_best_of_steps_says_among_how_many_it_was_chosen() -> None:
    assert select(COURSE, "accuracy@max").num_candidates == 3
    assert select(COURSE, "loss@max").num_candidates == 2
    assert select(COURSE, "loss").num_candidates == 1


@pytest.mark.parametrize("facts", [COURSE, SYSTEMS, CONDITIONS])
def test_the_full_name_of_each_score_names_it(facts: SealedFacts) -> None:
    for one in facts.scores or ():
        assert select(facts, spelled(one)).score == one


@pytest.mark.parametrize(
    ("facts", "text", "message"),
    [
        (CONDITIONS, "exact_match",
         "exact_match is not one score of r; name one of gsm8k/exact_match{filter=flexible}@final, "
         "gsm8k/exact_match{filter=strict}@final"),
        (SYSTEMS, "small:f1",
         "small:f1 is not one score of r; name one of small:nq/f1@final, small:squad/f1@final"),
        (COURSE, None, "the measure is not one score of r; name one of accuracy@final, loss@final"),
        (COURSE, "loss@best",
         "loss@best: r has no such score; it has accuracy@10, accuracy@20, accuracy@30, accuracy@40, "
         "accuracy@final, loss@10, loss@20, loss@final"),
        (CONDITIONS, "exact_match{filter=strict}@max",
         "exact_match{filter=strict}@max: r was not measured in the course of its training"),
        (run(score("mystery", 1.0, weights=at(1)), score("mystery", 2.0, weights=at(2))), "mystery@max",
         "mystery@max: nobody said whether higher or lower mystery is better, so no step is the best; say it "
         "in runkit.toml, [metrics]"),
        (run(), None, "the measure: r has no such score; it has none at all"),
    ],
)  # fmt: skip
def test_what_names_several_or_none_lists_the_candidates(
    facts: SealedFacts, text: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        select(facts, text)
    assert str(caught.value) == message


def test_a_misspelled_measure_names_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        select(SYSTEMS, "sqad/f1")
    assert str(caught.value) == "there is no measure of r 'sqad/f1'; did you mean 'squad/f1'"


@pytest.mark.parametrize("text", ["", "@final", "f1@", "f1@@1", "f1{", "f1{a}", "f1@-1", "f1@1.5", "{a=b}"])
def test_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Selector.parse(text)
    assert str(caught.value) == (
        f"{text!r} names no measure; expected [system:][task/]metric[{{condition=value}}]"
        "[@final|best|last|max|STEP], for example gsm8k/exact_match or bridged:accuracy@final"
    )


def test_a_run_is_judged_by_what_it_says_or_by_its_only_final_score() -> None:
    two = (score("f1", 0.1), score("bleu", 20.0))
    assert primary(run(*two)) is None
    assert primary(run(*two, primary="bleu")) == two[1]
    assert primary(run(two[0], score("f1", 0.05, weights=at(3)))) == two[0]
    assert primary(run(*two, primary="rouge")) is None


PASS = run(
    score("pass@1", 0.3, task="humaneval"),
    score("pass@10", 0.6, task="humaneval"),
    score("pass@1", 0.1, task="humaneval", weights=at(5)),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("pass@1", 0.3), ("humaneval/pass@1", 0.3), ("humaneval/pass@10@final", 0.6), ("pass@1@5", 0.1),
    ],
)  # fmt: skip
def test_a_metric_may_have_an_at_of_its_own(text: str, value: float) -> None:
    assert select(PASS, text).score.value == value
    for one in PASS.scores or ():
        assert select(PASS, spelled(one)).score == one


def test_without_such_a_metric_the_part_behind_the_at_is_a_step() -> None:
    facts = run(score("pass", 0.9, weights=at(1)), score("pass", 0.8))
    assert select(facts, "pass@1").score.value == 0.9


def test_names_with_signs_of_the_form_are_found_by_their_full_names() -> None:
    """A task ``a/b`` of a harness, a metric with a colon: whole names win over their parts."""
    odd = run(
        score("f1", 0.1, task="a/b"),
        score("x", 0.2, metric=Metric(name="recall:5", kind="scalar")),
        score("f1", 0.3, task="b"),
    )
    assert [select(odd, spelled(one)).score.value for one in odd.scores or ()] == [0.1, 0.2, 0.3]
