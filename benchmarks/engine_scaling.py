"""Measures what several processes gain in a training step, beside one process, in one run.

Run it from a checkout with the engine installed; it needs no network and no data::

    python benchmarks/engine_scaling.py --out FOLDER [--processes 2] [--rounds 5] [--shapes auto]

Frozen target and source states are random. ``llama-3.1-8b`` has the shapes of that model, in bf16, built on
the GPU; ``small`` is a Llama of 4 layers on the CPU. In every round rank 0 first takes its steps alone, with
a batch of b and of N x b, while the others wait; then all N take steps of N x b together. So *strong* (time
alone over time together at N x b, ideally N) and *weak* (time alone at b over time together at N x b, ideally
1) compare the same processes in the same minute. The time of adding up gradients is measured apart.
Writes ``scaling.json`` and ``scaling.md``; medians over the rounds, ratios round by round.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from runkit.engine.bridge import Dimensions, DiTBridge
from runkit.engine.bridge.scale import Scale, median_row_rms
from runkit.engine.kernels import install
from runkit.engine.launched import launched, tell_launcher
from runkit.engine.launching import launch
from runkit.engine.pair import FrozenModel
from runkit.engine.prompts import SpecialTokens
from runkit.engine.shares import add_up
from runkit.engine.source_states import SourceStates
from runkit.engine.supervision import Supervision
from runkit.engine.trainer import Schedule, Trainer, TrainingPool, Weights
from runkit.engine.world import World, joined


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
    cases: tuple[tuple[int, int], ...]
    """K and batch b of one process."""
    steps: int
    """In one measurement."""


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
        cases=((2048, 2), (128, 2), (128, 8)),
        steps=5,
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
        cases=((8, 8),),
        steps=5,
    ),
}


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


def trainer(shape: Shape, target: FrozenModel, *, soft_tokens: int, batch_size: int) -> Trainer:
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
        scale=Scale(median_row_rms(target.embedding_table), method="exact"),
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
    shape: Shape, target: FrozenModel, world: World, *, soft_tokens: int, batch: int, rounds: int
) -> dict[str, Any]:
    """Return seconds a step, round by round, alone with b and N x b and together with N x b."""
    device = target.device
    alone = {
        size: trainer(shape, target, soft_tokens=soft_tokens, batch_size=size)
        for size in (batch, world.size * batch)
    }
    together = replace(alone[world.size * batch], world=world)
    bridge = new_bridge(shape, soft_tokens, device)
    states = {  # one each: what rank 0 does alone must not move the bridge of all
        id(of): of.start(copy.deepcopy(bridge), weight_decay=0.01) for of in (*alone.values(), together)
    }
    bridge = states[id(together)].bridge

    def steps(of: Trainer) -> Callable[[], object]:
        return lambda: [of.advance(states[id(of)]) for _ in range(shape.steps)]

    def only_main(of: Trainer) -> float:
        taken = seconds(steps(of), device) / shape.steps if world.is_main else 0.0
        world.gathered(None)  # the others wait, on the host
        return taken

    steps(together)()
    found: dict[str, list[float]] = {"alone_b": [], "alone_nb": [], "together_nb": [], "adding_up": []}
    for number in range(rounds + 1):
        row = {
            "alone_b": only_main(alone[batch]),
            "alone_nb": only_main(alone[world.size * batch]),
            "together_nb": max(world.gathered(seconds(steps(together), device) / shape.steps)),
            "adding_up": max(world.gathered(seconds(lambda: _add_up(world, bridge), device))),
        }
        for name, value in row.items():
            found[name] += [value] if number else []  # the first round warms up
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "soft_tokens": soft_tokens,
        "batch_of_one": batch,
        "processes": world.size,
        "bridge_parameters": sum(weight.numel() for weight in bridge.parameters()),
        "peak_memory_bytes": memory,
        "seconds": found,
        "strong": [one / many for one, many in zip(found["alone_nb"], found["together_nb"], strict=True)],
        "weak": [one / many for one, many in zip(found["alone_b"], found["together_nb"], strict=True)],
    }


def _add_up(world: World, bridge: DiTBridge) -> None:
    device = next(bridge.parameters()).device
    add_up(world, {"nll": torch.zeros((), device=device)}, bridge)


def _settings(device: torch.device, name: str) -> dict[str, str]:
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {os.cpu_count()} cores",
        "backend": "nccl" if device.type == "cuda" else "gloo",
        "shape": name,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    median = statistics.median
    known = result["settings"]
    count = result["cases"][0]["processes"]
    lines = [
        f"## {known['date']} · A training step with 1 and {count} processes",
        "",
        f"{count} processes, {known['device']}, {known['backend']}, torch {known['torch']}, "
        f"Python {known['python']}, shapes of {known['shape']}, random weights; "
        f"medians of {len(result['cases'][0]['strong'])} rounds, "
        "smallest and largest ratio in brackets.",
        "",
        f"| K | b | s alone, b | s alone, {count} b | s together, {count} b | adding up, ms "
        f"| strong (ideal {count}) | weak (ideal 1) |",
        "| --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for case in result["cases"]:
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


def work(arguments: argparse.Namespace) -> None:
    """Measure, in each of the processes; rank 0 writes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as runs have it
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(1)
    name, shape = arguments.shapes, SHAPES[arguments.shapes]
    place = launched()
    with joined(place) as world:
        device = torch.device(f"cuda:{place.local_rank}" if shape.dtype == torch.bfloat16 else "cpu")
        target = frozen_target(shape, device)
        result: dict[str, Any] = {"settings": _settings(device, name), "cases": []}
        for soft_tokens, batch in shape.cases:
            case = measure_case(
                shape, target, world, soft_tokens=soft_tokens, batch=batch, rounds=arguments.rounds
            )
            result["cases"].append(case)
            if world.is_main:  # after each case, so that a run that is cut short leaves what it has
                arguments.out.mkdir(parents=True, exist_ok=True)
                (arguments.out / "scaling.json").write_text(json.dumps(result, indent=2) + "\n")
                (arguments.out / "scaling.md").write_text(table(result))


def main() -> None:
    """Start the processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", choices=["auto", *SHAPES], default="auto")
    arguments = parser.parse_args()
    if arguments.shapes == "auto":
        arguments.shapes = "llama-3.1-8b" if torch.cuda.is_available() else "small"
    if launched().size > 1:
        try:
            work(arguments)
        except Exception as error:
            tell_launcher(error)
            raise
        return
    if arguments.processes < 2:
        sys.exit("scaling needs at least 2 processes")
    chosen = ["--out", str(arguments.out), "--rounds", str(arguments.rounds), "--shapes", arguments.shapes]
    end = launch([__file__, *chosen], num_processes=arguments.processes)
    if end.kind != "done":
        sys.exit(f"rank {end.rank}: {end.cause or end.kind}")
    print((arguments.out / "scaling.md").read_text())


if __name__ == "__main__":
    main()
