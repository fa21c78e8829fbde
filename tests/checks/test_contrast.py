"""Two runs side by side: what differs is named with both values, and what nobody recorded is not equal."""

from __future__ import annotations

from dataclasses import replace

from runkit.checks.contrast import Fact, RunContrast, contrast
from runkit.records.manifest import Code, Command, Configuration, Evidence, Gpu, Hardware, Software, Training
from runkit.records.record import canonical_digest
from tests.checks.builders import GOLDS, SETTINGS, answers, manifest_of, outcomes_for

SECTIONS = (
    "configuration",
    "settings without effect",
    "models and data",
    "code",
    "environment",
    "hardware",
    "course",
    "evaluations",
    "dumps",
)


def differing(found: RunContrast) -> dict[str, list[Fact]]:
    return {section.name: list(section.differing) for section in found.sections if section.differing}


def test_a_run_and_its_copy_under_another_name_differ_in_nothing_but_their_files() -> None:
    found = contrast(manifest_of("a"), manifest_of("b"))
    assert tuple(section.name for section in found.sections) == SECTIONS
    assert set(differing(found)) == {"dumps"}
    assert [fact.name for fact in found.section("hardware").unknown] == [
        "GPUs",
        "CPU",
        "CPUs",
        "memory bytes",
    ]
    assert found.section("configuration").equal[0] == Fact("bridge.conditioning", "cross", "cross")


def test_each_kind_of_difference_is_named_with_both_values() -> None:
    other = manifest_of(
        "b",
        settings={**SETTINGS, "bridge.conditioning": "mean", "loss.flow_weight": 1},
        command=Command(
            argv=("go",), launcher="torchrun", world_size=2, environment={"A": "1"}, missing_because=None
        ),
        software=Software(
            python_version="3.12.1",
            packages={"torch": "2.13.0"},
            code=Code(git_commit="b" * 40, is_dirty=True, missing_because=None),
        ),
        hardware=Hardware(
            gpus=(Gpu(name="H100", count=2, memory_bytes=None),),
            cpu_model=None,
            num_cpus=8,
            memory_bytes=None,
            evidence=None,
        ),
    )
    found = differing(contrast(manifest_of("a"), other))
    assert found["configuration"] == [
        Fact("bridge.conditioning", "cross", "mean"),
        Fact("loss.flow_weight", "0.5", "1"),
    ]
    assert found["code"] == [Fact("commit", "a" * 40, "b" * 40), Fact("uncommitted changes", "false", "true")]
    assert found["environment"] == [
        Fact("python", None, "3.12.1"),
        Fact("package torch", None, "2.13.0"),
        Fact("variable A", None, "1"),
    ]
    assert found["hardware"] == [Fact("GPUs", None, "2 x H100"), Fact("CPUs", None, "8")]
    assert found["course"][:3] == [
        Fact("command", "train", "go"),
        Fact("launcher", None, "torchrun"),
        Fact("world size", "4", "2"),
    ]


def test_a_number_written_in_two_ways_is_one_number() -> None:
    found = contrast(
        manifest_of("a", settings={**SETTINGS, "x": 1}), manifest_of("b", settings={**SETTINGS, "x": 1.0})
    )
    assert found.section("configuration").differing == ()


def test_a_setting_without_effect_is_no_difference_of_configuration() -> None:
    runs = [
        Configuration(
            logged={"decode_interval": interval, "save_path": path},
            effective={"seed": 1},
            effective_digest=canonical_digest({"seed": 1}),
            inert={"decode_interval": "decode_loss_weight is 0", "save_path": "a path"},
            evidence=Evidence(path="train.log", line=1, what="the settings"),
        )
        for interval, path in (("50", "a/b"), ("200", "c/d"))
    ]
    first, second = (manifest_of(name, configuration=one) for name, one in zip("ab", runs, strict=True))
    found = differing(contrast(first, second))
    assert "configuration" not in found
    assert found["settings without effect"] == [
        Fact("decode_interval", "50", "200", "decode_loss_weight is 0"),
        Fact("save_path", "a/b", "c/d", "a path"),
    ]


def test_a_key_that_is_younger_than_one_of_the_runs_is_filled_in() -> None:
    old = manifest_of("a")
    own = old.sealed.provenance.model_copy(update={"reader": "runkit"})
    old = manifest_of("a", provenance=own)
    new = manifest_of("b", provenance=own, settings={**SETTINGS, "bridge.kind": "linear"})
    assert differing(contrast(old, new))["configuration"] == [Fact("bridge.kind", "dit", "linear")]


def test_losses_say_where_they_part_and_by_how_much() -> None:
    first, second = (
        manifest_of(
            name,
            training=Training(
                planned_steps=20, last_step=20, evidence=None, loss_steps=(5, 10, 20), loss_values=values
            ),
        )
        for name, values in (("a", (4.0, 2.0, 1.0)), ("b", (4.0, 2.5, 1.0)))
    )
    losses = [fact for fact in contrast(first, second).section("course").facts if "loss" in fact.name]
    assert losses == [
        Fact("loss at step 5", "4", "4"),
        Fact("loss at step 10", "2", "2.5", "relative difference 2e-01"),
        Fact("logged losses in common, and how many are equal", "all 3", "2 of 3"),
    ]


def test_who_wins_which_item_is_told_item_by_item() -> None:
    first, second = manifest_of("a"), manifest_of("b")
    swapped = ("0", *GOLDS[1:13], *answers(12)[13:])
    outcomes = {"a": outcomes_for("a"), "b": outcomes_for("b", final=swapped)}
    found = contrast(first, second, outcomes)
    bridged = next(one for one in found.outcomes if (one.evaluation, one.system) == ("final", "bridged"))
    assert (bridged.won_by_first, bridged.won_by_second) == (("item-0",), ("item-12",))
    assert tuple(bridged.counts) == (11, 1, 1, 7)
    assert (bridged.p_exact, bridged.p_midp) == (1.0, 1.0)
    mirrored = contrast(second, first, outcomes).outcomes
    back = next(one for one in mirrored if (one.evaluation, one.system) == ("final", "bridged"))
    assert (back.won_by_first, back.won_by_second) == (("item-12",), ("item-0",))


def test_other_items_are_not_compared_and_the_reason_is_given() -> None:
    ours, theirs = outcomes_for("a"), outcomes_for("b")
    other = {**theirs, "final": replace(theirs["final"], items=tuple(reversed(theirs["final"].items)))}
    other.pop("20")
    found = contrast(manifest_of("a"), manifest_of("b"), {"a": ours, "b": other})
    assert {one.evaluation for one in found.outcomes} == {"0", "10"}
    assert found.not_paired == (
        Fact("20", "n = 20", None, "only one of the runs has outcomes of it"),
        Fact("final", "n = 20", "n = 20", "the items are not the same"),
    )
