"""What each process of engine_scaling.py measures; started by it, never by hand.

Legend: K soft tokens, b batch of one process, N processes.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from runkit.engine.bridge import Dimensions, DiTBridge
from runkit.engine.bridge.scale import Scale, median_row_rms
from runkit.engine.kernels import install
from runkit.engine.launched import launched
from runkit.engine.pair import FrozenModel
from runkit.engine.prompts import SpecialTokens
from runkit.engine.shares import add_up
from runkit.engine.source_states import SourceStates
from runkit.engine.supervision import Supervision
from runkit.engine.trainer import Schedule, Trainer, TrainingPool, TrainState, Weights
from runkit.engine.world import World, joined

if TYPE_CHECKING:
    from engine_scaling import Asked

WARM_UP_STEPS = 8
STEPS = 5
"""In one measurement, as are times of adding up."""


class Shape(NamedTuple):
    """A frozen target, the bridge before it, and the lengths of its rows."""

    model: dict[str, Any]
    dtype: torch.dtype
    source_width: int
    bridge: dict[str, int]
    sampler_steps: int
    source_tokens: int
    text_tokens: int
    answer_tokens: int


SHAPES = {
    "llama-3.1-8b": Shape(
        model={
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
        },
        dtype=torch.bfloat16,
        source_width=2 * 4096,
        bridge={"width": 512, "depth": 6, "heads": 8},
        sampler_steps=4,
        source_tokens=120,
        text_tokens=120,
        answer_tokens=130,
    ),
    "small": Shape(
        model={
            "vocab_size": 512,
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 1024,
        },
        dtype=torch.float32,
        source_width=192,
        bridge={"width": 64, "depth": 2, "heads": 4},
        sampler_steps=2,
        source_tokens=40,
        text_tokens=40,
        answer_tokens=30,
    ),
}


@dataclass
class Results:
    """What was found so far; in rank 0 on the disk too."""

    folder: Path
    is_writer: bool
    started: float
    settings: dict[str, str]
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds from the start to the end of each part."""
    cases: list[dict[str, Any]] = field(default_factory=list)

    def passed(self, part: str) -> None:
        """Write down when *part* was done."""
        self.spent[part] = round(time.time() - self.started, 1)
        if self.is_writer:
            print(f"{self.spent[part]:7.1f} s  {part}", file=sys.stderr, flush=True)
            self.write()

    def write(self) -> None:
        """Replace both files."""
        if not self.is_writer:
            return
        found = {"settings": self.settings, "spent": self.spent, "cases": self.cases}
        (self.folder / "scaling.json").write_text(json.dumps(found, indent=2) + "\n")
        if any(case["strong"] for case in self.cases):
            (self.folder / "scaling.md").write_text(table(self.settings, self.cases))


@dataclass
class Workload:
    """One way to take a step, and where it is."""

    trainer: Trainer
    state: TrainState

    def steps(self, count: int) -> None:
        """Take *count* steps."""
        for _ in range(count):
            self.trainer.advance(self.state)


@contextmanager
def only(world: World, *, is_mine: bool, bridge: DiTBridge) -> Iterator[bool]:
    """Say whether it is this process's turn; the others wait, on the host.

    What one process does to the bridge is undone, so that all have the same when they go on together.
    """
    kept = {name: weight.clone() for name, weight in bridge.state_dict().items()}
    yield is_mine
    bridge.load_state_dict(kept)
    world.gathered(None)


def frozen_target(shape: Shape, device: torch.device) -> FrozenModel:
    """Return a randomly initialised target, built where it stays."""
    torch.manual_seed(0)
    torch.set_default_dtype(shape.dtype)
    with device:
        model = LlamaForCausalLM._from_config(LlamaConfig(**shape.model), attn_implementation="sdpa")
    torch.set_default_dtype(torch.float32)
    model.eval().requires_grad_(False)
    kernels = install(model, compiled=True) if device.type == "cuda" else None
    return FrozenModel("random", None, model, None, SpecialTokens(bos=1, eos=2, pad=0), kernels=kernels)


