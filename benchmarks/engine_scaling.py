"""Measures what several processes gain in a training step, beside one process, in one run.

Run it from a checkout with the engine installed; it needs no network and no data::

    python benchmarks/engine_scaling.py --out FOLDER [--processes 2] [--rounds 3] [--shapes auto]
        [--cases 2048x2 128x2]

Frozen target and source states are random. ``llama-3.1-8b`` has the shapes of that model, in bf16, built on
the GPU; ``small`` is a Llama of 4 layers on the CPU. The processes and the target live as long as the run.
For each case, K soft tokens and a batch of b for a process, both shapes are warmed up: half of the processes
compile the one while the others compile the other, and each then finds the rest compiled. In every round rank
0 first takes its steps alone, with a batch of b and of N x b, while the others wait; then all N take steps of
N x b together. So *strong* (time alone over time together at N x b, ideally N) and *weak* (time alone at b
over time together at N x b, ideally 1) compare the same processes in the same minute. The time of adding up
gradients is measured apart. Medians over the rounds, ratios round by round.

Writes ``scaling.json`` and ``scaling.md``, anew after each round, so that a run that is cut short keeps what
it has; ``spent`` in the former says where the time went.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from runkit.engine.launched import launched, tell_launcher

SHAPES = {"llama-3.1-8b": ("2048x2", "128x2"), "small": ("8x8", "4x8")}
"""The cases of each, K x b."""


class Asked(NamedTuple):
    """What to measure."""

    out: Path
    shapes: str
    cases: tuple[tuple[int, int], ...]
    """K and the batch b of one process."""
    rounds: int
    started: float
    """Seconds since the epoch."""


def see_one_gpu(local_rank: int) -> None:
    """Let this process see its own GPU only, as number 0, before torch looks.

    A kernel that is compiled for GPU 0 is found again by a process for which its own is GPU 0 too.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[local_rank] if visible else str(local_rank)


def work(asked: Asked) -> None:
    """Be one of the processes."""
    if asked.shapes != "small":
        see_one_gpu(launched().local_rank)
    from scaling_process import measure

    try:
        measure(asked)
    except Exception as error:
        tell_launcher(error)
        raise


def start(arguments: argparse.Namespace, cases: list[str]) -> None:
    """Start the processes and print what they found."""
    from runkit.engine.launching import launch

    arguments.out.mkdir(parents=True, exist_ok=True)
    words = ["--out", str(arguments.out), "--rounds", str(arguments.rounds), "--shapes", arguments.shapes]
    words += ["--started", str(arguments.started), "--cases", *cases]
    end = launch([__file__, *words], num_processes=arguments.processes)
    found = arguments.out / "scaling.md"
    if found.exists():
        print(found.read_text())
    if end.kind != "done":
        sys.exit(f"rank {end.rank}: {end.cause or end.kind}")
    print(json.dumps(json.loads((arguments.out / "scaling.json").read_text())["spent"], indent=2))


def main() -> None:
    """Start the processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", choices=["auto", *SHAPES], default="auto")
    parser.add_argument("--cases", nargs="+", metavar="KxB", help="soft tokens x batch of one process")
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.shapes == "auto":
        import torch

        arguments.shapes = "llama-3.1-8b" if torch.cuda.is_available() else "small"
    cases = arguments.cases or list(SHAPES[arguments.shapes])
    if launched().size > 1:
        pairs = tuple((int(one), int(other)) for one, _, other in (case.partition("x") for case in cases))
        work(Asked(arguments.out, arguments.shapes, pairs, arguments.rounds, arguments.started))
    elif arguments.processes < 2:
        sys.exit("scaling needs at least 2 processes")
    else:
        start(arguments, cases)


if __name__ == "__main__":
    main()
