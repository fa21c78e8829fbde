"""The sealed manifests of this repository seen as scores: their texts and seals stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from runkit.archive.reading import read_outcomes
from runkit.archive.workspace import Workspace
from runkit.errors import UsageError
from runkit.records.format1 import items_of, protocol_of, scores_of
from runkit.records.items import score_of_items
from runkit.records.manifest import Manifest
from runkit.records.selector import select, spelled

REPOSITORY = Path(__file__).resolve().parents[2]
PATHS = tuple(sorted((REPOSITORY / "manifests").glob("*.json")))
MANIFESTS = {path.stem: Manifest.parse(path.read_text("utf-8"), origin=path.name) for path in PATHS}
of_each = pytest.mark.parametrize("run_id", MANIFESTS)


def test_the_archive_has_the_ninety_runs_of_format_1() -> None:
    assert len(MANIFESTS) == 90
    assert {manifest.sealed.scores for manifest in MANIFESTS.values()} == {None}


@of_each
def test_text_and_seal_are_the_same_to_the_byte(run_id: str) -> None:
    manifest = MANIFESTS[run_id]
    assert manifest.sealed.content_digest() == manifest.seal.digest
    assert manifest.to_json() == (REPOSITORY / "manifests" / f"{run_id}.json").read_text("utf-8")


@of_each
def test_a_score_stands_for_each_system_of_each_evaluation(run_id: str) -> None:
    facts = MANIFESTS[run_id].sealed
    expected = [
        (system, evaluation.label, evaluation.step)
        for evaluation in facts.evaluations
        for system in dict.fromkeys(one.system for one in (*evaluation.systems, *evaluation.logged))
    ]
    found = scores_of(facts)
    assert [(score.system, score.weights.label, score.weights.step) for score in found] == expected
    assert len({score.key for score in found}) == len(found)


@of_each
def test_a_recomputed_value_is_correct_out_of_n(run_id: str) -> None:
    facts = MANIFESTS[run_id].sealed
    counted = {
        (one.system, evaluation.label): one for evaluation in facts.evaluations for one in evaluation.systems
    }
    for score in scores_of(facts):
        if score.evidence == "recomputed":
            said = counted[score.system, score.weights.label]
            assert (score.value, score.n) == (said.correct / said.n, said.n)
            assert score.counts is not None
            assert score.counts.correct == said.correct
        else:
            assert (score.system, score.weights.label) not in {key for key, one in counted.items() if one.n}


@of_each
def test_the_full_name_of_a_score_names_it_and_no_other(run_id: str) -> None:
    facts = MANIFESTS[run_id].sealed
    for score in scores_of(facts):
        assert select(facts, spelled(score)).score == score


@of_each
def test_a_run_is_judged_by_its_final_bridged_accuracy(run_id: str) -> None:
    facts = MANIFESTS[run_id].sealed
    assert protocol_of(facts).primary is not None
    final = facts.evaluation("final")
    logged = [one for one in final.logged if one.system == "bridged"] if final is not None else []
    if final is None or (final.score("bridged") is None and not logged):
        with pytest.raises(UsageError):
            select(facts, None)
        return
    found = select(facts, None).score
    assert (found.system, found.metric.name, found.weights.label) == ("bridged", "accuracy", "final")
    counted = final.score("bridged")
    if counted is not None and counted.n:
        assert found.value == counted.correct / counted.n


@pytest.mark.parametrize("run_id", sorted(MANIFESTS)[::9])
def test_the_items_of_the_kept_outcomes_give_the_scores_back(run_id: str) -> None:
    manifest = MANIFESTS[run_id]
    items = items_of(manifest.sealed, read_outcomes(Workspace(REPOSITORY), manifest))
    scores = {score.key: score for score in scores_of(manifest.sealed) if score.evidence == "recomputed"}
    assert items.keys() == scores.keys()
    for key, one in items.items():
        again, said = score_of_items(one, evidence="recomputed", path=scores[key].path), scores[key]
        assert (again.value, again.n, again.counts) == (said.value, said.n, said.counts)
