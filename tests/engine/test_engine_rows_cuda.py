"""On a GPU an evaluation takes about what was estimated, never more, and `auto` is what fits."""

import json
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from runkit.engine import config, limits, preparation

from .conftest import SHORT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
SIZES = (
    "compute.device=cuda",
    "pair.dtype=bf16",
    "eval.max_new_tokens=64",
    "eval.test_items=12",
)


@pytest.fixture(scope="module")
def large(tiny, tmp_path_factory):
    """Settings for a pair of 16 layers, the second of which keeps 64 KiB a token."""
    torch.manual_seed(3)
    folder = shutil.copytree(tiny["llama"], tmp_path_factory.mktemp("large") / "model")
    shape = LlamaConfig(
        vocab_size=300, hidden_size=1024, intermediate_size=3584, num_hidden_layers=16,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder)
    return (f"pair.source={tiny['llama']}", f"pair.target={folder}", "bridge.num_soft_tokens=1024")


def test_the_peak_of_an_evaluation_is_about_what_was_estimated(large, problems, cache_dir):
    wanted = config.with_overrides(config.load_preset("pocket"), [*SHORT, *problems, *large, *SIZES])
    fitted = preparation.fit(wanted, cache_dir=cache_dir, note=lambda _line: None)
    ready = fitted.prepared()
    if ready.target.kernels is None:
        pytest.skip("nothing can be compiled here")
    bridge = preparation.new_bridge(wanted, ready)
    preparation.bridged(wanted, ready, bridge, ready.test.inputs)  # compiles
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    preparation.bridged(wanted, ready, bridge, ready.test.inputs)
    peak = torch.cuda.max_memory_allocated() - before
    load = fitted.builder.workload()._replace(eval_batch=wanted.eval.test_items)
    parts = limits.evaluation_bytes(*fitted.builder.shapes, load)
    assert 0.6 < peak / max(parts["bridged"], parts["sampling"]) < 1.0


def test_auto_is_chosen_from_the_free_memory_and_said(large, problems, short_run):
    run, result = short_run("one", *problems, *large, *SIZES, "eval.batch_size=auto")
    said = json.loads((run / "config.json").read_text())
    assert said["effective"]["eval.batch_size"] == 12
    assert said["automatic"]["eval.batch_size"].startswith(
        "12, the largest equal batches of 12 items that fit: estimated to need "
    )
    assert result.final["bridged"].total == 12
