"""Sabotage of relations: one change gives exactly one finding."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.checks.comparison import KeyDifference, effective_difference, is_noop
from runkit.checks.cycles import cycles
from runkit.checks.gather import FOR_RELATIONS, gather
from runkit.checks.lineage import LINEAGE
from runkit.checks.view import ArchiveView
from runkit.records.manifest import (
    Artifact,
    Code,
    Command,
    DataReference,
    Manifest,
    ModelReference,
    Notes,
    Relation,
    RelationKind,
    Software,
    Training,
    Waiver,
)
from runkit.records.record import Scalar
from tests.checks.builders import SETTINGS, changed, configured, lines, manifest_of, sha

MEAN: Mapping[str, Scalar] = {**SETTINGS, "bridge.conditioning": "mean"}


def related(
    run_id: str,
    other: str,
    *factors: str,
    kind: RelationKind = "ablates",
    settings: Mapping[str, Scalar] = MEAN,
    waivers: tuple[Waiver, ...] = (),
    **changes: object,
) -> Manifest:
    notes = Notes(relations=(Relation(kind=kind, run_id=other, factors=factors),), waivers=waivers)
    return manifest_of(run_id, settings=settings, notes=notes, **changes)


def judged(*manifests: Manifest, unreadable: frozenset[str] = frozenset()) -> list[str]:
    return lines(gather(ArchiveView(manifests, unreadable_ids=unreadable), (LINEAGE,)))


def test_an_honest_ablation_is_no_finding() -> None:
    assert judged(manifest_of(), related("ablation", "control", "bridge.conditioning")) == []


def test_a_factor_may_be_named_by_the_last_part_or_the_section_of_its_key() -> None:
    assert judged(manifest_of(), related("ablation", "control", "conditioning")) == []
    assert judged(manifest_of(), related("ablation", "control", "bridge")) == []
    assert judged(manifest_of(), related("ablation", "control", "condition")) != []


def test_an_ablation_with_the_configuration_of_its_control_is_a_replicate() -> None:
    digest = configured(SETTINGS).effective_digest[:12]
    assert judged(manifest_of(), related("b", "control", "source_align", "kl", settings=SETTINGS)) == [
        "error RK401 b notes.relations.ablates.control: b declares source_align, kl and has the same "
        "effective "
        f"configuration as its control control (effective digest {digest}… in both): they are replicates, "
        f"not an "
        "ablation"
    ]


def shared_dumps(run_id: str, *labels: str) -> tuple[Artifact, ...]:
    """Return the files of *run_id*, where the dumps called *labels* have the control's bytes."""
    paths = [f"dump_{label}.jsonl" for label in labels]
    return tuple(
        one.model_copy(update={"sha256": sha(f"control {one.path}")}) if one.path in paths else one
        for one in manifest_of(run_id).sealed.artifacts
    )


def test_equal_bytes_are_named_as_evidence_of_a_replicate() -> None:
    control = manifest_of()
    noop = related("b", "control", settings=SETTINGS, artifacts=shared_dumps("b", "0"))
    digest = configured(SETTINGS).effective_digest[:12]
    assert judged(control, noop) == [
        "error RK401 b notes.relations.ablates.control: b has the same effective configuration as its "
        "control control "
        f"(effective digest {digest}… in both; byte-identical dump_0.jsonl): they are replicates, not an "
        f"ablation",
        "warning RK406 b dump_0.jsonl: 1 dump of the untrained step 0 has the same bytes in b and control, "
        "which are "
        "not declared as replicates; both ran the same effective configuration",
    ]


def test_other_code_is_named_where_no_setting_differs() -> None:
    code = Code(git_commit="b" * 40, is_dirty=False, missing_because=None)
    software = Software(python_version=None, packages={}, code=code)
    found = judged(manifest_of(), related("b", "control", settings=SETTINGS, software=software))
    assert len(found) == 1
    assert found[0].endswith("; only the code differs (aaaaaaaa -> bbbbbbbb), and no setting says how")


def test_a_number_is_the_same_however_it_is_written() -> None:
    spelled = {**SETTINGS, "bridge.num_soft_tokens": 8.0}
    assert is_noop(manifest_of("b", settings=spelled), manifest_of())
    assert not is_noop(manifest_of("b", settings={**SETTINGS, "seed": True}), manifest_of())


