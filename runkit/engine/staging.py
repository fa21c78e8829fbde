"""Large fp32 numbers of the host on their way to a GPU: gathered by threads, in memory that it can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

HOST = ThreadPoolExecutor(max_workers=4, thread_name_prefix="runkit-host")
"""Works while a GPU computes: the noise for 2048 soft tokens of width 4096 takes 0.1 s an example."""


@dataclass(frozen=True)
class Staged:
    """Rows that threads are filling."""

    rows: Tensor
    filled: tuple[Future[None], ...]

    def on(self, device: torch.device) -> Tensor:
        """Wait for the rows and return them on *device*, to which they may still be on the way."""
        for one in self.filled:
            one.result()
        return fetched(self.rows, device)


def fetched(pinned: Tensor, device: torch.device) -> Tensor:
    """Return *pinned* on *device*; a GPU fetches it beside what it computes, and waits before it is read."""
    if device.type != "cuda":
        return pinned.to(device)
    beside, here = _stream_of_copies(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(beside):
        copied = pinned.to(device, non_blocking=True)
    here.wait_stream(beside)
    copied.record_stream(here)
    return copied


@lru_cache
def _stream_of_copies(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def sent(host: Tensor, device: torch.device) -> Tensor:
    """Return *host* on *device*; a GPU may still be fetching it, but nothing waits for that.

    A plain copy to a GPU waits until all that was launched before it is done.
    """
    return (
        host.to(device)
        if device.type != "cuda"
        else host.contiguous().pin_memory().to(device, non_blocking=True)
    )


def staged(shape: Sequence[int], fill: Callable[[Tensor, int], None]) -> Staged:
    """Begin to *fill* the rows of a tensor of *shape*, each given with its number."""
    rows = torch.empty(*shape, pin_memory=torch.cuda.is_available())
    return Staged(rows, tuple(HOST.submit(fill, row, number) for number, row in enumerate(rows)))
