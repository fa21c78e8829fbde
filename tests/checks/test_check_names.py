"""Names against configurations: one wrong word makes one finding, and a true name makes none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runkit.checks.gather import gather
from runkit.checks.names import NAMES, contradictions
from runkit.checks.view import ArchiveView
from runkit.records.manifest import ModelReference
from runkit.records.record import Scalar
from tests.checks.builders import SETTINGS, lines, manifest_of

SETTINGS_OF_ALL: Mapping[str, Scalar] = {
    **SETTINGS,
    "prompt.mode": "soft_plus_text",
    "bridge.slot_positions": True,
    "loss.nll_weight": 1.0,
    "loss.info_nce_weight": 0.05,
    "loss.kl_weight": 0.0,
}
PAIR = (
    ModelReference(role="source", name="org/Mistral-7B-Instruct", revision=None, sha256=None),
    ModelReference(role="target", name="org/Meta-Llama-3.1-8B", revision=None, sha256=None),
)

WRONG = {
    "softonly_3": "soft_only, the configuration has prompt.mode = soft_plus_text",
    "run_soft-only": "soft_only, the configuration has prompt.mode = soft_plus_text",
    "mean_pool": "mean, the configuration has bridge.conditioning = cross",
    "abl_kl_only": "kl only, the configuration has loss.flow_weight = 0.5, loss.info_nce_weight = 0.05",
    "no_flow": "no flow, the configuration has loss.flow_weight = 0.5",
    "pocket_no_slots": "no slots, the configuration has bridge.slot_positions = true",
    "pocket_seed2": "seed 2, the configuration has 1",
    "big_8gpus": "world size 8, the configuration has 4",
    "llama_to_mistral": "llama to mistral, the source is org/Mistral-7B-Instruct",
    "llama2mistral_v2": "llama to mistral, the source is org/Mistral-7B-Instruct",
}

TRUE = (
    "control", "soft_plus_text", "cross_attention", "no_kl", "without_nothing", "seed1", "pocket_seed_1",
    "run_4gpus", "knowledge",
    "mistral_to_llama", "mistral2llama", "mistral-llama2", "klonly2b", "flow", "nose_flow",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_name_that_says_what_was_not_run_is_found(name: str) -> None:
    run = manifest_of(name, settings=SETTINGS_OF_ALL, models=PAIR)
    assert lines(gather(ArchiveView((run,)), (NAMES,))) == [
        f"warning RK409 {name} sealed.run_id: the name {name!r} says {WRONG[name]}"
    ]


@pytest.mark.parametrize("name", TRUE)
def test_a_name_that_says_nothing_wrong_is_no_finding(name: str) -> None:
    assert list(contradictions(name, manifest_of(settings=SETTINGS_OF_ALL, models=PAIR))) == []


def test_the_folder_that_the_log_names_is_a_name_too() -> None:
    run = manifest_of("a", settings={**SETTINGS, "seed": 5})
    folder = run.sealed.provenance.model_copy(update={"logged_run_directory": "runs/x/ablB_seed7"})
    found = gather(
        ArchiveView((manifest_of("a", settings={**SETTINGS, "seed": 5}, provenance=folder),)), (NAMES,)
    )
    assert [(one.place, one.message) for one in found] == [
        (
            "sealed.provenance.logged_run_directory",
            "the name 'ablB_seed7' says seed 7, the configuration has 5",
        )
    ]


def test_a_name_is_true_when_the_setting_is_as_it_says() -> None:
    settings = {
        **SETTINGS_OF_ALL,
        "loss.flow_weight": 0.0,
        "prompt.mode": "soft_only",
        "bridge.conditioning": "mean",
    }
    run = manifest_of(settings=settings, models=PAIR[::-1])
    for name in ("no_flow", "soft_only", "mean_pool"):
        assert list(contradictions(name, run)) == []
    swapped = tuple(
        one.model_copy(update={"role": role}) for one, role in zip(PAIR, ("target", "source"), strict=True)
    )
    assert list(contradictions("llama_to_mistral", manifest_of(models=swapped))) == []
