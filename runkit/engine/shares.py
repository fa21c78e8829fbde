"""Which part of a batch's loss one process or pass computes, and how the parts become one gradient.

Every process knows the whole batch and all answers, so the counts that a mean is taken over need no
communication: a part's mean times its part of the global count, added up, is the global mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from runkit.engine.supervision import MAX_TEACHER_TOKENS, Supervision

if TYPE_CHECKING:
    from runkit.engine.bridge import Bridge
    from runkit.engine.trainer import TrainingPool
    from runkit.engine.world import World


class Part(NamedTuple):
    """What a part's term counts for."""

    of_gradient: float
    of_value: float


def part_of_each_term(
    rows: Sequence[int],
    batch: Sequence[int],
    pool: TrainingPool,
    supervision: Supervision,
    *,
    processes: int,
) -> dict[str, Part]:
    """Return what each term over *rows* counts for in *batch*, of which they are a part.

    Two terms look beyond their part and are made for it where they are computed: ``info_nce`` is the whole
    batch's in every process, with the gradient of that process's rows; ``decode`` is a share already.
    """
    here, everywhere = (_counts(of, pool, supervision) for of in (rows, batch))
    shares = {name: here[name] / everywhere[name] for name in here}
    return {
        **{name: Part(share, share) for name, share in shares.items()},
        "info_nce": Part(1.0, 1.0 / processes),
        "decode": Part(1.0, 1.0),
    }


def add_up(world: World, terms: Mapping[str, Tensor], bridge: Bridge) -> dict[str, Tensor]:
    """Return *terms* summed over all processes and do the same to the gradients of *bridge*, at once.

    Which terms there are and which weights have a gradient is the same in all processes: a configuration
    decides it. The host waits for nothing here.
    """
    if world.size == 1:
        return dict(terms)
    gradients = [weight.grad for weight in bridge.parameters() if weight.grad is not None]
    parts = [torch.stack([term.float() for term in terms.values()]), *(one.flatten() for one in gradients)]
    whole = torch.cat(parts)
    world.add_up(whole)
    values, *summed = torch.split(whole, [len(part) for part in parts])
    for gradient, total in zip(gradients, summed, strict=True):
        gradient.copy_(total.view_as(gradient))
    return dict(zip(terms, values, strict=True))


def _counts(rows: Sequence[int], pool: TrainingPool, supervision: Supervision) -> dict[str, int]:
    """Return how many numbers each term over *rows* is a mean of, up to a factor that all rows share."""
    lengths = [len(pool.answers[row]) + 1 for row in rows]
    starts = supervision.format_starts
    told = (
        [span.length for span in map(pool.question_spans.__getitem__, rows)]
        if pool.question_spans
        else [1] * len(rows)
    )
    return {
        "nll": sum(lengths),
        "kl": sum(min(length, MAX_TEACHER_TOKENS) for length in lengths),
        **({} if starts is None else {"format": sum(lengths) - len(rows) - sum(starts[row] for row in rows)}),
        "flow": len(rows),
        "prompt_alignment": len(rows),
        "rms_ratio": sum(told),
    }
