"""Relations that configurations propose: the nearest earlier run, named for what differs."""

from __future__ import annotations

from runkit.checks.suggest import suggestions
from runkit.checks.view import ArchiveView
from runkit.records.manifest import Evidence, Manifest, Moment, Notes, Relation
from tests.checks.builders import SETTINGS, manifest_of

MODELS = manifest_of().sealed.models
SWAPPED = (MODELS[1].model_copy(update={"role": "source"}), MODELS[0].model_copy(update={"role": "target"}))


def proposed(*manifests: Manifest) -> list[tuple[str, str, str, tuple[str, ...]]]:
    found = suggestions(ArchiveView(manifests))
    return [(one.run_id, one.relation.kind, one.relation.run_id, one.relation.factors) for one in found]


def later(run_id: str, day: int, **settings: object) -> Manifest:
    started = Moment(
        at=f"2026-01-{day:02d}T00:00:00",
        zone=None,
        evidence=Evidence(path="run.json", line=None, what="start"),
    )
    return manifest_of(run_id, settings={**SETTINGS, **settings}, started=started)  # type: ignore[dict-item]


def test_one_changed_setting_is_an_ablation_of_the_earlier_run() -> None:
    runs = later("z_control", 1), later("a_mean", 2, **{"bridge.conditioning": "mean"})
    assert proposed(*runs) == [("a_mean", "ablates", "z_control", ("bridge.conditioning",))]
    assert suggestions(ArchiveView(runs))[0].command == (
        "runkit note a_mean --relate ablates:z_control --factor bridge.conditioning"
    )


def test_nothing_but_a_seed_is_a_replicate_and_an_equal_run_too() -> None:
    assert proposed(later("a", 1), later("b", 2, seed=2), later("c", 3)) == [
        ("b", "replicates", "a", ()),
        ("c", "replicates", "a", ()),
    ]


def test_the_nearest_of_several_runs_is_named() -> None:
    joint = {"bridge.conditioning": "mean", "loss.flow_weight": 0.0}
    found = proposed(later("a", 1), later("b", 2, **{"bridge.conditioning": "mean"}), later("c", 3, **joint))
    assert found[1] == ("c", "ablates", "b", ("loss.flow_weight",))


def test_exchanged_models_are_a_swap() -> None:
    assert proposed(manifest_of("a"), manifest_of("b", models=SWAPPED)) == [("b", "swaps", "a", ())]


def test_runs_that_differ_in_many_settings_or_in_size_only_are_not_related() -> None:
    many = {"bridge.conditioning": "mean", "loss.flow_weight": 0.0, "bridge.num_soft_tokens": 2}
    assert proposed(later("a", 1), later("b", 2, **many)) == []
    assert proposed(later("a", 1), later("b", 2, world_size=1, global_batch=2)) == []


def test_what_is_related_already_or_has_no_configuration_is_left_alone() -> None:
    noted = manifest_of("b", notes=Notes(relations=(Relation(kind="follows", run_id="a"),)))
    assert proposed(manifest_of("a"), noted, manifest_of("c", settings={})) == []
