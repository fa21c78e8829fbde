"""How many rows an evaluation takes where nobody said so: the number fits, changes rarely, is chosen once."""

import math
import shutil
import weakref
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

from runkit.engine import config, decoding, evaluate, limits, preparation
from runkit.engine.evaluation_rows import (
    CPU_BYTES,
    CPU_ROWS,
    Sized,
    agreed,
    device_bytes,
    ladder,
    rows_for_cpu,
    rows_for_device,
    spared,
    why_for_cpu,
    why_for_device,
)
from runkit.engine.kernels import install
from runkit.engine.limits import Evaluation, ModelShape, Workload
from runkit.engine.pair import load_frozen, shape_of

from .conftest import SHORT

GIB = 2**30
MISTRAL_7B = ModelShape(7_248_023_552, 32, 4096, 1024, 32_768, 2)
LLAMA_8B = ModelShape(8_030_261_248, 32, 4096, 1024, 128_256, 2)
PAIR = (MISTRAL_7B, LLAMA_8B)
WEIGHTS = sum(limits.weight_bytes(*PAIR).values())
BRIDGE = 40_000_000


def measured_load(slots):
    """The sizes of `benchmarks/engine_gpu.py`: 1,330 tokens of examples, questions of up to 200 tokens."""
    sizes = Evaluation(slots, 200, 200, 200, 256, bridge_width=512, on_gpu=True, in_place=True)
    return Workload(
        BRIDGE, 7000 * 90, 2, 1330, 2, slots + 600, 400, 1, sizes, sampler_steps=5, bridge_depth=6
    )


@some.composite
def loads(draw):
    """Shapes and sizes of any pair."""
    shapes = [
        ModelShape(
            parameters=10**9,
            layers=draw(some.integers(1, 80)),
            width=64 * draw(some.integers(1, 128)),
            key_value_width=64 * draw(some.integers(1, 16)),
            vocabulary=draw(some.integers(300, 200_000)),
            value_bytes=draw(some.sampled_from([2, 4])),
        )
        for _ in range(2)
    ]
    sizes = Evaluation(
        slots=draw(some.integers(0, 4096)),
        text=draw(some.integers(1, 3000)),
        alone=draw(some.integers(1, 3000)),
        question=draw(some.integers(1, 3000)),
        new=draw(some.integers(1, 600)),
        bridge_width=draw(some.integers(2, 1024)),
        reads_examples=draw(some.booleans()),
        on_gpu=draw(some.booleans()),
        in_place=draw(some.booleans()),
        spells=draw(some.booleans()),
        taught=draw(some.integers(0, 3000)),
    )
    steps, depth = draw(some.integers(0, 9)), draw(some.integers(1, 12))
    load = Workload(10**7, 10**6, 2, draw(some.integers(1, 2000)), 2, 500, 300, 1, sizes, steps, depth)
    return *shapes, load


memories = some.integers(0, 200 * GIB)
items_of = some.integers(1, 3000)


def test_the_ladder_of_200_and_of_1319_items():
    assert list(ladder(200)) == [200, 100, 67, 50, 40, 29, 23, 17, 14, 11, 9, 7, 6, 5, 4, 3, 2, 1]
    assert list(ladder(1319))[:9] == [1319, 660, 440, 330, 264, 189, 147, 110, 88]
    assert list(ladder(200, processes=2))[:5] == [100, 50, 34, 25, 20]


@given(items_of, some.integers(1, 16))
def test_a_rung_divides_the_work_into_equal_batches_that_the_processes_share(items, processes):
    rungs = list(ladder(items, processes=processes))
    assert rungs == sorted(set(rungs), reverse=True)
    assert rungs[-1] == 1
    assert rungs[0] == math.ceil(items / processes)
    for rows in rungs[:-1]:
        batches = math.ceil(items / rows)
        rounds = math.ceil(batches / processes)
        assert rows == math.ceil(items / (rounds * processes)), "no smaller number needs as few rounds"
    for more, fewer in pairwise(rungs):
        assert math.ceil(items / fewer) > math.ceil(items / more)


@given(loads(), items_of, memories, memories, some.integers(1, 4))
def test_more_memory_never_means_fewer_rows(pair, items, one, other, processes):
    fewer, more = (
        rows_for_device(*pair, items=items, free_bytes=free, processes=processes)
        for free in sorted((one, other))
    )
    assert fewer.rows <= more.rows <= items


