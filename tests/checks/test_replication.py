"""Runs belong together when one is declared to repeat the other and nothing but seeds differs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from runkit.checks.replication import replicate_groups
from runkit.records.manifest import Manifest, Notes, Relation
from runkit.records.record import Scalar
from runkit.records.replicates import ReplicateGroup
from tests.checks.builders import SETTINGS, manifest_of


def run(run_id: str, *originals: str, seed: Scalar = 1, **settings: Scalar) -> Manifest:
    """Return a run that is declared to replicate *originals*."""
    notes = Notes(relations=tuple(Relation(kind="replicates", run_id=other) for other in originals))
    effective: Mapping[str, Scalar] = {**SETTINGS, "seed": seed, **settings}
    return manifest_of(run_id, settings=effective, notes=notes)


def test_replicates_stand_behind_the_run_that_they_repeat_by_their_seeds() -> None:
    runs = [run("c", "a", seed=10), run("a", seed=1234), run("b", "a", seed=9), run("lonely", seed=3)]
    assert replicate_groups(runs) == (ReplicateGroup(("a", "b", "c"), ("seed",)),)


def test_a_declaration_of_a_declaration_joins_too() -> None:
    runs = [run("z", seed=5), run("b", "z", seed=2), run("a", "b", seed=7)]
    assert replicate_groups(runs) == (ReplicateGroup(("z", "b", "a"), ("seed",)),)


def test_the_same_seed_again_has_no_key_that_differs() -> None:
    assert replicate_groups([run("a"), run("again", "a")]) == (ReplicateGroup(("a", "again"), ()),)


def test_two_kinds_of_seeds_are_both_named() -> None:
    runs = [
        run("a", **{"task.seed": 7}),
        run("b", "a", seed=2, **{"task.seed": 7}),
        run("c", "a", **{"task.seed": 8}),
    ]
    assert replicate_groups(runs) == (ReplicateGroup(("a", "c", "b"), ("seed", "task.seed")),)


def test_runs_that_repeat_each_other_begin_with_the_older_one() -> None:
    assert replicate_groups([run("a", "b"), run("b", "a", seed=2)]) == (
        ReplicateGroup(("a", "b"), ("seed",)),
    )


def test_one_setting_more_and_the_declaration_joins_nothing() -> None:
    assert replicate_groups([run("a"), run("b", "a", seed=2, **{"loss.flow_weight": 0.25})]) == ()


def test_equal_configurations_that_nobody_declared_are_not_joined() -> None:
    assert replicate_groups([run("a"), run("b", seed=2)]) == ()


def test_other_data_joins_nothing() -> None:
    other = run("b", "a", seed=2)
    data = other.sealed.data.model_copy(update={"name": "another task"})
    elsewhere = Manifest.sealing(other.sealed.model_copy(update={"data": data}), other.notes)
    assert replicate_groups([run("a"), elsewhere]) == ()


def test_a_configuration_that_was_not_recorded_is_not_equal() -> None:
    assert (
        replicate_groups(
            [manifest_of("a", settings={}), manifest_of("b", settings={}, notes=run("b", "a").notes)]
        )
        == ()
    )


def test_two_runs_that_agree_only_with_one_that_recorded_less_are_not_joined() -> None:
    def on(manifest: Manifest, fingerprint: str | None) -> Manifest:
        data = manifest.sealed.data.model_copy(update={"fingerprint": fingerprint})
        return Manifest.sealing(manifest.sealed.model_copy(update={"data": data}), manifest.notes)

    runs = [on(run("a"), "0" * 64), on(run("b", "a", seed=2), None), on(run("c", "b", seed=3), "1" * 64)]
    assert replicate_groups(runs) == (ReplicateGroup(("a", "b"), ("seed",)),)


def test_a_run_that_is_not_there_joins_nothing() -> None:
    assert replicate_groups([run("a", "gone"), run("b", "gone", seed=2), run("c", "c")]) == ()


def test_the_order_of_manifests_does_not_matter() -> None:
    runs = [run("a", seed=4), run("b", "a", seed=2), run("c", "b", seed=3), run("d")]
    assert {replicate_groups(order) for order in permutations(runs)} == {replicate_groups(runs)}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_no_run_is_in_two_groups_and_all_of_one_group_have_one_configuration(
    pairs: list[tuple[int, int]], weights: list[int]
) -> None:
    runs = {
        str(one): run(
            str(one), *(str(b) for a, b in pairs if a == one), seed=one, **{"loss.flow_weight": weight}
        )
        for one, weight in enumerate(weights)
    }
    groups = replicate_groups(list(runs.values()))
    members = [run_id for group in groups for run_id in group.run_ids]
    assert len(members) == len(set(members))
    for group in groups:
        assert len({weights[int(run_id)] for run_id in group.run_ids}) == 1
