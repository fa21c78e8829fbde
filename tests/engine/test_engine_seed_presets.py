"""The five experiments that the project grew from, in two variants: which are one, how the others differ."""

import pytest

from runkit.engine import config

SEED = ["phase1_full", "ablB_kl_only", "ablC_kl_prompt", "phase2_swap_plus", "phase2_swap_only"]
SWAP = {"pair.source", "pair.target"}


def effective(name):
    return config.effective(config.load_preset(name))


def differing(one, other):
    first, second = effective(one), effective(other)
    return {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}


def test_every_experiment_has_both_variants():
    assert {f"{name}_{variant}" for name in SEED for variant in ("as_run", "intended")} < set(
        config.preset_names()
    )


def test_the_three_rows_of_the_ablation_were_one_configuration():
    digests = {config.digest(config.load_preset(f"{name}_as_run")) for name in SEED[:3]}
    assert len(digests) == 1
    assert all(config.preset_notes(f"{name}_as_run").ablates is None for name in SEED[:3])


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        ("phase1_full_as_run", "phase2_swap_plus_as_run", {*SWAP, "loss.prompt_alignment_weight"}),
        ("phase2_swap_plus_as_run", "phase2_swap_only_as_run", {"prompt.mode"}),
        (
            "phase1_full_intended",
            "ablB_kl_only_intended",
            {"source_align.kind", "loss.prompt_alignment_weight", "loss.info_nce_weight"},
        ),
        (
            "phase1_full_intended",
            "ablC_kl_prompt_intended",
            {"source_align.kind", "loss.info_nce_weight"},
        ),
        ("ablB_kl_only_intended", "ablC_kl_prompt_intended", {"loss.prompt_alignment_weight"}),
        (
            "phase1_full_intended",
            "phase2_swap_plus_intended",
            {*SWAP, "loss.prompt_alignment_weight", "loss.teacher"},
        ),
        ("phase2_swap_plus_intended", "phase2_swap_only_intended", {"prompt.mode"}),
        (
            "phase1_full_as_run",
            "phase1_full_intended",
            {
                "source_align.trainable",
                "bridge.conditioning",
                "bridge.slot_positions",
                "bridge.rms",
                "sampler.train_steps",
                "sampler.noise_std",
                "loss.flow_weight",
                "loss.teacher",
            },
        ),
    ],
)
def test_any_two_differ_in_exactly_these_keys(one, other, keys):
    assert differing(one, other) == keys


@pytest.mark.parametrize("name", SEED)
def test_as_run_has_no_flow_and_no_slots_and_intended_has_both(name):
    as_run, intended = effective(f"{name}_as_run"), effective(f"{name}_intended")
    assert (as_run["loss.flow_weight"], as_run["bridge.slot_positions"]) == (0.0, False)
    assert (intended["loss.flow_weight"], intended["bridge.slot_positions"]) == (0.1, True)
    assert as_run["bridge.rms"] == "legacy_clamped"
    assert intended["bridge.rms"] == "exact"
