"""The presets for a real pair: they fit the data, the contexts and one 80 GB card, and run on any."""

import pytest

from runkit.engine import config, limits
from runkit.engine.evaluation_rows import rows_for_device
from runkit.engine.preparation import num_bridge_parameters
from runkit.engine.tasks.gsm8k import DEV_PROBLEMS

PRESETS = ["gsm8k", "gsm8k_soft_only"]
MISTRAL = limits.ModelShape(7_248_023_552, 32, 4096, 1024, 32_768, 2)
LLAMA = limits.ModelShape(8_030_261_248, 32, 4096, 1024, 128_256, 2)
EXAMPLES, QUESTION, ANSWER = 1450, 260, 420
"""Tokens, rounded up: eight worked examples, the longest question and the longest answer of the data set."""


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_asks_for_no_more_problems_than_there_are(name):
    wanted = config.load_preset(name)
    assert wanted.train.pool_items <= 7473 - DEV_PROBLEMS - wanted.task.few_shot
    assert wanted.eval.dev_items <= DEV_PROBLEMS
    assert wanted.eval.test_items == 1319
    assert wanted.sampler.train_steps == wanted.sampler.eval_steps
    assert config.inert(wanted) == {}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_one_card_of_80_gb(name):
    wanted = config.load_preset(name)
    soft = wanted.bridge.num_soft_tokens
    load = limits.Workload(
        bridge_parameters=num_bridge_parameters(wanted, source_width=2 * 4096, target_width=4096),
        num_states=(wanted.train.pool_items + 200 + 1319) * 90,
        tapped_layers=2,
        prefix_positions=EXAMPLES,
        train_batch=wanted.train.batch_size,
        train_positions=soft + QUESTION + ANSWER,
        train_answers=ANSWER,
        eval_batch=1,
        evaluation=limits.Evaluation(
            slots=soft,
            text=QUESTION,
            alone=QUESTION,
            question=QUESTION,
            new=wanted.eval.max_new_tokens,
            bridge_width=wanted.bridge.width,
            reads_examples=wanted.prompt.mode == "soft_plus_text",
            on_gpu=True,
            in_place=True,
        ),
        sampler_steps=wanted.sampler.train_steps + 1,
        bridge_depth=wanted.bridge.depth,
    )
    assert wanted.eval.batch_size == config.AUTO
    weights = limits.weight_bytes(MISTRAL, LLAMA)
    free = 80 * 10**9 - sum(weights.values())
    rows = rows_for_device(MISTRAL, LLAMA, load, items=wanted.eval.test_items, free_bytes=free).rows
    assert rows >= 100
    needed = weights | limits.run_bytes(MISTRAL, LLAMA, load._replace(eval_batch=rows))
    on_host = needed.pop("source states")
    assert on_host < 32 * 2**30
    limits.refuse_what_does_not_fit(needed, available_bytes=80 * 10**9, where="one card")
    assert EXAMPLES + soft + QUESTION + ANSWER < 8192


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_on_local_folders_and_files_given_by_set(short_run, problems, tiny, name):
    pair = [f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}"]
    small = ["bridge.num_soft_tokens=8", "bridge.width=32", "bridge.depth=1", "eval.max_new_tokens=8"]
    run, result = short_run("one", *problems, *pair, *small, preset=name)
    assert (result.steps, result.final["bridged"].total) == (6, 12)
    assert '"source": "mistralai' not in (run / "config.json").read_text()
