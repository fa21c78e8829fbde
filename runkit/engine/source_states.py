"""The frozen source's states of many questions, one question after another without padding; kept on disk.

Legend: I items, T tokens of all questions together, B examples, N tokens of the longest question, S width of
the concatenated hidden states, M picked tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from runkit.engine.content_cache import cached_tensors, digest_of_tokens, identity_of
from runkit.engine.pair import FrozenModel, Prefix, States
from runkit.engine.staging import HOST, fetched
from runkit.engine.world import SOLO, World

_FORMAT = 1
_GPU_MULTIPLE = 8


@dataclass(frozen=True)
class StagedStates:
    """States that a thread is gathering."""

    gathered: Future[States]

    def on(self, device: torch.device) -> States:
        """Wait for the states and return them on *device*, to which they may still be on the way."""
        return States(*(fetched(one, device) for one in self.gathered.result()))


@dataclass(frozen=True)
class SourceStates:
    """The states of I questions, in the source's dtype on the host."""

    tokens_TS: Tensor
    lengths_I: Tensor

    def __len__(self) -> int:
        return len(self.lengths_I)

    @property
    def width(self) -> int:
        """S."""
        return self.tokens_TS.shape[1]

    @cached_property
    def longest(self) -> int:
        """N, to which every batch is padded, so that its numbers do not depend on who else is in it."""
        return int(self.lengths_I.max())

    @cached_property
    def spans(self) -> tuple[range, ...]:
        """The tokens of each question among all."""
        ends = self.lengths_I.cumsum(0).tolist()
        return tuple(range(first, end) for first, end in zip([0, *ends], ends, strict=False))

    def padded(self, rows: Sequence[int], *, device: torch.device, multiple: int = 1) -> States:
        """Return the states of *rows*, in their order, in fp32 on *device*, with zeros as padding.

        Args:
            multiple: Of which N is made one; products on a GPU are faster for some numbers.
        """
        length = -(-self.longest // multiple) * multiple
        states_BNS = self.tokens_TS.new_zeros(len(rows), length, self.width)
        keep_BN = torch.zeros(len(rows), length, dtype=torch.bool)
        for place, row in enumerate(rows):
            span = self.spans[row]
            states_BNS[place, : len(span)] = self.tokens_TS[span.start : span.stop]
            keep_BN[place, : len(span)] = True
        return States(states_BNS.to(device).float(), keep_BN.to(device))

    def staged(self, rows: Sequence[int]) -> StagedStates:
        """Begin to gather the states of *rows* for a GPU, padded to a length that suits its products."""

        def gather() -> States:
            states = self.padded(rows, device=torch.device("cpu"), multiple=_GPU_MULTIPLE)
            return States(*(one.pin_memory() for one in states))

        return StagedStates(HOST.submit(gather))

    def picked(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Return single states ``[M, S]`` in fp32: token *columns* of question *rows*, pair by pair."""
        at_M = [self.spans[row][column] for row, column in zip(rows, columns, strict=True)]
        return self.tokens_TS[at_M].float()


def source_states(
    source: FrozenModel,
    texts: Sequence[Sequence[int]],
    *,
    layers: Sequence[int],
    prefix: Prefix | None,
    batch_size: int,
    threads: int,
    cache_dir: Path,
    note: Callable[[str], object],
    world: World = SOLO,
) -> SourceStates:
    """Return the states of tokenised *texts* at *layers*, from *cache_dir* where they were made before.

    Without a prefix the first state is that of BOS; with one its own states are not kept. Batches follow a
    plan that is a function of *batch_size* alone; several processes share them.

    Raises:
        TrainingStopped: The source has no such layer.
        StorageFailed: The cache cannot be written.
    """
    key = {
        "kind": "source states",
        "format": _FORMAT,
        **identity_of(source, threads=threads),
        "texts": digest_of_tokens([list(text) for text in texts]),
        "prefix": [] if prefix is None else list(prefix.token_ids),
        "begin": source.special.bos,
        "layers": list(layers),
        "batch_size": batch_size,
    }

    def read() -> dict[str, Tensor]:
        begin, table_VE = num_begin_tokens(source, prefix), source.embedding_table
        lengths_I = torch.tensor([begin + len(text) for text in texts])
        tokens_TS = torch.empty(int(lengths_I.sum()), len(layers) * table_VE.shape[1], dtype=table_VE.dtype)
        ends = [0, *lengths_I.cumsum(0).tolist()]
        batches = [
            range(len(texts))[first : first + batch_size] for first in range(0, len(texts), batch_size)
        ]
        for rows in world.share(batches):
            part = source.hidden_states([texts[row] for row in rows], layers=layers, prefix=prefix)
            real_MS = part.states_BNS[part.keep_BN.to(part.states_BNS.device)]
            tokens_TS[ends[rows.start] : ends[rows.stop]] = real_MS
        world.fill(tokens_TS, [slice(ends[rows.start], ends[rows.stop]) for rows in batches])
        return {"tokens_TS": tokens_TS, "lengths_I": lengths_I}

    return SourceStates(
        **cached_tensors("source states", key, read, cache_dir=cache_dir, note=note, world=world)
    )


def num_begin_tokens(source: FrozenModel, prefix: Prefix | None) -> int:
    """Return how many states stand before those of a question's own tokens: that of BOS, or none."""
    return 0 if prefix is not None or source.special.bos is None else 1