@given(loads(), items_of, memories)
def test_the_number_fits_by_the_same_estimate_and_the_next_rung_would_not(pair, items, free):
    *shapes, load = pair
    sized = rows_for_device(*pair, items=items, free_bytes=free)
    assert sized.needed_bytes == device_bytes(*pair, rows=sized.rows)
    training = limits.run_bytes(*shapes, load)
    del training["source states"], training["evaluation"]
    limit = max(free - spared(free), limits.total_bytes(training))
    if sized.needed_bytes > limit:
        assert sized.rows == 1
    larger = [rows for rows in ladder(items) if rows > sized.rows]
    assert all(device_bytes(*pair, rows=rows) > limit for rows in larger)


@given(loads(), items_of, memories)
def test_soft_tokens_alone_take_the_rows_of_the_run_with_text(pair, items, free):
    *shapes, load = pair
    with_text = load.evaluation._replace(text=load.evaluation.alone, reads_examples=True)
    alone = load.evaluation._replace(text=1, reads_examples=False)
    there, here = (load._replace(evaluation=sizes) for sizes in (with_text, alone))
    chosen = rows_for_device(*shapes, there, items=items, free_bytes=free)
    assert chosen == rows_for_device(*shapes, here, items=items, free_bytes=free)
    assert rows_for_cpu(*shapes, there, items=items) == rows_for_cpu(*shapes, here, items=items)
    needed = limits.run_bytes(*shapes, here._replace(eval_batch=chosen.rows))
    del needed["source states"]
    assert limits.total_bytes(needed) <= chosen.needed_bytes


@given(loads(), some.integers(1, 3000))
def test_one_more_row_never_needs_less(pair, rows):
    assert device_bytes(*pair, rows=rows) <= device_bytes(*pair, rows=rows + 1)


