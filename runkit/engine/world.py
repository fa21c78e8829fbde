"""The processes that train one run together: what they add up, hand over and know of each other's end.

One process alone is :data:`SOLO`, which adds nothing up and joins no group of processes. Only the
bridge's gradients, a few numbers and generations cross between processes; frozen models are not wrapped.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from runkit.engine.launched import Launched, cause_of
from runkit.errors import ProcessLost

TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others: longer than one evaluation, after which somebody has to have died.

A process that ends is noticed at once, by the launcher and by the broken connection; this is for networks
that lose packets without a word.
"""

_SECONDS_FOR_A_CAUSE = 5.0
_ENDED = "runkit_first_end"
_INTERRUPTED = "interrupted"

T = TypeVar("T")


class Peer(NamedTuple):
    """One process, as the others know it."""

    rank: int
    host: str
    pid: int


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    local_size: int = 1
    """Processes on this node, which share its memory."""
    peers: tuple[Peer, ...] = ()
    store: Any = None
    """Key and value store of the launcher, in which the first process to end says why."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, logs and prints."""
        return self.rank == 0

    def share(self, things: Sequence[T]) -> list[T]:
        """Return every size-th of *things*, from this rank's on: one process has them all."""
        return list(things[self.rank :: self.size])

    def add_up(self, values: Tensor) -> None:
        """Replace *values* by their sum over all processes, the same to the last bit in each of them.

        On the CPU the sum is in the order of ranks, as one process in as many passes adds, to the last bit;
        gloo and NCCL have an order of their own.
        """
        if self.size == 1:
            return
        with self._together():
            if values.device.type != "cpu":
                torch.distributed.all_reduce(values)
                return
            parts = [torch.empty_like(values) for _ in range(self.size)]
            torch.distributed.all_gather(parts, values)
        values.zero_()
        for part in parts:
            values += part

    def total(self, count: int) -> int:
        """Return the sum of *count* over all processes."""
        return sum(self.gathered(count))

    def gathered(self, value: T) -> list[T]:
        """Return every process's *value*, by rank; it is pickled on the way."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._together():
            torch.distributed.all_gather_object(values, value)
        return values

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what *make* returns in the main process; the others wait for it."""
        value = make() if self.is_main else None
        if self.size > 1:
            values: list[Any] = [value]
            with self._together():
                torch.distributed.broadcast_object_list(values, src=0)
            value = values[0]
        return value  # type: ignore[return-value]

    def merged(self, part: Mapping[int, T]) -> dict[int, T]:
        """Return the union of what the processes made, each its share of the keys."""
        return {key: value for one in self.gathered(dict(part)) for key, value in one.items()}

    def fill(self, rows: Tensor, batches: Sequence[slice]) -> None:
        """Complete *rows* on the CPU, of which each process made its :meth:`share` of *batches*."""
        if self.size == 1:
            return
        with self._together():
            for number, batch in enumerate(batches):
                as_bytes = rows[batch].view(torch.uint8)  # gloo does not know every type
                torch.distributed.broadcast(as_bytes, src=number % self.size)

    def rows_of_all(self, rows: Tensor) -> Tensor:
        """Return the *rows* of all processes, by rank; gradients reach this process's own only."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        with self._together():
            torch.distributed.all_gather(parts, rows.detach().contiguous())
        parts[self.rank] = rows
        return torch.cat(parts)

    def end_elsewhere(self) -> BaseException | None:
        """Return what another process ended of, or None while all are well as far as one can see."""
        first = self._first_end()
        if first == _INTERRUPTED:
            return KeyboardInterrupt()
        if first is not None:
            return ProcessLost(first)
        silent = [peer.rank for peer in self.peers if peer.rank != self.rank and not _is_alive(peer)]
        if not silent:
            return None
        first = self._first_end()  # between the two looks it may have spoken and gone
        if first is None:
            return ProcessLost(f"rank {silent[0]} died without a word, as a killed process does")
        return KeyboardInterrupt() if first == _INTERRUPTED else ProcessLost(first)

    def announce_end(self, error: BaseException) -> None:
        """Tell the others why this process ends, unless one of them ended first."""
        if self.store is None:
            return
        text = str(error) if isinstance(error, ProcessLost) else f"rank {self.rank}: {cause_of(error)}"
        with suppress(RuntimeError):  # the store's process may be gone itself
            self.store.compare_set(_ENDED, "", _INTERRUPTED if isinstance(error, KeyboardInterrupt) else text)

    def _first_end(self) -> str | None:
        with suppress(RuntimeError):
            if self.store is not None and self.store.check([_ENDED]):
                text: str = self.store.get(_ENDED).decode()
                return text
        return None

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Turn the error of a broken connection into the end of the process that broke it."""
        try:
            yield
        except RuntimeError as error:  # gloo and NCCL raise nothing narrower
            deadline = time.monotonic() + _SECONDS_FOR_A_CAUSE
            while time.monotonic() < deadline:
                if (end := self.end_elsewhere()) is not None:
                    raise end from error
                time.sleep(0.05)
            raise ProcessLost(f"the processes lost each other: {cause_of(error)}") from error


SOLO = World()
"""One process alone."""


@contextmanager
def joined(launched: Launched) -> Iterator[World]:
    """Join the processes that were launched together; alone, do nothing at all.

    An error that leaves the block is told to the other processes.

    Raises:
        ProcessLost: The processes cannot find each other.
    """
    if launched.size == 1:
        yield SOLO
        return
    world = _join(launched)
    try:
        yield world
    except BaseException as error:
        world.announce_end(error)
        raise
    torch.distributed.destroy_process_group()


def _join(launched: Launched) -> World:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does; compute.threads decides later
    from accelerate import PartialState
    from torch.distributed.rendezvous import rendezvous

    has_cuda = torch.cuda.is_available()
    try:
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        torch.distributed.init_process_group(
            backend="cpu:gloo,cuda:nccl" if has_cuda else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=TIMEOUT,
        )
        PartialState(cpu=not has_cuda)  # chooses this process's device
    except (RuntimeError, ValueError) as error:
        raise ProcessLost(f"the processes cannot find each other: {cause_of(error)}") from error
    alone = World(rank=rank, size=size, local_size=launched.local_size, store=store)
    peers = tuple(alone.gathered(Peer(rank, platform.node(), os.getpid())))
    return World(rank=rank, size=size, local_size=launched.local_size, peers=peers, store=store)


def _is_alive(peer: Peer) -> bool:
    """Return whether *peer* runs; a process of another host is taken to."""
    if peer.host != platform.node():
        return True
    try:
        state = Path(f"/proc/{peer.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {"Z", "X"}
