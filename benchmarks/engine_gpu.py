"""Measures training step and evaluation on one GPU, at the shapes of Mistral-7B and Llama-3.1-8B.

Run it from a checkout on a machine with CUDA; no weights, data or network are needed::

    python benchmarks/engine_gpu.py --out results [--num-soft-tokens 2048 128] [--memory-gb 80] [--no-naive]

Weights are random, in bf16; token ids are random with the lengths of GSM8K: 1,330 tokens of worked examples,
questions of 60 to 200, answers of 70 to 180. Random models never end an answer, so every row is generated to
the last token: this is the most that an evaluation can cost. What is measured is the engine's own code.

Beside each measured time stands its floor: the products' FLOPs over the rate of a large product, and for
decoding the bytes of weights, keys and values over the rate of a large copy, both rates measured first. The
naive way does the same work in the same process as a script would: worked examples are read with every row,
baselines are generated at every evaluation by ``generate`` in batches of 36, the source runs in every
training step and logits are computed at all positions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from runkit.engine import noise
from runkit.engine.baselines import generate_alone
from runkit.engine.bridge import DiTBridge
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.scale import Scale, median_row_rms
from runkit.engine.evaluate import BridgeInputs, bridged_generations
from runkit.engine.kernels import install
from runkit.engine.pair import FrozenModel
from runkit.engine.prompts import SpecialTokens
from runkit.engine.source_states import SourceStates, source_states
from runkit.engine.supervision import Supervision
from runkit.engine.trainer import Schedule, Trainer, TrainingPool, TrainState, Weights

EXAMPLES = 1_330
ITEMS, NEW_TOKENS = 200, 256
BATCH = 2
STEPS, EVALUATIONS = 2_000, 11
NAIVE_ROWS, NAIVE_TOKENS = 36, 64
"""Of the naive way the first 8 and 64 tokens are timed; the rest is taken to go on like them."""
REFERENCE_SECONDS = 8_150
"""Steps and evaluations of the script that the project's first runs were made with, on the same GPU."""
WIDTH = 4096
BRIDGE = {"width": 512, "depth": 6, "heads": 8}
TRAIN_SAMPLER, EVAL_SAMPLER = 4, 8


class NumberTokenizer:
    """Writes a token as its number, and a space."""

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the numbers in *text*."""
        del add_special_tokens
        return [int(number) for number in text.split()]

    def decode(self, ids: Sequence[int], **_: object) -> str:
        """Return the numbers as text."""
        return "".join(f"{one} " for one in ids)


@dataclass
class Results:
    """What was measured, written after every number so that a run that is cut off keeps the rest."""

    path: Path
    numbers: dict[str, Any]

    def keep(self, name: str, value: Any) -> None:
        """Print and write one result."""
        self.numbers[name] = value
        print(f"{time.strftime('%H:%M:%S')} {name}: {value}", flush=True)
        self.path.write_text(json.dumps(self.numbers, indent=1))


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that *work* takes, the device's part included."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def rates() -> dict[str, float]:
    """Return FLOP/s of a bf16 product and bytes/s of a copy on this GPU."""
    left = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    right = torch.randn_like(left)
    product = min(timed(lambda: [left @ right for _ in range(20)]) for _ in range(3)) / 20
    source = torch.empty(2**31, device="cuda", dtype=torch.uint8)
    goal = torch.empty_like(source)
    copy = min(timed(lambda: [goal.copy_(source) for _ in range(10)]) for _ in range(3)) / 10
    return {"flop_per_s": 2 * 8192**3 / product, "byte_per_s": 2 * source.numel() / copy}


def frozen(known: Any, *, fast: bool) -> FrozenModel:
    """Return a random model of configuration *known* on the GPU."""
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(known, attn_implementation="sdpa", dtype=torch.bfloat16)
    torch.set_default_dtype(torch.float32)
    model.eval().requires_grad_(False)
    return FrozenModel(
        name=known.model_type,
        sha256="random",
        model=model,
        tokenizer=NumberTokenizer(),
        special=SpecialTokens(bos=1, eos=2, pad=2),
        kernels=install(model, compiled=True) if fast else None,
    )


def pair() -> tuple[FrozenModel, FrozenModel]:
    """Return source and target, of the shapes of Mistral-7B-v0.3 and Llama-3.1-8B."""
    common = {
        "hidden_size": WIDTH,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    }
    source = MistralConfig(**common, vocab_size=32768, sliding_window=None, head_dim=128)
    target = LlamaConfig(**common, vocab_size=128256, rope_theta=500000.0)
    return frozen(source, fast=True), frozen(target, fast=True)


@dataclass(frozen=True)
class Problems:
    """Random token ids with the lengths of GSM8K."""

    questions: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]

    @classmethod
    def drawn(cls, count: int, seed: int) -> Problems:
        """Return *count* problems, a function of *seed*."""
        draw = np.random.default_rng(seed)

        def ids(shortest: int, longest: int) -> tuple[int, ...]:
            return tuple(draw.integers(10, 30_000, draw.integers(shortest, longest)).tolist())

        return cls(tuple(ids(60, 200) for _ in range(count)), tuple(ids(70, 180) for _ in range(count)))


def states(source: FrozenModel, problems: Problems, prefix: Any) -> SourceStates:
    """Return the source's states of all questions, of two layers."""
    with tempfile.TemporaryDirectory() as folder:
        return source_states(
            source,
            problems.questions,
            layers=[16, 32],
            prefix=prefix,
            batch_size=32,
            threads=1,
            cache_dir=Path(folder),
            note=print,
        )


