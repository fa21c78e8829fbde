"""What a launcher told this process about the others, read from the environment; torch is not loaded here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from runkit.errors import RunkitError, UsageError

_CONTRACT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets, and ``accelerate launch`` through it; with a part of it nothing was launched."""


class Launched(NamedTuple):
    """The place of this process among those that were started together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among the processes of this node."""
    local_size: int = 1
    node: int = 0
    launcher: str | None = None
    """``torchrun`` or ``accelerate``; None for a process that was started alone."""


def launched(environment: Mapping[str, str] | None = None) -> Launched:
    """Return the place of this process, read from *environment* (None: that of the process).

    Raises:
        UsageError: The launcher's variables are not numbers.
    """
    known = os.environ if environment is None else environment
    if any(name not in known for name in _CONTRACT):
        return Launched()
    try:
        return Launched(
            rank=int(known["RANK"]),
            size=int(known["WORLD_SIZE"]),
            local_rank=int(known.get("LOCAL_RANK", "0")),
            local_size=int(known.get("LOCAL_WORLD_SIZE", "1")),
            node=int(known.get("GROUP_RANK", "0")),
            launcher="accelerate" if "ACCELERATE_MIXED_PRECISION" in known else "torchrun",
        )
    except ValueError as error:
        raise UsageError(
            f"the launcher's variables {', '.join(_CONTRACT)} should be numbers: {error}; "
            "unset them to train with one process"
        ) from error


def assert_shareable(*, batch_size: int, processes: int, accumulation_steps: int) -> None:
    """Do nothing if all processes can take equal parts of a batch, in equal passes.

    The global batch is what a configuration says, so it is never rounded to fit the number of processes.

    Raises:
        UsageError: They cannot; gives the numbers that can.
    """
    parts = processes * accumulation_steps
    if batch_size % parts == 0:
        return
    each = "" if accumulation_steps == 1 else f" in {accumulation_steps} passes each"
    can = [number for number in range(1, batch_size + 1) if batch_size % (number * accumulation_steps) == 0]
    way_out = f"launch {_listed(can)} or set" if can else "set"
    raise UsageError(
        f"train.batch_size is the global batch of {batch_size}, which {processes} processes{each} cannot "
        f"share equally; {way_out} train.batch_size to a multiple of {parts}"
    )


def cause_of(error: BaseException) -> str:
    """Return *error* in one line, with its class where the text is not for the person at the terminal."""
    text = " ".join(str(error).split())
    return text if isinstance(error, RunkitError) else f"{type(error).__name__}: {text}"


def tell_launcher(error: BaseException) -> None:
    """Write the file in which torchrun looks for the cause of a process's end, if there is a launcher."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not place:
        return
    extra = {"py_callstack": "", "timestamp": str(int(time.time()))}
    with suppress(OSError):
        Path(place).write_text(json.dumps({"message": {"message": cause_of(error), "extraInfo": extra}}))


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
