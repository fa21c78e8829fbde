"""How many rows an evaluation takes at once where ``eval.batch_size`` is ``auto``; numbers in, a number out.

The number is one of a coarse ladder, since results in bf16 depend on it and kernels are compiled for each
number of rows: a little more or less free memory should give the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runkit.engine.limits import ModelShape, Workload, evaluation_bytes, run_bytes, total_bytes

_GIB = 2**30
SPARED_BYTES = _GIB
SPARED_FRACTION = 0.05
"""What is left free of a GPU: for what comes there after the memory was measured (code of kernels, workspaces
of matrix products, buffers between processes: about 1 GiB), and for holes between tensors that came and went,
which grow with the memory. Activations are a rule of thumb besides."""

CPU_ROWS = 128
CPU_BYTES = 4 * _GIB
"""On the CPU: no more rows than the default has, and no more than these bytes. What the machine has free is
not asked, so that models and problems alone decide and two machines choose alike."""


class Sized(NamedTuple):
    """What was chosen."""

    rows: int
    needed_bytes: int
    """Of all that the run keeps beside the weights, evaluations of so many rows included; on the CPU of
    generating alone."""
    free_bytes: int
    """Where it has to fit, before anything was spared."""

    @property
    def fits(self) -> bool:
        """Whether all of it is there, with nothing spared."""
        return self.needed_bytes <= self.free_bytes


def ladder(items: int, *, processes: int = 1) -> Iterator[int]:
    """Yield numbers of rows that divide *items* into equal batches, the largest first and 1 last.

    Each number needs at least a quarter more batches than the one before it, or one more, and the batches are
    a multiple of *processes*, which share them: 200, 100, 67, 50, 40, 29, … for 200 items.
    """
    rounds, before = 1, items + 1
    while before > 1:
        rows = max(1, -(-items // (rounds * processes)))
        if rows < before:
            yield rows
        before = rows
        rounds = max(rounds + 1, -(-rounds * 5 // 4))


def spared(free_bytes: int) -> int:
    """Return how many of the free bytes of a GPU are not planned with."""
    return SPARED_BYTES + round(SPARED_FRACTION * free_bytes)


def with_text(load: Workload) -> Workload:
    """Return *load* as if the target read question and examples beside its soft tokens.

    A run with soft tokens alone could take more rows than the run with text that it is compared with; then
    two things would differ between them.
    """
    sizes = load.evaluation
    more = sizes._replace(text=max(sizes.text, sizes.alone), reads_examples=True)
    return load._replace(evaluation=more)


def device_bytes(source: ModelShape, target: ModelShape, load: Workload, *, rows: int) -> int:
    """Return what a run :func:`with_text` keeps on its GPU beside the weights, with evaluations of *rows*."""
    needed = run_bytes(source, target, with_text(load)._replace(eval_batch=rows))
    del needed["source states"]  # they wait on the host
    return total_bytes(needed)


def rows_for_device(
    source: ModelShape, target: ModelShape, load: Workload, *, items: int, free_bytes: int, processes: int = 1
) -> Sized:
    """Return the largest number of rows with which a run fits a GPU, or 1 where nothing does.

    Rows that take no more than a training step does cannot be what does not fit.

    Args:
        load: The sizes of the run; its number of evaluated rows is not looked at.
        items: Of the largest evaluation.
        free_bytes: Of the GPU, with both models loaded.
        processes: That share an evaluation, each with a GPU of its own.
    """
    training = run_bytes(source, target, load)
    del training["source states"], training["evaluation"]
    limit_bytes = max(free_bytes - spared(free_bytes), total_bytes(training))
    for rows in ladder(items, processes=processes):
        needed = device_bytes(source, target, load, rows=rows)
        if needed <= limit_bytes or rows == 1:
            break
    return Sized(rows, needed, free_bytes)


def agreed(each: Sequence[Sized]) -> Sized:
    """Return what all processes take: the smallest of what *each* could, of the one with the least memory."""
    return min(each, key=lambda one: (one.rows, one.free_bytes, one.needed_bytes))


def why_for_device(sized: Sized, *, items: int, processes: int) -> str:
    """Return why a GPU takes so many rows, with the numbers that decided."""
    where = "" if processes == 1 else f" on the fullest GPU of {processes} processes"
    return (
        f"the largest equal batches of {items} items that fit: estimated to need "
        f"{sized.needed_bytes / _GIB:.1f} GiB of the {sized.free_bytes / _GIB:.1f} that were free{where}, of "
        f"which {spared(sized.free_bytes) / _GIB:.1f} are spared"
    )


def why_for_cpu(sized: Sized, *, items: int) -> str:
    """Return why the CPU takes so many rows; it names nothing of the machine."""
    return (
        f"the largest equal batches of {items} items with at most {CPU_ROWS} rows and {CPU_BYTES / _GIB:.1f} "
        f"GiB: estimated to need {sized.needed_bytes / _GIB:.1f} GiB, whatever the machine has free"
    )


def rows_for_cpu(source: ModelShape, target: ModelShape, load: Workload, *, items: int) -> Sized:
    """Return the largest number of rows up to :data:`CPU_ROWS` that are generated in :data:`CPU_BYTES`.

    It is 1 where one row takes more; whether the machine has that much is another question.
    """

    def needed(rows: int) -> int:
        parts = evaluation_bytes(source, target, with_text(load)._replace(eval_batch=rows))
        return max(size for part, size in parts.items() if part != "states")

    rungs = [rows for rows in ladder(items) if rows <= CPU_ROWS]
    rows = next((rows for rows in rungs if needed(rows) <= CPU_BYTES), 1)
    return Sized(rows, needed(rows), CPU_BYTES)
