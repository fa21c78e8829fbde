"""A small archive over three training seeds, and the specification that goes with it."""

from __future__ import annotations

from runkit.records.record import Scalar
from runkit.records.seedspec import SeedRow, SeedTableSpec
from runkit.tables.measured import ArchivedRun
from tests.tables.building import CONTROL_SETTINGS, archived, flipped, scattered

SEEDS = (1234, 1, 2)


def trained(run_id: str, seed: int, final: tuple[bool, ...], **settings: Scalar) -> ArchivedRun:
    """Return a run of the control's configuration with *settings* on top."""
    return archived(
        run_id, final=final, settings={**CONTROL_SETTINGS, "seed": seed, **settings}, split="test"
    )


def seed_archive() -> dict[str, ArchivedRun]:
    """Return a control, an ablation that loses much and one that loses nothing on average."""
    runs = []
    for index, seed in enumerate(SEEDS):
        final = scattered(160 + 4 * index, seed=seed)
        runs.append(trained(f"control_{seed}", seed, final))
        mean = flipped(final, lost=44 - index, won=4, seed=seed)
        runs.append(trained(f"mean_{seed}", seed, mean, **{"bridge.conditioning": "mean"}))
        even = flipped(final, lost=6, won=6, seed=seed)
        runs.append(trained(f"no_kl_{seed}", seed, even, **{"loss.kl": False, "loss.prompt": False}))
    return {run.run_id: run for run in runs}


SPEC = SeedTableSpec(
    format=1,
    kind="seeds",
    caption="Over seeds.",
    label="tab:seeds",
    control="Control",
    rows=(
        SeedRow(label="Control", runs=tuple(f"control_{seed}" for seed in SEEDS)),
        SeedRow(label="Mean pooling", runs=tuple(f"mean_{seed}" for seed in reversed(SEEDS))),
        SeedRow(label="No KL, no prompt", runs=tuple(f"no_kl_{seed}" for seed in SEEDS)),
    ),
)

SPEC_TEXT = """format = 1
kind = "seeds"
caption = "Over seeds."
label = "tab:seeds"
control = "Control"
rows = [
  { label = "Control", runs = ["control_1234", "control_1", "control_2"] },
  { label = "Mean pooling", runs = ["mean_1234", "mean_1", "mean_2"] },
]
"""