@given(some.integers(30 * GIB, 120 * GIB), some.integers(-GIB // 4, GIB // 4))
def test_a_little_more_or_less_free_memory_seldom_changes_the_number(free, other):
    here, there = (
        rows_for_device(*PAIR, measured_load(2048), items=200, free_bytes=bytes_).rows
        for bytes_ in (free, free + other)
    )
    rungs = list(ladder(200))
    assert abs(rungs.index(here) - rungs.index(there)) <= 1


def estimated_gib(slots, rows):
    """Return what both models, a bridge without its optimiser and an evaluation should need."""
    needed = limits.run_bytes(*PAIR, measured_load(slots)._replace(eval_batch=rows))
    return (WEIGHTS + 4 * BRIDGE + needed["worked examples"] + needed["evaluation"]) / GIB


@pytest.mark.parametrize(("slots", "peak_gib"), [(2048, 100.1), (128, 47.4)])
def test_the_estimate_is_what_an_h200_was_measured_to_need(slots, peak_gib):
    """`benchmarks/RESULTS.md`, 200 rows at once."""
    assert peak_gib <= estimated_gib(slots, 200) <= 1.02 * peak_gib


@pytest.mark.parametrize(("slots", "peak_gib"), [(2048, 65.9), (128, 39.7)])
def test_what_a_process_still_held_of_larger_evaluations_is_within_what_is_spared(slots, peak_gib):
    """The same after those of 200 rows, 100 at once."""
    assert estimated_gib(slots, 100) <= 1.02 * peak_gib
    assert peak_gib <= estimated_gib(slots, 100) + spared(80 * GIB) / GIB


def test_an_estimate_that_forgets_the_soft_tokens_is_not_what_was_measured(monkeypatch):
    """Sabotage: keys and values alone, as the estimate was before."""
    cache_bytes = limits.cache_bytes
    monkeypatch.setattr(
        limits,
        "evaluation_bytes",
        lambda _source, target, load: {"bridged": cache_bytes(target, load.eval_batch * 2504)},
    )
    with pytest.raises(AssertionError):
        test_the_estimate_is_what_an_h200_was_measured_to_need(2048, 100.1)


def test_cards_of_141_and_of_80_gb_take_200_and_100_rows():
    for total_bytes, rows in ((139.7 * GIB, 200), (79.2 * GIB, 100), (80e9, 100)):
        free = int(total_bytes) - WEIGHTS - GIB // 2
        sized = rows_for_device(*PAIR, measured_load(2048), items=200, free_bytes=free)
        assert sized.rows == rows
        assert WEIGHTS + sized.needed_bytes + spared(free) < total_bytes


def test_a_training_step_that_just_fits_is_no_reason_for_single_rows():
    load = measured_load(2048)._replace(train_batch=6)
    training = limits.run_bytes(*PAIR, load)
    del training["source states"], training["evaluation"]
    free = limits.total_bytes(training)
    sized = rows_for_device(*PAIR, load, items=200, free_bytes=free)
    assert (sized.rows, sized.needed_bytes, sized.fits) == (200, free, True)
    assert rows_for_device(*PAIR, load, items=200, free_bytes=free - 1).fits is False


@given(some.lists(some.tuples(some.integers(1, 999), some.integers(0), some.integers(0)), min_size=1))
def test_processes_take_the_smallest_number(each):
    sized = [Sized(*one) for one in each]
    assert agreed(sized) in sized
    assert agreed(sized).rows == min(one.rows for one in sized)
    assert agreed(sized) == agreed(sized[::-1])


@given(loads(), items_of)
def test_the_cpu_takes_what_models_and_problems_say(pair, items):
    sized = rows_for_cpu(*pair, items=items)
    assert 1 <= sized.rows <= min(items, CPU_ROWS)
    assert sized.rows == 1 or sized.needed_bytes <= CPU_BYTES
    assert sized.free_bytes == CPU_BYTES


def test_the_reasons_read_like_this():
    sized = Sized(100, 43_500_000_000, 53_700_000_000)
    assert why_for_device(sized, items=200, processes=1) == (
        "the largest equal batches of 200 items that fit: estimated to need 40.5 GiB of the 50.0 that were "
        "free, of which 3.5 are spared"
    )
    assert " that were free on the fullest GPU of 2 processes, of which " in why_for_device(
        sized, items=200, processes=2
    )
    assert why_for_cpu(sized._replace(rows=125, needed_bytes=GIB // 2), items=500) == (
        "the largest equal batches of 500 items with at most 128 rows and 4.0 GiB: estimated to need 0.5 "
        "GiB, whatever the machine has free"
    )


def test_what_the_estimate_knows_of_decoding_is_what_decoding_does(tiny):
    assert limits.PROMPT_TOKENS == decoding._PROMPT_TOKENS
    assert limits.COLUMNS == decoding._COLUMNS
    assert limits.SAMPLED_ROWS == evaluate._ROWS_AT_ONCE
    frozen = load_frozen(tiny["llama"])
    kernels = install(frozen.model, compiled=False)
    kept = decoding.Decoding(
        frozen.model, kernels, lengths=[70, 3], max_new_tokens=60, prefix=None, start=1
    ).kept
    allocated = sum(keys.nbytes + values.nbytes for keys, values in kept)
    assert allocated == limits.cache_bytes(shape_of(frozen.model), 2 * 192)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, of those made while it is entered."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        made = function(*arguments, **(named or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                self.watch(one.untyped_storage())
        return made

    def watch(self, storage):
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.forget, size)

    def forget(self, size):
        self.now -= size


def test_the_estimate_is_near_what_an_evaluation_takes(tmp_path, tiny, problems, cache_dir):
    """With caches that grow, whose every tensor can be counted on the CPU."""
    torch.manual_seed(3)
    many_layers = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=224, num_hidden_layers=12,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
    )  # fmt: skip
    folder = shutil.copytree(tiny["llama"], tmp_path / "deep")
    LlamaForCausalLM(many_layers).save_pretrained(folder)
    pair = (f"pair.source={tiny['llama']}", f"pair.target={folder}")
    sizes = ("bridge.num_soft_tokens=64", "eval.max_new_tokens=40")
    wanted = config.with_overrides(config.load_preset("pocket"), [*SHORT, *problems, *pair, *sizes])
    fitted = preparation.fit(wanted, cache_dir=cache_dir, note=lambda _line: None)
    ready = fitted.prepared()
    bridge = preparation.new_bridge(wanted, ready)
    with LiveBytes() as live:
        preparation.bridged(wanted, ready, bridge, ready.test.inputs)
    load = fitted.builder.workload()._replace(eval_batch=wanted.eval.test_items)
    estimated = limits.evaluation_bytes(*fitted.builder.shapes, load)
    assert 0.9 < max(estimated["bridged"], estimated["sampling"]) / live.peak < 1.25
