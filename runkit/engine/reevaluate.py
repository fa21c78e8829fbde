"""Measures a saved checkpoint again, on one split and under several draws of the noise; it trains nothing.

Draw 0 is the one that training evaluated with, so its outcomes are those of the run's own dump.

Legend: I items, K soft tokens, E width of the target's embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from runkit.engine import config as configuration
from runkit.engine import noise
from runkit.engine.checkpoint import load_into, read_checkpoint
from runkit.engine.config import TrainConfig
from runkit.engine.evaluate import BridgeInputs, score
from runkit.engine.pair import Generation
from runkit.engine.preparation import Measured, Prepared, bridged, new_bridge, prepare
from runkit.engine.recorded import difference_from
from runkit.engine.tasks.base import outcome
from runkit.engine.train_run import (
    BEST,
    LAST,
    assert_as_recorded,
    fixed_arithmetic,
    identities,
    other_arithmetic,
)
from runkit.errors import RunUnreadable, UsageError

Role = Literal["best", "last"]
Split = Literal["dev", "test"]
_BRIDGED_KEYS = ("bridged_extracted", "bridged_full", "bridged_finish")


class BridgedItem(NamedTuple):
    """What the bridged system wrote for one item."""

    item: str
    gold: str
    extracted: str
    text: str
    finish: str
    outcome: str


class DrawnEvaluation(NamedTuple):
    """One evaluation of the checkpoint."""

    draw: int
    checkpoint_step: int
    items: tuple[BridgedItem, ...]


def evaluate_again(
    config: TrainConfig,
    run_dir: Path,
    *,
    role: Role,
    split: Split,
    num_draws: int,
    recorded: Mapping[str, Any],
    cache_dir: Path,
    note: Callable[[str], object],
) -> Iterator[DrawnEvaluation]:
    """Yield one evaluation for each draw from 0 on.

    Args:
        config: What the run was trained with.
        recorded: The content of its ``config.json``.
    Raises:
        RunUnreadable: The checkpoint is missing, damaged or of another configuration, or models or problems
            are not those of the run.
        UsageError: Several draws are asked of a bridge that starts from no noise.
    """
    checkpoint = read_checkpoint(run_dir / {"best": BEST, "last": LAST}[role])
    if checkpoint.config_digest != configuration.digest(config):
        differing = difference_from(config, checkpoint.config_digest, run_dir)
        raise RunUnreadable(f"{role}.safetensors of {run_dir.name} is of another configuration: {differing}")
    if checkpoint.role != role:
        raise RunUnreadable(f"{role}.safetensors of {run_dir.name} holds the {checkpoint.role} checkpoint")
    with fixed_arithmetic(config.compute.threads):
        prepared = prepare(config, cache_dir=cache_dir, note=note)
        assert_as_recorded(recorded, identities(config, prepared), run_dir.name)
        if (difference := other_arithmetic(recorded, config, prepared)) is not None:
            note(difference)
        bridge = new_bridge(config, prepared)
        load_into(bridge, checkpoint.weights)
        measured = {"dev": prepared.dev, "test": prepared.test}[split]
    if num_draws > 1 and measured.inputs.noise_IKE is None:
        raise UsageError(
            f"the bridge of {run_dir.name} starts from no noise, so all draws are equal; leave out --repeats"
        )
    for draw in range(num_draws):
        with fixed_arithmetic(config.compute.threads):
            inputs = _with_draw(config, measured, draw)
            generations = bridged(config, prepared, bridge, inputs)
            items = _items(prepared, measured, generations)
        yield DrawnEvaluation(draw, checkpoint.step, items)


def dumped_items(path: Path, *, checkpoint_step: int) -> tuple[BridgedItem, ...] | None:
    """Return what the dump in *path* says of the bridged system, or None if it measures another step.

    Raises:
        RunUnreadable: It cannot be read, or a row is damaged.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        if {row["checkpoint_step"] for row in rows} != {checkpoint_step}:
            return None
        return tuple(_item(*(row[key] for key in ("item", "gold_extracted", *_BRIDGED_KEYS))) for row in rows)
    except OSError as error:
        raise RunUnreadable(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunUnreadable(f"{path.name} is not a dump that runkit train wrote: {error}") from error


def _with_draw(config: TrainConfig, measured: Measured, draw: int) -> BridgeInputs:
    drawn_before_IKE = measured.inputs.noise_IKE
    if drawn_before_IKE is None:
        return measured.inputs
    drawn_IKE = noise.batch_noise(
        run_seed=config.seed,
        split=measured.split,
        item_ids=[item.id for item in measured.items],
        draw=draw,
        shape=tuple(drawn_before_IKE.shape[1:]),
        std=config.sampler.noise_std,
    )
    return measured.inputs._replace(noise_IKE=drawn_IKE)


def _items(prepared: Prepared, measured: Measured, generations: list[Generation]) -> tuple[BridgedItem, ...]:
    scored = score(prepared.task, prepared.target, measured.items, generations)
    return tuple(
        _item(item.id, item.gold, one.extracted, one.text, one.finish)
        for item, one in zip(measured.items, scored, strict=True)
    )


def _item(item: str, gold: str, extracted: str, text: str, finish: str) -> BridgedItem:
    return BridgedItem(item, gold, extracted, text, finish, outcome(extracted, gold))
