"""Starts the processes of a run on one machine through torchrun's own launcher and says how they ended."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


class LaunchEnd(NamedTuple):
    """How the processes ended, all of them: none is left when this is there."""

    kind: Literal["done", "interrupted", "failed"]
    rank: int = 0
    """Of the process that ended first, as far as one can tell."""
    cause: str = ""
    """In its own words, or the signal that killed it."""
    is_killed: bool = False


def launch(arguments: Sequence[str], *, num_processes: int) -> LaunchEnd:
    """Run ``python *arguments*`` in *num_processes* processes of this machine and wait for their end.

    When one of them fails, the others are asked to end and, half a minute later, made to. Ctrl-C and
    SIGTERM go to all of them. Connections stay on the loopback interface.
    """
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]:
        # records of the launcher repeat at length what the returned value says in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does; compute.threads decides later
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # a process that ends with an error leaves its group as it is, of which NCCL would warn below our one line
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with tempfile.TemporaryDirectory() as folder:
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num_processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(settings, sys.executable)(*arguments)
        except ChildFailedError as failed:
            return first_end({rank: _failure(one) for rank, one in failed.failures.items()})
        except SignalException:
            return LaunchEnd("interrupted")
    return LaunchEnd("done")


class Failure(NamedTuple):
    """One process that did not come to its end."""

    exit_code: int
    """Negative: the signal."""
    cause: str
    """What it said itself, if it could."""
    noticed_at: int = 0
    """Seconds since the epoch."""


def first_end(failures: Mapping[int, Failure]) -> LaunchEnd:
    """Return the end that explains the others: the first killed process, else the lowest rank with a cause.

    Processes that lost another one name its rank and its cause, so that any word explains. One that waits for
    a GPU cannot hear that it should end, and is killed after the one it waits for; or NCCL notices the loss
    and aborts it, perhaps in the same second.
    """
    asked_to_end = {-signal.SIGTERM, -signal.SIGINT}

    def order(one: tuple[int, Failure]) -> tuple[bool, int, int]:
        rank, failure = one
        return failure.exit_code == -signal.SIGABRT, failure.noticed_at, rank

    for rank, failure in sorted(failures.items(), key=order):
        if failure.exit_code < 0 and failure.exit_code not in asked_to_end and not failure.cause:
            return LaunchEnd("failed", rank, f"ended by {_signal_name(-failure.exit_code)}", is_killed=True)
    for rank, failure in sorted(failures.items()):
        if failure.cause:
            return LaunchEnd("failed", rank, failure.cause)
    rank, failure = min(failures.items())
    return LaunchEnd("failed", rank, f"ended with exit status {failure.exit_code} without a word")


def _failure(failure: Any) -> Failure:
    said = failure.error_file_data.get("message") if isinstance(failure.error_file_data, dict) else None
    return Failure(failure.exitcode, said["message"] if isinstance(said, dict) else "", failure.timestamp)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