def drawn_noise(num_slots: int) -> Tensor:
    """Return the test problems' noise, drawn by several threads."""
    whole = torch.empty(ITEMS, num_slots, WIDTH)

    def fill(row: int) -> None:
        noise.fill(whole[row], run_seed=1, split="test", item_id=str(row), draw=0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(ITEMS)))
    return whole


def new_bridge(num_slots: int) -> DiTBridge:
    """Return a bridge in the middle of training: nothing is zero any more."""
    torch.manual_seed(0)
    dimensions = Dimensions(source_width=2 * WIDTH, target_width=WIDTH, num_soft_tokens=num_slots, **BRIDGE)
    bridge = DiTBridge(dimensions, slot_positions=True, conditioning="cross")
    with torch.no_grad():
        for weight in bridge.parameters():
            if not weight.any():
                weight.normal_(0, 0.02)
    return bridge.to("cuda")


def new_trainer(target: FrozenModel, pool: TrainingPool, *, prefix: Any) -> Trainer:
    """Return a trainer with the likelihood and the flow term."""
    return Trainer(
        target=target,
        pool=pool,
        weights=Weights(nll=1.0, flow=0.1, prompt_alignment=0, kl=0, info_nce=0, format=0, decode=0),
        schedule=Schedule(1e-4, 200, STEPS, True),
        run_seed=1234,
        batch_size=BATCH,
        sampler_steps=TRAIN_SAMPLER,
        noise_std=1.0,
        condition_drop=0.1,
        scale=Scale(median_row_rms(target.embedding_table), method="exact"),
        grad_clip_norm=1.0,
        alignment_mode="mse",
        supervision=Supervision(),
        decode_every_steps=10,
        max_new_tokens=NEW_TOKENS,
        prefix=prefix,
    )


def step_seconds(trainer: Trainer, state: TrainState, steps: int = 20) -> dict[str, float]:
    """Return what compiling costs once, in seconds over all first steps, and how long a step takes then."""
    beginning = [timed(lambda: trainer.advance(state)) for _ in range(8)]  # lengths differ from step to step

    def some() -> None:
        for _ in range(steps):
            trainer.advance(state)

    rounds = [timed(some) / steps for _ in range(3)]  # each ends with the device idle
    trainer.settle(state)
    median = statistics.median(rounds)
    compiling = sum(beginning) - len(beginning) * median
    return {"compiling": round(compiling, 1), "median": median, "best": min(rounds)}


