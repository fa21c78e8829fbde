"""Models of any family and origin: what loads, what is refused with which line, and what a pair needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from runkit.engine import config, limits
from runkit.engine.pair import load_frozen, shape_before_loading, shape_of
from runkit.engine.preparation import new_bridge, num_bridge_parameters, prepare
from runkit.errors import TrainingStopped, UnknownName, UsageError
from tests.engine.conftest import SHORT
from tests.engine.tiny_models import FAMILIES, write_model

GIB = 2**30
MISTRAL_7B = limits.ModelShape(7_248_023_552, 32, 4096, 1024, 32768, 2)
LLAMA_8B = limits.ModelShape(8_030_261_248, 32, 4096, 1024, 128256, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shape_is_known_before_any_weight_is_loaded(tiny, family):
    before = shape_before_loading(tiny[family], revision="main", dtype="fp32")
    frozen = load_frozen(tiny[family])
    assert before == shape_of(frozen.model)
    actual = sum(weight.nbytes for weight in frozen.model.parameters())
    assert limits.weight_bytes(before, before)["source weights"] == actual
    prefix = frozen.read_prefix("Q: How many apples does Tom have?")
    kept = sum(keys.nbytes + values.nbytes for keys, values in prefix.layers)
    assert limits.cache_bytes(before, len(prefix.token_ids)) == kept


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_halves_the_weights_and_a_run_in_it_still_trains_an_fp32_bridge(
    short_run, problems, tiny, family
):
    frozen = load_frozen(tiny[family], dtype="bf16")
    assert (frozen.embedding_table.dtype, shape_of(frozen.model).value_bytes) == (torch.bfloat16, 2)
    if family == "mistral":
        run, result = short_run(
            "one",
            *problems,
            f"pair.source={tiny['mistral']}",
            f"pair.target={tiny['llama']}",
            "pair.dtype=bf16",
        )
        assert result.steps == 6
        assert json.loads((run / "config.json").read_text())["effective"]["pair.dtype"] == "bf16"


@pytest.mark.parametrize("align", ["none", "identity", "ridge"])
@pytest.mark.parametrize(
    "overrides",
    [
        ["bridge.kind=dit"],
        ["bridge.kind=dit", "bridge.conditioning=attn_pool", "bridge.slot_positions=false"],
        ["bridge.kind=dit", "sampler.guidance=2"],
        ["bridge.kind=resampler", "bridge.num_soft_tokens=3"],
        ["bridge.kind=resampler", "prompt.injection=adapter"],
        ["bridge.kind=linear"],
    ],
    ids=["dit", "pooled", "guided", "resampler", "adapter", "linear"],
)
def test_the_number_of_a_bridges_parameters_is_known_before_it_is_built(cache_dir, overrides, align):
    settings = [*SHORT, "bridge.depth=3", *overrides, f"source_align.kind={align}"]
    wanted = config.with_overrides(config.load_preset("pocket"), settings)
    ready = prepare(wanted, cache_dir=cache_dir, note=lambda _line: None)
    bridge = new_bridge(wanted, ready)
    widths = ready.trainer.pool.states.width, ready.target.embedding_table.shape[1]
    foreseen = num_bridge_parameters(wanted, source_width=widths[0], target_width=widths[1])
    assert foreseen == sum(weight.numel() for weight in bridge.parameters())


def test_the_parameters_of_a_large_bridge_take_no_memory_to_count():
    wanted, width = config.load_preset("gsm8k"), 512
    attention, mlp = 4 * width**2 + 4 * width, 8 * width**2 + 5 * width
    block = 2 * attention + mlp + 9 * (width**2 + width)
    ends = 8192 + (8192 + 1) * width + (4096 + 1) * width + (width + 1) * 4096
    rest = 128 * width + 2 * (width**2 + width) + 2 * (width**2 + width)
    foreseen = num_bridge_parameters(wanted, source_width=8192, target_width=4096)
    assert foreseen == 6 * block + ends + rest


EVALUATION = limits.Evaluation(slots=128, text=300, alone=300, question=200, new=256, bridge_width=512)


def workload(**changed):
    base = limits.Workload(60_000_000, 7000 * 200, 2, 1400, 2, 500, 300, 36, EVALUATION)
    return base._replace(**changed)


def test_what_a_large_pair_needs_is_a_function_of_shapes():
    assert limits.weight_bytes(MISTRAL_7B, LLAMA_8B) == {
        "source weights": 14_496_047_104, "target weights": 16_060_522_496,
    }  # fmt: skip
    needed = limits.run_bytes(MISTRAL_7B, LLAMA_8B, workload())
    assert needed["source states"] == 7000 * 200 * 2 * 4096 * 2
    kept = 36 * (1400 + 128 + 300 + 256) * 128 * 1024  # 128 KiB a token
    soft_and_prompts = 36 * (128 + 128 + 300) * 4096 * 2
    block = 36 * 428 * 17 * 4096 * 2 + 36 * (1400 + 428) * 2 * 1024 * 2
    assert needed["evaluation"] == kept + soft_and_prompts + block
    assert needed["bridge and optimiser"] == 960_000_000
    assert needed["worked examples"] == 2 * 1400 * 128 * 1024
    for change, part in (("train_batch", "training step"), ("eval_batch", "evaluation")):
        doubled = limits.run_bytes(
            MISTRAL_7B, LLAMA_8B, workload(**{change: 2 * getattr(workload(), change)})
        )
        assert doubled[part] == 2 * needed[part]
        assert {key: doubled[key] for key in needed if key != part} == {
            key: needed[key] for key in needed if key != part
        }


def test_a_pair_that_does_not_fit_is_told_what_to_reduce():
    needed = limits.run_bytes(MISTRAL_7B, LLAMA_8B, workload())
    with pytest.raises(TrainingStopped) as caught:
        limits.refuse_what_does_not_fit(needed, available_bytes=16 * GIB, where="this machine's cuda")
    assert str(caught.value) == (
        "the pair needs about 34.2 GiB more and this machine's cuda has 16.0 free "
        "(source states 21.4, evaluation 11.6, training step 5.3, bridge and optimiser 0.9, "
        "worked examples 0.3); reduce train.pool_items or tap fewer pair.source_layers"
    )
    limits.refuse_what_does_not_fit(needed, available_bytes=35 * GIB, where="this machine's cuda")
    weights = limits.weight_bytes(MISTRAL_7B, LLAMA_8B)
    with pytest.raises(TrainingStopped, match=r"; use pair\.dtype=bf16 or a smaller target$"):
        limits.refuse_what_does_not_fit(weights, available_bytes=24 * GIB, where="this machine's cuda")


def test_an_evaluation_that_does_not_fit_is_told_how_many_rows_would():
    needed = limits.run_bytes(MISTRAL_7B, LLAMA_8B, workload(eval_batch=200))
    assert max(needed, key=needed.get) == "evaluation"
    for rows, way_out in ((50, "eval.batch_size=50 would fit"), (0, limits.WAYS_OUT["evaluation"])):
        with pytest.raises(TrainingStopped) as refused:
            limits.refuse_what_does_not_fit(
                needed, available_bytes=30 * GIB, where="one card", rows_that_fit=rows
            )
        assert str(refused.value).endswith(f"; {way_out}")


def test_examples_that_are_read_where_they_lie_are_kept_once_and_copied_ones_for_each_row():
    many = workload(eval_batch=200)
    copied, shared = (
        limits.evaluation_bytes(
            LLAMA_8B, LLAMA_8B, many._replace(evaluation=EVALUATION._replace(in_place=in_place))
        )["alone"]
        for in_place in (False, True)
    )
    assert copied - shared > limits.cache_bytes(LLAMA_8B, 199 * 1400)


def test_every_part_has_a_way_out():
    needed = limits.run_bytes(MISTRAL_7B, LLAMA_8B, workload())
    assert {*needed, *limits.weight_bytes(MISTRAL_7B, LLAMA_8B)} == set(limits.WAYS_OUT)


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(short_run, tmp_path):
    with pytest.raises(TrainingStopped) as caught:
        short_run("one", "bridge.num_soft_tokens=230")
    message = str(caught.value)
    assert message.startswith("pocket/target reads at most 256 tokens and this run needs 2")
    assert "230 soft + " in message
    assert message.endswith("; reduce bridge.num_soft_tokens, task.few_shot or eval.max_new_tokens")
    parts = {"begin or examples": 1, "soft": 0, "prompt": 200, "new": 56}
    with pytest.raises(TrainingStopped, match=r"needs 257 \(1 begin or examples \+ 200 prompt \+ 56 new\)"):
        limits.refuse_what_is_too_long("m", context=256, parts=parts)
    limits.refuse_what_is_too_long("m", context=257, parts=parts)
    limits.refuse_what_is_too_long("m", context=None, parts=parts)


def test_a_tokenizer_without_an_end_token_is_refused_and_one_without_a_begin_token_is_not(tiny, tmp_path):
    folder = write_model(tmp_path / "endless", "llama", pad_token="<pad>")
    with pytest.raises(TrainingStopped) as caught:
        load_frozen(str(folder))
    assert str(caught.value) == (
        f"{folder} cannot be bridged: its tokenizer has no end token, so nothing would end an answer; "
        "set eos_token in its tokenizer_config.json"
    )
    assert load_frozen(tiny["qwen2"]).special.bos is None
    neox = load_frozen(tiny["gpt_neox"]).special
    assert neox.bos == neox.eos == neox.pad


def test_a_special_token_outside_the_embedding_table_is_refused(tmp_path):
    folder = write_model(tmp_path / "outside", "llama")
    tokenizer = load_frozen(str(folder)).tokenizer
    tokenizer.add_special_tokens({"eos_token": "<the end>"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        TrainingStopped, match=r"cannot be bridged: its end token is number 300 of 300 embeddings$"
    ):
        load_frozen(str(folder))


def test_all_end_tokens_of_the_generation_configuration_end_a_text(tiny, tmp_path):
    folder = tmp_path / "two_ends"
    shutil.copytree(tiny["llama"], folder)
    eos = load_frozen(tiny["llama"]).special.eos
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [eos, 17, 40]}))
    assert load_frozen(str(folder)).more_ends == {17, 40}


def test_a_revision_of_a_folder_and_a_device_that_is_not_there_are_refused(tiny):
    with pytest.raises(UsageError) as caught:
        load_frozen(tiny["llama"], revision="v2")
    assert str(caught.value) == f"{tiny['llama']} is a folder and has no revision 'v2'; only the hub has"
    if not torch.cuda.is_available():
        with pytest.raises(
            UsageError, match=r"^compute\.device is cuda and this machine has no CUDA device;"
        ):
            load_frozen("pocket/source", device="cuda")
    with pytest.raises(UnknownName, match=r"or a name on the hub such as org/model$"):
        load_frozen("no such model")


HUB = """
import sys
from runkit.engine.pair import load_frozen
from runkit.errors import RunkitError
frozen = load_frozen("someone/tiny")
print(frozen.name, frozen.sha256, frozen.revision)
try:
    load_frozen("someone/none")
