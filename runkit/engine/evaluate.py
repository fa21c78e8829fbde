"""Measures a bridge: generations, extracted answers and three-way outcomes of every system on the same items.

The systems are the source alone, the target alone and the target with the bridge's soft tokens. The
controls are the bridge reading *another* item's source states (``shuffled_source``) and the target reading
the identical text without soft tokens. In ``soft_plus_text`` mode the latter is the target alone, prompt
for prompt from the one builder, and is not generated twice; in ``soft_only`` mode it is ``no_soft_tokens``.
Where the teacher is the answer, ``soft_tokens_read`` says how many answers the soft tokens spell themselves.

Legend: I items, B examples, N source tokens, S width of source states, K soft tokens, E width of the
target's embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from runkit.engine.baselines import batch_plan
from runkit.engine.bridge import Adapter, Bridge, DiTBridge
from runkit.engine.bridge.scale import Scale
from runkit.engine.bridge_pass import RecordedSampler
from runkit.engine.injection import Soft, Span, adapter_says, bridge_precision, bridged_input, raw_slots
from runkit.engine.pair import FrozenModel, Generation, Prefix, States
from runkit.engine.source_states import SourceStates, StagedStates
from runkit.engine.staging import Staged, staged
from runkit.engine.tasks.base import Item, Outcome, Task, before_stop, outcome
from runkit.engine.world import SOLO, World

_ROWS_AT_ONCE = 8


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

    states: SourceStates
    """Of the questions, by the source."""
    noise_IKE: Tensor | None
    """None where the bridge starts from no noise."""
    target_texts: tuple[tuple[int, ...], ...]
    """Token ids of what follows the soft tokens."""
    prefix: Prefix | None = None
    """What the target reads before the soft tokens."""
    question_spans: tuple[Span, ...] = ()
    """For an adapter, which tokens of each text are the question."""


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
    bridge: Bridge,
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
    world: World = SOLO,
) -> list[Generation]:
    """Return the target's greedy continuation of each item's soft tokens and text.

    Args:
        states_from: For each item the item whose source states the bridge reads; None for its own.
        world: Processes that share the work by whole batches, so that its size changes no batch.
    """
    read = list(range(len(inputs.target_texts))) if states_from is None else list(states_from)
    generations: dict[int, Generation] = {}
    with evaluation_mode(bridge), torch.no_grad():
        lengths = [len(text) for text in inputs.target_texts]
        for rows in world.share(batch_plan(lengths, batch_size=batch_size, padded=padded)):
            texts = [inputs.target_texts[row] for row in rows]
            if isinstance(bridge, Adapter):
                states = pick(inputs.states, [read[row] for row in rows], device=target.device)
                spans = [inputs.question_spans[row] for row in rows]
                table_VE = target.embedding_table
                with bridge_precision(table_VE):
                    soft = adapter_says(bridge, states, texts, spans, table_VE=table_VE, scale=scale)
            else:
                soft = Soft(_slots(bridge, target, inputs, rows, read, steps=steps, scale=scale), None)
            sequences, embedded_BTE = bridged_input(soft, texts, target, prefix=inputs.prefix)
            written = target.generate_greedy(
                embedded_BTE,
                max_new_tokens=max_new_tokens,
                lengths=sequences.lengths,
                prefix=inputs.prefix,
                stops=stops,
            )
            generations.update(zip(rows, written, strict=True))
    generations = world.merged(generations)
    return [generations[row] for row in range(len(inputs.target_texts))]


def _slots(
    bridge: Bridge,
    target: FrozenModel,
    inputs: BridgeInputs,
    rows: Sequence[int],
    read: Sequence[int],
    *,
    steps: int,
    scale: Scale,
) -> Tensor:
    """Return the soft tokens of *rows*, on a GPU a few rows at a time: noise and path are wide and fp32."""
    table_VE = target.embedding_table
    device = table_VE.device
    at_once = len(rows) if device.type == "cpu" else _ROWS_AT_ONCE
    parts = [rows[first : first + at_once] for first in range(0, len(rows), at_once)]
    records = device.type == "cuda" and target.kernels is not None
    sampler: RecordedSampler | None = None
    said = []
    for part, (states, noise_BKE) in zip(parts, _fed(inputs, parts, read, device), strict=True):
        if records and isinstance(bridge, DiTBridge) and noise_BKE is not None:
            states, noise_BKE = States(*(filled(one, at_once) for one in states)), filled(noise_BKE, at_once)
            sampler = sampler or RecordedSampler(
                bridge, states, noise_BKE, steps=steps, scale=scale, table_VE=table_VE
            )
            said.append(sampler(states, noise_BKE)[: len(part)].clone())
            continue
        with bridge_precision(table_VE):
            raw_BKE = raw_slots(bridge, states, noise_BKE, range(len(part)), steps=steps)
        said.append(scale(raw_BKE).to(table_VE.dtype))
    return said[0] if len(said) == 1 else torch.cat(said)


def filled(rows_B: Tensor, count: int) -> Tensor:
    """Return *rows_B* with its first row repeated until there are *count*: a recording has one shape."""
    missing = count - len(rows_B)
    return torch.cat([rows_B, rows_B[:1].expand(missing, *rows_B.shape[1:])]) if missing else rows_B


def _fed(
    inputs: BridgeInputs, parts: Sequence[Sequence[int]], read: Sequence[int], device: torch.device
) -> Iterator[tuple[States, Tensor | None]]:
    """Give states and noise of each part on *device*; for a GPU the next part is gathered meanwhile."""
    noise_IKE = inputs.noise_IKE
    if device.type == "cpu":
        for part in parts:
            states = pick(inputs.states, [read[row] for row in part], device=device)
            yield states, None if noise_IKE is None else noise_IKE[list(part)]
        return

    def begun(part: Sequence[int]) -> tuple[StagedStates, Staged | None]:
        def fill(row_KE: Tensor, number: int) -> None:
            assert noise_IKE is not None
            row_KE.copy_(noise_IKE[part[number]])

        noise = None if noise_IKE is None else staged((len(part), *noise_IKE.shape[1:]), fill)
        return inputs.states.staged([read[row] for row in part]), noise

    coming = begun(parts[0])
    for number in range(len(parts)):
        gathered, drawn = coming
        if number + 1 < len(parts):
            coming = begun(parts[number + 1])
        yield gathered.on(device), None if drawn is None else drawn.on(device)


def read_generations(
    bridge: Bridge, target: FrozenModel, inputs: BridgeInputs, *, steps: int, batch_size: int
) -> list[Generation]:
    """Return what each item's soft tokens spell when each is read as the token that it points at most.

    The target model is not run: this is what the soft tokens say by themselves.
    """
    unit_VE = functional.normalize(target.embedding_table.float(), dim=-1)
    spelled: list[Generation] = []
    rows = range(len(inputs.target_texts))
    with evaluation_mode(bridge), torch.no_grad():
        at_once = batch_size if target.device.type == "cpu" else _ROWS_AT_ONCE
        for first in rows[::at_once]:
            batch = rows[first : first + at_once]
            states = pick(inputs.states, batch, device=target.device)
            with bridge_precision(target.embedding_table):
                soft_BKE = raw_slots(bridge, states, inputs.noise_IKE, batch, steps=steps).float()
            unit_BKE = functional.normalize(soft_BKE, dim=-1)
            # on a GPU row by row: scores for a real vocabulary are a gigabyte a row
            parts = [unit_BKE] if target.device.type == "cpu" else torch.split(unit_BKE, 1)
            ids_BK = torch.cat([(part @ unit_VE.T).argmax(dim=-1) for part in parts]).tolist()
            spelled += [_until_end(ids, target.special.eos) for ids in ids_BK]
    return spelled


def _until_end(token_ids: Sequence[int], eos: int) -> Generation:
    if eos in token_ids:
        return Generation(tuple(token_ids[: list(token_ids).index(eos)]), "eos")
    return Generation(tuple(token_ids), "length")


def pick(states: SourceStates, rows: Sequence[int], *, device: torch.device) -> States:
    """Return the states of *rows*, in their order, padded to one length, in fp32 on *device*."""
    return states.padded(rows, device=device)


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