def training_floor(pool: TrainingPool, num_slots: int, examples: int, flop_per_s: float) -> float:
    """Return the seconds of a step's products alone: the target forward and back, and the bridge."""
    tokens = statistics.mean(
        num_slots + len(text) + len(answer) + 1
        for text, answer in zip(pool.target_texts, pool.answers, strict=True)
    )
    answers = statistics.mean(len(answer) + 1 for answer in pool.answers)
    blocks = 2 * 6.979e9 * tokens + 4 * 4096 * 32 * tokens * (examples + tokens / 2)
    heads = 2 * 4096 * 128256 * answers
    bridge = num_slots * (TRAIN_SAMPLER + 1) * 2 * 40e6
    return BATCH * (2 * (blocks + heads) + 3 * bridge) / flop_per_s


def evaluation_floor(texts: Sequence[Sequence[int]], slots: int, found: dict[str, float]) -> float:
    """Return the seconds of reading the prompts and of moving weights, keys and values at each token."""
    read = sum(
        2 * 6.979e9 * (slots + len(text)) + 4 * 4096 * 32 * (slots + len(text)) * (EXAMPLES + slots / 2)
        for text in texts
    )
    kept = sum(slots + len(text) + NEW_TOKENS / 2 for text in texts) + EXAMPLES
    moved = NEW_TOKENS * (2 * 7.5e9 + 131_072 * kept)
    return read / found["flop_per_s"] + moved / found["byte_per_s"]