def test_what_is_not_recorded_is_not_equal() -> None:
    assert not is_noop(manifest_of("a", settings={}), manifest_of("b", settings={}))
    assert judged(manifest_of(settings={}), related("b", "control", "kl", settings={})) == []


def test_a_declared_factor_that_did_not_change_is_found() -> None:
    found = judged(manifest_of(), related("b", "control", "bridge.conditioning", "loss.flow_weight"))
    assert found == [
        "error RK402 b notes.relations.ablates.control: the declared factor loss.flow_weight has the same "
        "value in "
        'both runs; what differs from control is bridge.conditioning ("cross" -> "mean")'
    ]


def test_a_declared_factor_that_no_run_has_is_found() -> None:
    found = judged(manifest_of(), related("b", "control", "bridge.conditioning", "source_align"))
    assert found == [
        "error RK402 b notes.relations.ablates.control: the declared factor source_align is a setting of "
        "neither run; "
        'what differs from control is bridge.conditioning ("cross" -> "mean")'
    ]


def test_an_inert_factor_is_found_with_the_reason() -> None:
    inert = configured(MEAN, {"loss.teacher": "no term uses a teacher"})
    found = judged(
        manifest_of(), related("b", "control", "conditioning", "loss.teacher", configuration=inert)
    )
    assert found == [
        "error RK402 b notes.relations.ablates.control: the declared factor loss.teacher changed nothing: "
        "no term uses "
        'a teacher; what differs from control is bridge.conditioning ("cross" -> "mean")'
    ]


def test_a_key_that_became_inert_is_a_consequence_and_not_a_second_factor() -> None:
    control = manifest_of(settings={**SETTINGS, "loss.teacher": "answer"})
    without = {**SETTINGS, "loss.flow_weight": 0.0}
    inert = configured(without, {"loss.teacher": "no term uses a teacher"})
    assert judged(control, related("b", "control", "loss.flow_weight", configuration=inert)) == []


def test_an_undeclared_difference_is_found() -> None:
    settings = {**MEAN, "loss.flow_weight": 0.1}
    assert judged(manifest_of(), related("b", "control", "bridge.conditioning", settings=settings)) == [
        "warning RK403 b notes.relations.ablates.control: undeclared differences to control: "
        "loss.flow_weight "
        "(0.5 -> 0.1); expected only bridge.conditioning"
    ]


def test_another_seed_is_found_and_called_chance() -> None:
    settings = {**MEAN, "seed": 2}
    assert judged(manifest_of(), related("b", "control", "bridge.conditioning", settings=settings)) == [
        "warning RK403 b notes.relations.ablates.control: undeclared differences to control: seed (1 -> 2) "
        "(the seed "
        "too, so chance differs); expected only bridge.conditioning"
    ]


def test_an_ablation_that_declares_nothing_is_found() -> None:
    assert judged(manifest_of(), related("b", "control")) == [
        "warning RK403 b notes.relations.ablates.control: undeclared differences to control: "
        "bridge.conditioning "
        '("cross" -> "mean"); expected one declared factor'
    ]


def test_several_declared_factors_are_only_noted() -> None:
    settings = {**MEAN, "loss.flow_weight": 0.1}
    both = related("b", "control", "bridge.conditioning", "loss.flow_weight", settings=settings)
    assert judged(manifest_of(), both) == [
        "info RK403 b notes.relations.ablates.control: 2 declared settings differ from control together, "
        "so that no "
        'single one explains the result: bridge.conditioning ("cross" -> "mean"), loss.flow_weight (0.5 -> '
        "0.1)"
    ]


def test_another_model_counts_as_a_difference() -> None:
    models = (
        ModelReference(role="source", name="org/reader", revision=None, sha256=None),
        ModelReference(role="target", name="org/other", revision=None, sha256=None),
    )
    found = judged(manifest_of(), related("b", "control", "bridge.conditioning", models=models))
    assert found == [
        "warning RK403 b notes.relations.ablates.control: undeclared differences to control: "
        "models.target.name "
        '("org/writer" -> "org/other"); expected only bridge.conditioning'
    ]


def test_a_model_that_the_settings_name_too_counts_once() -> None:
    control = manifest_of(settings={**SETTINGS, "target_model": "org/writer"})
    models = (ModelReference(role="target", name="org/other", revision=None, sha256=None),)
    other = manifest_of("b", settings={**SETTINGS, "target_model": "org/other"}, models=models)
    assert effective_difference(other, control).changed == (
        KeyDifference("target_model", '"org/other"', '"org/writer"'),
    )


