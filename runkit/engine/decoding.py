"""Greedy decoding of many rows at once with memory allocated once; on CUDA a step is one recorded graph.

Legend: B rows that are still generated, T columns of a row, E width of embeddings, G heads of keys and
values, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from runkit.engine.cuda_graph import captured
from runkit.engine.kernels import Kernels, KeysValues, width_of_head

_PROMPT_TOKENS = 16_384
"""Prompts are read in parts of about this many tokens: enough to fill a GPU, little beside the memory."""
_FEWEST_ROWS = 8
"""Below this many rows a step costs the same whatever their number, so that rows are no longer dropped."""
_COLUMNS = 64
"""Memory is a multiple of this many columns, so that fewer shapes are compiled."""


class Decoding:
    """The rows of one batch between their prompts and their last tokens.

    Rows that the caller drops leave the batch when half of it can go: the others move together, and a new
    graph is recorded for them.
    """

    def __init__(
        self,
        model: Any,
        kernels: Kernels,
        *,
        lengths: Sequence[int],
        max_new_tokens: int,
        prefix: Sequence[KeysValues] | None,
        start: int,
    ) -> None:
        """Allocate the memory of all rows.

        Args:
            lengths: Real columns of each row's prompt.
            start: Number of tokens in the prefix.
        """
        self.model, self.kernels, self.prefix, self.start = model, kernels, prefix, start
        self.lengths = list(lengths)
        table = model.get_input_embeddings().weight
        columns = -(-(max(lengths) + max_new_tokens) // _COLUMNS) * _COLUMNS
        self.kept = allocate(model.config, len(self.lengths), columns, table)
        self.last_B = torch.tensor(self.lengths, device=table.device)
        self.token_B = torch.zeros_like(self.last_B)
        self.graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def read(self, embedded_BTE: Tensor) -> None:
        """Read the prompts, padded on the right, and predict the first token of each row."""
        base, head = self.model.base_model, self.model.get_output_embeddings()
        at_once = max(1, _PROMPT_TOKENS // max(self.lengths))
        for first in range(0, len(self.lengths), at_once):
            rows = slice(first, min(first + at_once, len(self.lengths)))
            width, first_asked = max(self.lengths[rows]), min(self.lengths[rows]) - 1
            positions_T = torch.arange(self.start, self.start + width, device=embedded_BTE.device)
            with self.kernels.reading(self.prefix, kept=self.kept, rows=rows, asked_from=first_asked):
                hidden_BTE = base(
                    inputs_embeds=embedded_BTE[rows, :width],
                    position_ids=positions_T.expand(rows.stop - rows.start, -1),
                    use_cache=False,
                ).last_hidden_state
            row_B = torch.arange(rows.stop - rows.start, device=hidden_BTE.device)
            self.token_B[rows] = head(hidden_BTE[row_B, self.last_B[rows] - 1]).argmax(dim=-1)

    @torch.no_grad()
    def advance(self) -> None:
        """Read the newest tokens and predict the next ones, without waiting for the device."""
        if self.token_B.device.type != "cuda":
            self._step()
            return
        if self.graph is None:
            self.graph = self._record()
        self.graph.replay()

    def drop_all_but(self, rows: Sequence[int]) -> list[int]:
        """Let half of the rows go on, *rows* among them, where that is possible and worth it.

        Returns:
            The rows that go on; an empty list where nothing was done.
        """
        half = len(self.token_B) // 2
        if len(rows) > half or half < _FEWEST_ROWS:
            return []
        others = [row for row in range(len(self.token_B)) if row not in set(rows)]
        going = [*rows, *others[: half - len(rows)]]  # always half, as kernels are compiled for a number
        going_B = torch.tensor(going, device=self.token_B.device)
        self.graph = None
        for keys_BGTd, values_BGTd in self.kept:
            keys_BGTd[:half] = keys_BGTd[going_B]
            values_BGTd[:half] = values_BGTd[going_B]
        self.token_B, self.last_B = self.token_B[going_B], self.last_B[going_B]
        return going

    def _step(self) -> None:
        embedded_B1E = self.model.get_input_embeddings()(self.token_B)[:, None]
        with self.kernels.reading(self.prefix, kept=self.kept, last_B=self.last_B):
            hidden_B1E = self.model.base_model(
                inputs_embeds=embedded_B1E,
                position_ids=(self.start + self.last_B)[:, None],
                use_cache=False,
            ).last_hidden_state
        logits_BV = self.model.get_output_embeddings()(hidden_B1E[:, 0])
        self.token_B.copy_(logits_BV.argmax(dim=-1))
        self.last_B.add_(1)

    def _record(self) -> torch.cuda.CUDAGraph:
        token_B, last_B = self.token_B.clone(), self.last_B.clone()
        graph, _ = captured(self._step)
        self.token_B.copy_(token_B)
        self.last_B.copy_(last_B)
        return graph


def decode(
    decoding: Decoding, embedded_BTE: Tensor, *, max_new_tokens: int, ends: Callable[[int, int], bool]
) -> None:
    """Generate up to *max_new_tokens* for each row, giving every token to *ends* in order.

    Args:
        ends: Is given row and token, and says whether the row is at its end. It looks at one step's tokens
            while the device computes the next step.
    """
    alive = list(range(len(embedded_BTE)))
    """The row in each place of the batch; rows at their end stay until it is worth to drop them."""
    over: set[int] = set()
    with _each_address_written_once():
        decoding.read(embedded_BTE)
        fetched = _fetch(decoding.token_B)
        for step in range(max_new_tokens):
            token_B = fetched()
            if step + 1 < max_new_tokens:
                decoding.advance()
                fetched = _fetch(decoding.token_B)
            for row, token in zip(alive, token_B.tolist(), strict=True):
                if row not in over and ends(row, token):
                    over.add(row)
            if len(over) == len(embedded_BTE):
                return
            places = [place for place, row in enumerate(alive) if row not in over]
            if step + 1 < max_new_tokens and (going := decoding.drop_all_but(places)):
                alive = [alive[place] for place in going]
                fetched = _fetch(decoding.token_B)


def _fetch(token_B: Tensor) -> Callable[[], Tensor]:
    """Start to copy *token_B* to the host; what is returned waits for it."""
    if token_B.device.type != "cuda":
        copied_B = token_B.clone()
        return lambda: copied_B
    host_B = torch.empty(token_B.shape, dtype=token_B.dtype, pin_memory=True)
    host_B.copy_(token_B, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def wait() -> Tensor:
        arrived.synchronize()
        return host_B

    return wait


def allocate(known: Any, rows: int, columns: int, like: Tensor) -> list[KeysValues]:
    """Return empty memory for a model of configuration *known*: a pair ``[B, G, T, d]`` for each layer."""
    heads = getattr(known, "num_key_value_heads", None) or known.num_attention_heads
    width = width_of_head(known)
    # zeros, not whatever was there: a weight of 0 times an infinity is no number
    return [
        (like.new_zeros(rows, heads, columns, width), like.new_zeros(rows, heads, columns, width))
        for _ in range(known.num_hidden_layers)
    ]


@contextmanager
def _each_address_written_once() -> Iterator[None]:
    """Let tensors be indexed without sorting first: here no address is written twice, so order is nothing."""
    was, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=warned)
