"""Work on a GPU that is launched once and replayed from then on, without Python in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def captured(work: Callable[[], Result], *, warm_ups: int = 2) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Return *work* as a graph, and what it returned: tensors that every replay fills anew.

    Args:
        work: Reads and writes tensors at fixed addresses, and does not look at their numbers.
        warm_ups: Times that it runs before, when whatever compiles or allocates may do so.
    """
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(warm_ups):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may ask for memory
        made = work()
    return graph, made