def trainer(shape: Shape, target: FrozenModel, scale: Scale, *, soft_tokens: int, batch_size: int) -> Trainer:
    """Return the engine's trainer over random problems, for one process."""
    generator = torch.Generator().manual_seed(1)
    items, vocabulary = 8 * batch_size, shape.model["vocab_size"]

    def rows(length: int) -> tuple[tuple[int, ...], ...]:
        drawn = torch.randint(3, vocabulary, (items, length), generator=generator)
        return tuple(tuple(row) for row in drawn.tolist())

    num_tokens = items * shape.source_tokens
    states = torch.randn(num_tokens, shape.source_width, generator=generator).to(shape.dtype)
    return Trainer(
        target=target,
        pool=TrainingPool(
            item_ids=tuple(map(str, range(items))),
            states=SourceStates(states, torch.full((items,), shape.source_tokens)),
            target_texts=rows(shape.text_tokens),
            answers=rows(shape.answer_tokens),
            teacher_ids=rows(soft_tokens),
            question_spans=(),
        ),
        weights=Weights(
            nll=1.0, flow=0.0, prompt_alignment=0.0, kl=0.0, info_nce=0.0, format=0.0, decode=0.0
        ),
        schedule=Schedule(1e-4, 10, 10_000, cosine=False),
        run_seed=0,
        batch_size=batch_size,
        sampler_steps=shape.sampler_steps,
        noise_std=0.1,
        condition_drop=0.1,
        scale=scale,
        grad_clip_norm=1.0,
        alignment_mode="mse",
        supervision=Supervision(),
        decode_every_steps=10,
        max_new_tokens=1,
    )


