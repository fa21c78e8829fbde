"""One way through a DiT bridge in training, as one callable that a CUDA graph can record.

A bridge is hundreds of small products. Run one by one from Python they leave a GPU waiting most of the time;
recorded once, forward and backward, they are two launches.

Legend: B examples, N source tokens, S width of source states, K soft tokens, E width of the target's
embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from runkit.engine import losses
from runkit.engine.bridge import DiTBridge
from runkit.engine.bridge.scale import Scale
from runkit.engine.cuda_graph import captured
from runkit.engine.injection import bridge_precision
from runkit.engine.pair import States

Pass = Callable[..., tuple[Tensor, ...]]
"""What :meth:`BridgePass.forward` is, or a recording of it."""


class BridgePass(nn.Module):
    """Samples soft tokens and, where it is asked to, computes the flow term from the same encoded source."""

    def __init__(self, bridge: DiTBridge, *, steps: int, table_VE: Tensor) -> None:
        super().__init__()
        self.bridge = bridge
        self.steps = steps
        self._table_VE = table_VE

    def forward(
        self,
        states_BNS: Tensor,
        keep_BN: Tensor,
        noise_BKE: Tensor,
        teacher_BKE: Tensor | None = None,
        time_B: Tensor | None = None,
        drop_B: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return raw soft tokens ``[B, K, E]`` and, with a teacher, the flow term.

        Args:
            drop_B: Which examples lose their source in the flow term; given under guidance.
        """
        bridge = self.bridge
        with bridge_precision(self._table_VE):
            condition = bridge.condition(states_BNS, keep_BN)
            raw_BKE = bridge.sample(condition, noise_BKE, steps=self.steps)
            if teacher_BKE is None or time_B is None:
                return (raw_BKE,)
            if bridge.null is not None and drop_B is not None:
                condition = bridge.null(condition, drop_B)
            given = condition

            def velocity(point_BKE: Tensor, at_B: Tensor) -> Tensor:
                return bridge.velocity(point_BKE, at_B, given)

            return raw_BKE, losses.flow(velocity, noise_BKE, teacher_BKE, time_B)


def recorded(whole: BridgePass, inputs: tuple[Tensor, ...]) -> Pass:
    """Return *whole* as CUDA graphs for inputs of these shapes, its blocks compiled."""
    _compile(whole.bridge)
    likes = tuple(one.detach().clone() for one in inputs)
    # torch notices that the recording used a stream of its own; gradients wait for it as they should
    warn = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
    if warn is not None:
        warn(False)
    graphed: Any = torch.cuda.make_graphed_callables(whole, likes)
    return cast("Pass", graphed)


class RecordedSampler:
    """The way from source states and noise to soft tokens as one CUDA graph, without gradients."""

    def __init__(
        self,
        bridge: DiTBridge,
        states: States,
        noise_BKE: Tensor,
        *,
        steps: int,
        scale: Scale,
        table_VE: Tensor,
    ) -> None:
        """Record it for inputs of these shapes."""
        _compile(bridge)
        self._states, self._noise_BKE = States(*(one.clone() for one in states)), noise_BKE.clone()

        def sample() -> Tensor:
            with bridge_precision(table_VE):
                raw_BKE: Tensor = bridge(*self._states, self._noise_BKE, steps=steps)
            return scale(raw_BKE).to(table_VE.dtype)

        self._graph, self._soft_BKE = captured(sample, warm_ups=1)

    def __call__(self, states: States, noise_BKE: Tensor) -> Tensor:
        """Return soft tokens ``[B, K, E]``, as embeddings are; the next call overwrites them."""
        for goal, given in zip((*self._states, self._noise_BKE), (*states, noise_BKE), strict=True):
            goal.copy_(given)
        self._graph.replay()
        return self._soft_BKE


def _compile(bridge: DiTBridge) -> None:
    """Compile the blocks, once: training and evaluations compute them alike."""
    for block in bridge.blocks:
        if block._compiled_call_impl is None:
            block.compile(dynamic=False)  # batches have two sizes: that of training and that of evaluations