def test_other_data_counts_as_a_difference() -> None:
    data = DataReference(name="products", fingerprint=None)
    found = effective_difference(manifest_of("b", data=data), manifest_of()).changed
    assert found == (KeyDifference("data.name", '"products"', '"sums"'),)


def test_a_relation_to_a_run_that_is_not_archived_is_found() -> None:
    assert judged(related("b", "phase1", kind="follows")) == [
        "error RK404 b notes.relations.follows.phase1: b follows phase1, which is not in the archive"
    ]


def test_a_relation_to_an_unreadable_run_is_not_unknown() -> None:
    assert judged(related("b", "phase1", kind="follows"), unreadable=frozenset({"phase1"})) == []


def test_a_circle_of_relations_is_found_once() -> None:
    circle = (
        related("a", "b", kind="follows"),
        related("b", "c", kind="supersedes"),
        related("c", "a", kind="follows"),
    )
    assert [line for line in judged(*circle) if "RK405" in line] == [
        "error RK405 a notes.relations: relations lead in a circle over 3 runs: a -> b -> c -> a"
    ]


def test_a_run_that_follows_itself_is_a_circle() -> None:
    assert judged(related("a", "a", kind="follows")) == [
        "error RK405 a notes.relations: relations lead in a circle over 1 run: a -> a"
    ]


def test_replicates_may_name_each_other() -> None:
    assert judged(related("a", "b", kind="replicates"), related("b", "a", kind="replicates")) == []


def test_a_chain_of_a_hundred_thousand_runs_does_not_exhaust_the_stack() -> None:
    edges = {str(number): (str(number + 1),) for number in range(100_000)}
    assert cycles({**edges, "100000": ()}) == []
    assert len(cycles({**edges, "100000": ("0",)})[0]) == 100_001


