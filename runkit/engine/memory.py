"""The end of the memory while a run computes, as one line that says what to reduce; it measures nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from runkit.engine.limits import WAYS_OUT
from runkit.errors import TrainingStopped

_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+ \w+)")
_HOST = "DefaultCPUAllocator"


@contextmanager
def enough_memory(part: str, *, doing: str) -> Iterator[None]:
    """Turn a refused allocation into an error that names what to reduce.

    Args:
        part: A key of :data:`runkit.engine.limits.WAYS_OUT`.
        doing: What is being done, for the line: ``training step 7``.
    Raises:
        TrainingStopped: There was not enough memory, on the device or on the host.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_about_memory(error):
            raise
        asked = _ASKED.search(str(error))
        more = f" for {asked[1]} more" if asked else ""
        raise TrainingStopped(f"out of memory in {doing}{more}; {WAYS_OUT[part]}") from error


def _is_about_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _HOST in str(error)