except RunkitError as error:
    print(type(error).__name__, error)
"""


def test_a_hub_model_is_known_by_its_commit_and_without_a_network_the_way_out_is_named(tiny, tmp_path):
    commit = "a" * 40
    kept = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(tiny["llama"], kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    hub = {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", HUB], capture_output=True, text=True, check=True,
        env={**os.environ, **hub},
    )  # fmt: skip
    first, second = shown.stdout.splitlines()
    assert first == f"someone/tiny None {commit}"
    assert second.startswith(
        "TrainingStopped there is no folder someone/none with a config.json, and the hub does not give model "
        "someone/none at main: "
    )
    assert second.endswith("; without a network, download it elsewhere and give its local folder")


def test_new_keys_of_the_pair_leave_the_pockets_digest_alone_until_they_are_used():
    pocket = config.load_preset("pocket")
    later = {"pair.dtype": "bf16", "compute.device": "cpu", "eval.batches": "padded"}
    assert not set(later) & set(config.effective(pocket))
    for key, value in later.items():
        changed = config.with_overrides(pocket, [f"{key}={value}"])
        assert config.effective(changed)[key] == value
        assert config.digest(changed) != config.digest(pocket)


def test_no_weight_is_hashed_by_its_name_only(tmp_path, tiny):
    folder = tmp_path / "copy"
    shutil.copytree(tiny["llama"], folder)
    before = load_frozen(str(folder)).sha256
    weights = Path(folder / "model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert load_frozen(str(folder)).sha256 != before