@given(st.dictionaries(st.sampled_from("abcdef"), st.frozensets(st.sampled_from("abcdef"))))
def test_each_cycle_is_a_walk_and_none_is_left_when_its_knots_are_cut(
    graph: dict[str, frozenset[str]],
) -> None:
    edges = {node: tuple(sorted(graph.get(node, ()))) for node in "abcdef"}
    found = cycles(edges)
    for cycle in found:
        assert all(after in edges[node] for node, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        assert cycle[0] == min(cycle)
    reaches = {node: _reachable(node, edges) for node in edges}
    in_a_circle = {node for node in edges if node in reaches[node]}
    knots = {frozenset(other for other in reaches[node] if node in reaches[other]) for node in in_a_circle}
    assert len(found) == len(knots)


def _reachable(start: str, edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += edges[node]
    return reached


def test_equal_trained_dumps_of_different_configurations_are_found() -> None:
    ablation = related("b", "control", "conditioning", artifacts=shared_dumps("b", "0", "20"))
    assert judged(manifest_of(), ablation) == [
        "error RK406 b dump_0.jsonl: 2 dumps (also dump_20.jsonl) have the same bytes in b and control, "
        "which are not "
        "declared as replicates"
    ]


def test_different_configurations_may_start_from_the_same_untrained_weights() -> None:
    ablation = related("b", "control", "conditioning", artifacts=shared_dumps("b", "0"))
    assert judged(manifest_of(), ablation) == []


def test_equal_dumps_are_told_of_the_run_that_names_the_other() -> None:
    control = manifest_of("control")
    first_by_name = related("a", "control", "conditioning", artifacts=shared_dumps("a", "20"))
    assert [line.split()[2] for line in judged(control, first_by_name)] == ["a"]


def test_declared_replicates_may_have_equal_dumps_over_any_way() -> None:
    runs = [
        manifest_of("control"),
        related("b", "control", kind="replicates", settings=SETTINGS, artifacts=shared_dumps("b", "20")),
        related("c", "b", kind="replicates", settings=SETTINGS, artifacts=shared_dumps("c", "20")),
    ]
    assert judged(*runs) == []


def test_many_runs_with_one_dump_give_one_finding_a_run_and_not_one_a_pair() -> None:
    runs = [manifest_of(f"r{index:02}", artifacts=shared_dumps(f"r{index:02}", "20")) for index in range(30)]
    assert len(judged(*runs)) == 29


def test_runs_on_other_items_are_not_alike() -> None:
    other = manifest_of("b").sealed.evaluations
    ablation = related(
        "b", "control", "conditioning", evaluations=changed(other, "final", items_sha256=sha("other items"))
    )
    assert judged(manifest_of(), ablation) == [
        "warning RK407 b notes.relations.ablates.control: b and its control control differ in the final "
        "items "
        "themselves (20 in both, other questions, answers or order)"
    ]


def test_another_world_size_and_batch_are_told_together_and_are_no_factors() -> None:
    settings = {**MEAN, "world_size": 1, "global_batch": 2}
    one = Command(argv=None, launcher=None, world_size=1, environment={}, missing_because="not recorded")
    assert judged(manifest_of(), related("b", "control", "conditioning", settings=settings, command=one)) == [
        "warning RK407 b notes.relations.ablates.control: b and its control control differ in global batch "
        "(8 -> 2); "
        "world size (4 -> 1); the training samples seen (160 -> 40)"
    ]


def test_a_world_size_that_only_the_command_records_counts() -> None:
    one = Command(argv=None, launcher=None, world_size=1, environment={}, missing_because="not recorded")
    assert judged(manifest_of(), related("b", "control", "conditioning", command=one)) == [
        "warning RK407 b notes.relations.ablates.control: b and its control control differ in world size "
        "(4 -> 1)"
    ]


def test_a_declared_batch_is_a_factor() -> None:
    settings = {**SETTINGS, "global_batch": 2}
    assert judged(manifest_of(), related("b", "control", "global_batch", settings=settings)) == []


def test_a_superseded_control_is_found() -> None:
    newer = related("newer", "control", kind="supersedes")
    ablation = related("b", "control", "conditioning", settings={**SETTINGS, "bridge.conditioning": "pool"})
    assert judged(manifest_of(), newer, ablation) == [
        "warning RK408 b notes.relations.ablates.control: b ablates control, which newer supersedes"
    ]


def test_the_run_that_supersedes_may_follow_what_it_supersedes() -> None:
    both = (Relation(kind="supersedes", run_id="control"), Relation(kind="follows", run_id="control"))
    assert judged(manifest_of(), manifest_of("newer", settings=MEAN, notes=Notes(relations=both))) == []


RUNS = (
    manifest_of(),
    related("b", "control", "source_align", settings=SETTINGS, artifacts=shared_dumps("b", "0")),
    related("c", "control", "conditioning", artifacts=shared_dumps("c", "0", "20")),
    related("d", "nowhere"),
    related("e", "f", kind="follows"),
    related(
        "f",
        "e",
        kind="follows",
        waivers=(Waiver(rule="RK405", reason="known"), Waiver(rule="RK404", reason="x")),
    ),
)


@given(st.permutations(RUNS))
def test_the_order_of_manifests_does_not_matter(shuffled: list[Manifest]) -> None:
    expected = gather(ArchiveView(RUNS), FOR_RELATIONS)
    assert len(expected) > 5
    assert gather(ArchiveView(tuple(shuffled)), FOR_RELATIONS) == expected


@pytest.mark.parametrize("family", FOR_RELATIONS, ids=lambda family: family.name)
def test_an_empty_archive_gives_no_finding(family: object) -> None:
    assert gather(ArchiveView(()), (family,)) == ()  # type: ignore[arg-type]


def trained(run_id: str, *losses: float) -> Training:
    steps = tuple(range(5, 5 * len(losses) + 1, 5))
    return Training(planned_steps=20, last_step=20, evidence=None, loss_steps=steps, loss_values=losses)


def test_equal_first_losses_are_evidence_of_a_replicate() -> None:
    control = manifest_of(training=trained("control", 4.8223, 3.4791))
    noop = related("b", "control", settings=SETTINGS, training=trained("b", 4.8225, 3.4771))
    found = judged(control, noop)
    assert len(found) == 1
    assert "loss 4.8225 and 4.8223 at step 5): they are replicates" in found[0]
    other = judged(control, related("b", "control", settings=SETTINGS, training=trained("b", 4.9, 3.4771)))
    assert "loss" not in other[0]


def test_a_change_that_leaves_every_byte_as_it_was_is_no_ablation() -> None:
    labels = ("0", "10", "20", "final")
    copied = related("b", "control", "bridge.conditioning", artifacts=shared_dumps("b", *labels))
    found = judged(manifest_of(), copied)
    assert [line.split()[1] for line in found] == ["RK401", "RK406"]
    assert found[0] == (
        'error RK401 b notes.relations.ablates.control: b changes bridge.conditioning ("cross" -> "mean") '
        "against its control control, and nothing that was measured differs: all 3 dumps of trained weights "
        "are byte-identical; what changed had no effect, or one run is a copy of the other"
    )


def test_one_trained_dump_that_differs_shows_an_effect() -> None:
    late = related("b", "control", "bridge.conditioning", artifacts=shared_dumps("b", "0", "10", "20"))
    assert [line.split()[1] for line in judged(manifest_of(), late)] == ["RK406"]


def test_equal_losses_speak_where_no_dump_does() -> None:
    def run(run_id: str, *losses: float, **changes: object) -> Manifest:
        facts = {"artifacts": (), "training": trained(run_id, *losses)} | changes
        if run_id == "control":
            return manifest_of(**facts)  # type: ignore[arg-type]
        return related(run_id, "control", "bridge.conditioning", **facts)  # type: ignore[arg-type]

    found = judged(run("control", 3.0, 2.0, 1.0), run("b", 3.0, 2.0, 1.0))
    assert len(found) == 1
    assert "nothing that was measured differs: all 3 logged losses are equal" in found[0]
    assert judged(run("control", 3.0, 2.0, 1.0), run("b", 3.0, 2.0, 1.5)) == []
    assert judged(run("control", 3.0, 2.0), run("b", 3.0, 2.0)) == []


def test_a_replicate_may_change_the_seed_and_nothing_else() -> None:
    seeded = related("b", "control", kind="replicates", settings={**SETTINGS, "seed": 2})
    assert judged(manifest_of(), seeded) == []
    other = related(
        "b", "control", kind="replicates", settings={**SETTINGS, "seed": 2, "loss.flow_weight": 1.0}
    )
    assert judged(manifest_of(), other) == [
        "warning RK403 b notes.relations.replicates.control: b is declared as a replicate of control and "
        "differs in loss.flow_weight (0.5 -> 1); expected nothing but the seed"
    ]


MODELS = manifest_of().sealed.models
SWAPPED = (MODELS[1].model_copy(update={"role": "source"}), MODELS[0].model_copy(update={"role": "target"}))


def test_a_swap_exchanges_the_models_and_nothing_else() -> None:
    assert (
        judged(manifest_of(), related("b", "control", kind="swaps", settings=SETTINGS, models=SWAPPED)) == []
    )
    assert judged(manifest_of(), related("b", "control", kind="swaps", models=SWAPPED)) == [
        "warning RK403 b notes.relations.swaps.control: b is declared as a swap of control and differs also "
        'in bridge.conditioning ("cross" -> "mean"); expected only the two models to be exchanged'
    ]
    assert judged(manifest_of(), related("b", "control", kind="swaps", settings=SETTINGS)) == [
        "error RK402 b notes.relations.swaps.control: b is declared as a swap of control, and its models are "
        "not exchanged: org/reader to org/writer there, org/reader to org/writer here"
    ]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"split": "dev"}, "the split of the final items (test -> dev)"),
        ({"checkpoint": "best"}, "the weights that were evaluated (last -> best)"),
        ({"noise_draw": None}, "the evaluation noise (draw 0 -> not seeded)"),
        ({"noise_draw": 3}, "the evaluation noise (draw 0 -> draw 3)"),
    ],
)
def test_final_evaluations_that_were_made_differently_are_found(change: dict[str, object], what: str) -> None:
    evaluations = changed(manifest_of("b").sealed.evaluations, "final", **change)
    found = judged(manifest_of(), related("b", "control", "bridge.conditioning", evaluations=evaluations))
    assert found == [
        f"warning RK407 b notes.relations.ablates.control: b and its control control differ in {what}"
    ]


def test_the_training_samples_are_counted_where_the_batch_differs() -> None:
    small = {**MEAN, "global_batch": 2, "world_size": 1}
    found = judged(manifest_of(), related("b", "control", "bridge.conditioning", settings=small))
    assert len(found) == 1
    assert found[0].endswith("; the training samples seen (160 -> 40)")