def peak_gib(work: Callable[[], object]) -> float:
    """Return the most memory that was allocated during *work*, in GiB."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    return round(torch.cuda.max_memory_allocated() / 2**30, 1)


def measure(
    num_slots: int,
    source: FrozenModel,
    target: FrozenModel,
    found: dict[str, float],
    results: Results,
    rows: Sequence[int],
) -> None:
    """Measure one number of soft tokens, evaluations with each number of *rows* at once."""
    name = f"K={num_slots}"
    examples = " ".join(str(10 + number % 30_000) for number in range(EXAMPLES - 1))
    source_prefix, prefix = source.read_prefix(examples), target.read_prefix(examples)
    train, test = Problems.drawn(64, seed=1), Problems.drawn(ITEMS, seed=2)
    pool = TrainingPool(
        item_ids=tuple(f"train-{row}" for row in range(64)),
        states=states(source, train, source_prefix),
        target_texts=train.questions,
        answers=train.answers,
        teacher_ids=tuple((ids * (1 + num_slots // len(ids)))[:num_slots] for ids in train.questions),
        question_spans=(),
    )
    bridge = new_bridge(num_slots)
    for what, before, length in (("with examples", prefix, EXAMPLES), ("without examples", None, 0)):
        trainer = new_trainer(target, pool, prefix=before)
        state = trainer.start(bridge, weight_decay=0.01)
        seconds: dict[str, float] = {}
        peak = peak_gib(lambda t=trainer, s=state, kept=seconds: kept.update(step_seconds(t, s)))
        floor = training_floor(pool, num_slots, length, found["flop_per_s"])
        ratio = round(seconds["median"] / floor, 2)
        results.keep(
            f"{name} training step {what}", {**seconds, "floor": floor, "ratio": ratio, "peak_GiB": peak}
        )
        del trainer, state
    started = time.perf_counter()
    inputs = BridgeInputs(
        states=states(source, test, source_prefix),
        noise_IKE=drawn_noise(num_slots),
        target_texts=test.questions,
        prefix=prefix,
    )
    results.keep(f"{name} preparing {ITEMS} items", round(time.perf_counter() - started, 1))
    scale = Scale(median_row_rms(target.embedding_table), method="exact")

    floor = evaluation_floor(test.questions, num_slots, found)
    for at_once in rows:

        def evaluate(at_once: int = at_once) -> Any:
            return bridged_generations(
                bridge, target, inputs, steps=EVAL_SAMPLER, scale=scale, batch_size=at_once,
                max_new_tokens=NEW_TOKENS, padded=True, stops=("Question:",),
            )  # fmt: skip

        first = timed(evaluate)
        again: list[Any] = []
        times: list[float] = []

        def twice(
            work: Callable[[], Any] = evaluate, kept: list[Any] = again, spent: list[float] = times
        ) -> None:
            spent.extend(timed(lambda: kept.append(work())) for _ in range(2))

        peak = peak_gib(twice)
        results.keep(
            f"{name} bridged evaluation, {at_once} rows at once",
            {
                "first": first,
                "then": min(times),
                "floor": floor,
                "ratio": round(min(times) / floor, 2),
                "peak_GiB": peak,
                "repeats": again[0] == again[1],
            },
        )


def baselines(source: FrozenModel, target: FrozenModel, found: dict[str, float], results: Results) -> None:
    """Measure both models alone on the test problems."""
    test = Problems.drawn(ITEMS, seed=2)
    examples = " ".join(str(10 + number % 30_000) for number in range(EXAMPLES - 1))
    prompts = [" ".join(map(str, ids)) for ids in test.questions]
    for role, model in (("source", source), ("target", target)):
        prefix = model.read_prefix(examples)

        def alone(model: FrozenModel = model, prefix: Any = prefix) -> object:
            return generate_alone(
                model, prompts, batch_size=ITEMS, max_new_tokens=NEW_TOKENS, padded=True, prefix=prefix,
                stops=("Question:",),
            )  # fmt: skip

        floor = evaluation_floor(test.questions, 0, found)
        first, then = timed(alone), timed(alone)
        ratio = round(then / floor, 2)
        results.keep(f"baseline {role}", {"first": first, "then": then, "floor": floor, "ratio": ratio})


def naive(num_slots: int, source: FrozenModel, target: FrozenModel, results: Results) -> None:
    """Do the same work the way that a script does, one batch of each kind."""
    for model in (source, target):  # as transformers does it
        model.model.set_attn_implementation("sdpa")
        for layer in model.model.base_model.layers:
            layer._compiled_call_impl = None
    problems = Problems.drawn(NAIVE_ROWS, seed=3)
    bridge = new_bridge(num_slots)
    longest = EXAMPLES + max(map(len, problems.questions))
    prompt = torch.randint(10, 30_000, (NAIVE_ROWS, longest), device="cuda")
    seen = torch.ones_like(prompt)
    table = target.embedding_table
    read = torch.randn(NAIVE_ROWS, 200, 2 * WIDTH, device="cuda")
    kept = torch.ones(NAIVE_ROWS, 200, dtype=torch.bool, device="cuda")

    def soft(rows: int, steps: int) -> Tensor:
        drawn = torch.randn(rows, num_slots, WIDTH, device="cuda")
        with torch.autocast("cuda", dtype=torch.bfloat16):
            said: Tensor = bridge(read[:rows], kept[:rows], drawn, steps=steps)
        return (0.01 * said).to(table.dtype)

    def generated(model: nn.Module, **inputs: Tensor) -> float:
        def some(count: int) -> Callable[[], None]:
            def work() -> None:
                with torch.no_grad():
                    model.generate(**inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False)

            return work

        few, more = timed(some(8)), timed(some(NAIVE_TOKENS))
        return few + (more - few) / (NAIVE_TOKENS - 8) * (NEW_TOKENS - 8)

    with torch.no_grad():
        said = torch.cat([soft(12, EVAL_SAMPLER) for _ in range(NAIVE_ROWS // 12)])
    embedded = torch.cat([said, functional.embedding(prompt, table)], dim=1)
    everything = torch.ones(embedded.shape[:2], device="cuda")
    one_batch = {
        "source": generated(source.model, input_ids=prompt, attention_mask=seen),
        "target": generated(target.model, input_ids=prompt, attention_mask=seen),
        "bridged": generated(target.model, inputs_embeds=embedded, attention_mask=everything),
    }
    evaluation = ITEMS / NAIVE_ROWS * sum(one_batch.values())
    results.keep("naive evaluation", {**one_batch, "rows": NAIVE_ROWS, f"of {ITEMS}": evaluation})
    del said, embedded, everything
    optimizer = torch.optim.AdamW(bridge.parameters())
    text = torch.randint(10, 30_000, (BATCH, EXAMPLES + 260), device="cuda")

    def step() -> None:
        with torch.no_grad():
            source.model(input_ids=prompt[:BATCH], output_hidden_states=True)
        embedded = torch.cat([soft(BATCH, TRAIN_SAMPLER), functional.embedding(text, table)], dim=1)
        rows = torch.ones(embedded.shape[:2], device="cuda", dtype=torch.long)
        labels = torch.full(embedded.shape[:2], -100, device="cuda")
        labels[:, -130:] = text[:, -130:]
        optimizer.zero_grad()
        target.model(inputs_embeds=embedded, attention_mask=rows, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(bridge.parameters(), 1.0).item()
        optimizer.step()

    step()
    seconds = min(timed(step) for _ in range(4))
    results.keep("naive training step", seconds)
    results.keep("naive schedule", STEPS * seconds + EVALUATIONS * evaluation)


def schedule(results: Results, num_slots: int, rows: int) -> None:
    """Add up the whole schedule from the parts; what is compiled once, with empty caches, stands apart."""
    numbers = results.numbers
    alone = [numbers[f"baseline {role}"] for role in ("source", "target")]
    evaluation = numbers[f"K={num_slots} bridged evaluation, {rows} rows at once"]
    steps = {
        what: numbers[f"K={num_slots} training step {what}"] for what in ("with examples", "without examples")
    }
    compiled = sum(one["first"] - one["then"] for one in (*alone, evaluation))
    compiled += sum(step["compiling"] for step in steps.values())  # the second finds what the first compiled
    for what, step in steps.items():
        work = STEPS * step["median"] + EVALUATIONS * evaluation["then"] + sum(one["then"] for one in alone)
        results.keep(
            f"K={num_slots} schedule {what}",
            {
                "seconds": work,
                "times cheaper than the reference": REFERENCE_SECONDS / work,
                "seconds with compiling": work + compiled,
                "times cheaper with compiling": REFERENCE_SECONDS / (work + compiled),
            },
        )


def main() -> None:
    """Measure everything and leave it in a JSON file."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=Path())
    arguments.add_argument("--num-soft-tokens", type=int, nargs="+", default=[2048, 128])
    arguments.add_argument(
        "--rows", type=int, nargs="+", default=[ITEMS, ITEMS // 2], help="rows at once, at the largest K"
    )
    arguments.add_argument("--memory-gb", type=float, help="use no more of the GPU than this")
    arguments.add_argument("--no-baselines", action="store_true")
    arguments.add_argument("--no-naive", action="store_true")
    given = arguments.parse_args()
    results = Results(given.out / "engine_gpu.json", {})
    if given.memory_gb:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(given.memory_gb * 1e9 / total)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    results.keep(
        "machine", {"gpu": torch.cuda.get_device_name(), "python": platform.python_version(), **versions}
    )
    found = rates()
    results.keep("rates", found)
    source, target = pair()
    if not given.no_baselines:
        baselines(source, target, found, results)
    for num_slots in given.num_soft_tokens:
        rows = given.rows if num_slots == max(given.num_soft_tokens) else [ITEMS]
        measure(num_slots, source, target, found, results, rows)
        torch.cuda.empty_cache()
        if not given.no_baselines:
            schedule(results, num_slots, rows[0])
    if not given.no_naive:
        naive(max(given.num_soft_tokens), source, target, results)


if __name__ == "__main__":
    main()
