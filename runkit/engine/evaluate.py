"""Measures a bridge: generations, extracted answers and three-way outcomes of every system on the same items.

The systems are the source alone, the target alone and the target with the bridge's soft tokens. The
controls are the bridge reading *another* item's source states (``shuffled_source``) and the target reading
the identical text without soft tokens. In ``soft_plus_text`` mode the latter is the target alone, prompt
for prompt from the one builder, and is not generated twice; in ``soft_only`` mode it is ``no_soft_tokens``.

Legend: I items, B examples, N source tokens, S width of source states, K soft tokens, E width of the
target's embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from runkit.engine.baselines import batch_plan
from runkit.engine.bridge.dit import DiTBridge
from runkit.engine.bridge.scale import Scale
from runkit.engine.pair import FrozenModel, Generation, Prefix, States, length_of
from runkit.engine.prompts import build_sequences, embed
from runkit.engine.tasks.base import Item, Outcome, Task, before_stop, outcome


class Counts(NamedTuple):
    """Three-way outcomes of one system."""

    correct: int
    wrong: int
    invalid: int

    @property
    def total(self) -> int:
        """The number of items."""
        return self.correct + self.wrong + self.invalid

    @property
    def accuracy_fraction(self) -> float:
        """Correct over all, invalid ones included."""
        return self.correct / self.total


class Scored(NamedTuple):
    """One system's generation on one item."""

    text: str
    extracted: str
    outcome: Outcome
    finish: str
    flexible: str | None = None
    """A more lenient extraction, recorded where the task has one; it decides nothing."""


class BridgeInputs(NamedTuple):
    """All that the bridge and the target read for a list of items, prepared once for a whole run."""

    states: States
    """Of the questions, by the source, shape ``[I, N, S]``."""
    noise_IKE: Tensor
    target_texts: tuple[tuple[int, ...], ...]
    """Token ids of what follows the soft tokens."""
    prefix: Prefix | None = None
    """What the target reads before the soft tokens."""


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch *module* to evaluation mode and, whatever happens, back to the mode it was in."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def bridged_generations(
    bridge: DiTBridge,
    target: FrozenModel,
    inputs: BridgeInputs,
    *,
    states_from: Sequence[int] | None = None,
    steps: int,
    scale: Scale,
    batch_size: int,
    max_new_tokens: int,
    padded: bool = False,
    stops: Sequence[str] = (),
) -> list[Generation]:
    """Return the target's greedy continuation of each item's soft tokens and text.

    Args:
        states_from: For each item the item whose source states the bridge reads; None for its own.
    """
    read = list(range(len(inputs.target_texts))) if states_from is None else list(states_from)
    generations: dict[int, Generation] = {}
    with evaluation_mode(bridge), torch.no_grad():
        lengths = [len(text) for text in inputs.target_texts]
        for rows in batch_plan(lengths, batch_size=batch_size, padded=padded):
            states = pick(inputs.states, [read[row] for row in rows], device=target.device)
            noise_BKE = inputs.noise_IKE[rows].to(target.device)
            raw_BKE = bridge(states.states_BNS, states.keep_BN, noise_BKE, steps=steps)
            soft_BKE = scale(raw_BKE)
            sequences = build_sequences(
                [inputs.target_texts[row] for row in rows],
                num_slots=soft_BKE.shape[1],
                special=target.special,
                start=length_of(inputs.prefix),
            )
            written = target.generate_greedy(
                embed(sequences, table_VE=target.embedding_table, soft_BKE=soft_BKE),
                max_new_tokens=max_new_tokens,
                lengths=sequences.lengths,
                prefix=inputs.prefix,
                stops=stops,
            )
            generations.update(zip(rows, written, strict=True))
    return [generations[row] for row in range(len(inputs.target_texts))]


def pick(states: States, rows: Sequence[int], *, device: torch.device) -> States:
    """Return the states of *rows*, in their order, in fp32 on *device*."""
    chosen = list(rows)
    return States(states.states_BNS[chosen].to(device).float(), states.keep_BN[chosen].to(device))


def derangement(num_items: int) -> tuple[int, ...]:
    """Return the fixed permutation of the shuffled-source control: every item reads its far neighbour.

    It rotates by half the number of items, at least by one, so no item reads itself (a single item does).
    """
    shift = max(1, num_items // 2)
    return tuple((item + shift) % num_items for item in range(num_items))


def score(
    task: Task, frozen: FrozenModel, items: Sequence[Item], generations: Sequence[Generation]
) -> list[Scored]:
    """Return text up to a stop string, extractions and verdict of each generation."""
    scored = []
    for item, generation in zip(items, generations, strict=True):
        text = before_stop(frozen.decode(generation.token_ids), task.stops)
        extracted = task.extract(text)
        verdict = outcome(extracted, item.gold)
        scored.append(Scored(text, extracted, verdict, generation.finish, task.extract_flexibly(text)))
    return scored


def count(scored: Sequence[Scored]) -> Counts:
    """Return how many outcomes of each kind there are."""
    outcomes = [one.outcome for one in scored]
    return Counts(outcomes.count("correct"), outcomes.count("wrong"), outcomes.count("invalid"))
