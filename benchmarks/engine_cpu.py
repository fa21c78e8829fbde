"""Measures on the CPU what sharing and caching save, each pair of ways side by side in one process.

Run it from a checkout with the engine installed::

    python benchmarks/engine_cpu.py [--rounds 5]

The two ways of a pair alternate, so that other work on the machine slows both. Printed are the medians and
the median of the rounds' ratios. The models are the pocket pair and a random Llama of 4 layers: ratios say
what the engine saves, seconds say nothing about large models.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from runkit.engine.baselines import cached_alone, generate_alone
from runkit.engine.pair import FrozenModel, load_frozen
from runkit.engine.tasks import load_task

ITEMS = 200
NEW_TOKENS = 28


class Comparison(NamedTuple):
    """Seconds of two ways to the same result, round by round."""

    name: str
    slow: list[float]
    fast: list[float]

    def row(self) -> str:
        """Return the row of a Markdown table."""
        ratio = statistics.median(slow / fast for slow, fast in zip(self.slow, self.fast, strict=True))
        slow, fast = statistics.median(self.slow), statistics.median(self.fast)
        return f"| {self.name} | {slow:.3f} | {fast:.3f} | {ratio:.1f} |"


def compare(name: str, slow: Callable[[], object], fast: Callable[[], object], rounds: int) -> Comparison:
    """Run both ways in turn, after one run of each that is not counted and must give equal results."""
    if slow() != fast():
        raise SystemExit(f"{name}: the two ways give different results")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way, kept in zip((slow, fast), times, strict=True):
            started = time.perf_counter()
            way()
            kept.append(time.perf_counter() - started)
    return Comparison(name, *times)


def questions() -> list[str]:
    """Return the pocket task's first test problems, as prompts."""
    task = load_task("pricelist")
    return [task.item(seed=7, split="test", index=index).question + "\nA:" for index in range(ITEMS)]


def baselines(rounds: int) -> Comparison:
    """Compare generating the pocket target's baseline with reading it from the cache."""
    frozen, prompts = load_frozen("pocket/target"), questions()
    with tempfile.TemporaryDirectory() as folder:

        def cached() -> object:
            return cached_alone(
                frozen, prompts, batch_size=128, max_new_tokens=NEW_TOKENS, threads=1,
                cache_dir=Path(folder), note=print,
            )  # fmt: skip

        def regenerated() -> object:
            return generate_alone(frozen, prompts, batch_size=128, max_new_tokens=NEW_TOKENS)

        return compare(f"baseline of {ITEMS} items: regenerated, cached", regenerated, cached, rounds)


def batches(rounds: int) -> Comparison:
    """Compare batches of one length with padded ones, where there are many lengths."""
    frozen = load_frozen("pocket/target")
    prompts = [" a" * (row % 97) + prompt for row, prompt in enumerate(questions())]

    def generated(padded: bool) -> object:
        return generate_alone(frozen, prompts, batch_size=64, max_new_tokens=NEW_TOKENS, padded=padded)

    lengths = len({len(frozen.encode(prompt)) for prompt in prompts})
    name = f"{ITEMS} prompts of {lengths} lengths: batches of one length, padded"
    return compare(name, lambda: generated(False), lambda: generated(True), rounds)


def shared_prefix(rounds: int) -> list[Comparison]:
    """Compare reading eight worked examples before each prompt with reading them once."""
    task, frozen, prompts = load_task("pricelist"), _wide(), questions()[:32]
    shots = [task.item(seed=7, split="train", index=index) for index in range(8)]
    examples = "".join(f"{shot.question}\nA:{shot.answer}\n" for shot in shots)
    prefix = frozen.read_prefix(examples)
    assert prefix is not None

    def whole(new: int) -> object:
        return generate_alone(
            frozen, [examples + prompt for prompt in prompts], batch_size=16, max_new_tokens=new, padded=True
        )

    def shared(new: int) -> object:
        return generate_alone(frozen, prompts, batch_size=16, max_new_tokens=new, padded=True, prefix=prefix)

    print(f"prefix {len(prefix.token_ids)} tokens, prompts about {len(frozen.encode(prompts[0]))}")
    return [
        compare(f"{len(prompts)} prompts, {new} new token(s): prefix read each time, shared",
                lambda new=new: whole(new), lambda new=new: shared(new), rounds)
        for new in (1, NEW_TOKENS)
    ]  # fmt: skip


def _wide() -> FrozenModel:
    """Return a random Llama, 4 layers of width 256 and long enough, with the pocket target's tokenizer."""
    pocket = load_frozen("pocket/target")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(pocket.embedding_table), hidden_size=256, intermediate_size=704, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, initializer_range=0.1,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    return FrozenModel("random", None, model, pocket.tokenizer, pocket.special)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description="Measure what sharing and caching save on the CPU.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = [baselines(rounds), batches(rounds), *shared_prefix(rounds)]
    print("| what | s, first way | s, second way | times |\n| --- | --: | --: | --: |")
    for one in rows:
        print(one.row())


if __name__ == "__main__":
    main()