def new_bridge(shape: Shape, soft_tokens: int, device: torch.device) -> DiTBridge:
    """Return the same bridge in every process."""
    torch.manual_seed(2)
    dimensions = Dimensions(
        source_width=shape.source_width,
        target_width=shape.model["hidden_size"],
        num_soft_tokens=soft_tokens,
        **shape.bridge,
    )
    return DiTBridge(dimensions, slot_positions=True, conditioning="cross").to(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long *work* takes until the device has done it."""
    _synchronize(device)
    started = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_case(
    shape: Shape, target: FrozenModel, scale: Scale, world: World, soft_tokens: int, batch: int,
    rounds: int, results: Results,
) -> None:  # fmt: skip
    """Measure seconds a step, round by round, alone with b and N x b and together with N x b."""
    device, name = target.device, f"K={soft_tokens} b={batch}"
    bridge = new_bridge(shape, soft_tokens, device)

    def workload(size: int, among: World | None = None) -> Workload:
        one = trainer(shape, target, scale, soft_tokens=soft_tokens, batch_size=size)
        one = one if among is None else replace(one, world=among)
        return Workload(one, one.start(bridge, weight_decay=0.01))

    alone_b, alone_nb = workload(batch), workload(world.size * batch)
    together = workload(world.size * batch, world)
    found: dict[str, list[float]] = {"alone_b": [], "alone_nb": [], "together_nb": [], "adding_up": []}
    case: dict[str, Any] = {
        "soft_tokens": soft_tokens,
        "batch_of_one": batch,
        "processes": world.size,
        "bridge_parameters": sum(weight.numel() for weight in bridge.parameters()),
        "peak_memory_bytes": None,
        "seconds": found,
        "strong": [],
        "weak": [],
    }
    results.cases.append(case)
    in_turn = [alone_b, alone_nb] if world.rank % 2 == 0 else [alone_nb, alone_b]
    for number, one in enumerate(in_turn):
        with only(world, is_mine=True, bridge=bridge):
            taken = seconds(lambda one=one: one.steps(WARM_UP_STEPS), device)
        results.passed(f"{name}: {'one shape' if number == 0 else 'both shapes'} warm, {taken:.1f} s here")
    together.steps(WARM_UP_STEPS)
    results.passed(f"{name}: warm together")
    for number in range(rounds):
        for way, one in (("alone_b", alone_b), ("alone_nb", alone_nb)):
            with only(world, is_mine=world.is_main, bridge=bridge) as is_mine:
                taken = seconds(lambda one=one: one.steps(STEPS), device) if is_mine else 0.0
            found[way].append(taken / STEPS)
        taken = seconds(lambda: together.steps(STEPS), device)
        found["together_nb"].append(max(world.gathered(taken)) / STEPS)
        taken = seconds(lambda: [_add_up(world, bridge) for _ in range(STEPS)], device)
        found["adding_up"].append(max(world.gathered(taken)) / STEPS)
        case["strong"].append(found["alone_nb"][-1] / found["together_nb"][-1])
        case["weak"].append(found["alone_b"][-1] / found["together_nb"][-1])
        if device.type == "cuda":
            case["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        results.passed(f"{name}: round {number + 1}")
    for one in (alone_b, alone_nb, together):
        one.trainer.settle(one.state)


def _add_up(world: World, bridge: DiTBridge) -> None:
    device = next(bridge.parameters()).device
    add_up(world, {"nll": torch.zeros((), device=device)}, bridge)


def _settings(device: torch.device, name: str) -> dict[str, str]:
    is_gpu = device.type == "cuda"
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(device) if is_gpu else f"CPU, {os.cpu_count()} cores",
        "backend": "nccl" if is_gpu else "gloo",
        "shape": name,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def table(known: dict[str, str], cases: list[dict[str, Any]]) -> str:
    """Return the result as Markdown."""
    median = statistics.median
    cases = [case for case in cases if case["strong"]]
    count = cases[0]["processes"]
    lines = [
        f"## {known['date']} · A training step with 1 and {count} processes",
        "",
        f"{count} processes, {known['device']}, {known['backend']}, torch {known['torch']}, "
        f"Python {known['python']}, shapes of {known['shape']}, random weights; "
        f"medians of {len(cases[0]['strong'])} rounds, smallest and largest ratio in brackets.",
        "",
        f"| K | b | s alone, b | s alone, {count} b | s together, {count} b | adding up, ms "
        f"| strong (ideal {count}) | weak (ideal 1) |",
        "| --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for case in cases:
        taken = {name: median(values) for name, values in case["seconds"].items()}
        ratios = [
            f"{median(case[kind]):.2f} [{min(case[kind]):.2f}, {max(case[kind]):.2f}]"
            for kind in ("strong", "weak")
        ]
        lines.append(
            f"| {case['soft_tokens']} | {case['batch_of_one']} | {taken['alone_b']:.4f} | "
            f"{taken['alone_nb']:.4f} | {taken['together_nb']:.4f} | {1000 * taken['adding_up']:.1f} | "
            f"{ratios[0]} | {ratios[1]} |"
        )
    return "\n".join(lines) + "\n"


def measure(asked: Asked) -> None:
    """Measure, in each of the processes; rank 0 writes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as runs have it
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(1)
    # what the engine does not compile for all shapes is compiled for each, as in a run that has no other:
    # else the second of two shapes gets a slower kernel, and the processes take them in different order
    torch._dynamo.config.automatic_dynamic_shapes = False
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    shape = SHAPES[asked.shapes]
    with joined(launched()) as world:
        device = torch.device("cuda:0" if asked.shapes != "small" else "cpu")
        results = Results(asked.out, world.is_main, asked.started, _settings(device, asked.shapes))
        results.passed("processes joined")
        target = frozen_target(shape, device)
        scale = Scale(median_row_rms(target.embedding_table), method="exact")
        _synchronize(device)
        results.passed("target built")
        for soft_tokens, batch in asked.cases:
            measure_case(shape, target, scale, world, soft_tokens, batch, asked.rounds, results)
            gc.collect()  # recordings hold memory and themselves
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
        results.passed("all")
