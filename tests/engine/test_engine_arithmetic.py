"""The last bit: which settings, which operations, and that a run says what its machine computes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from runkit.engine import operations
from runkit.engine.arithmetic import PORTABLE, promise, settle
from runkit.engine.config import load_preset, preset_names, with_overrides
from runkit.engine.reporter import SilentReporter
from runkit.engine.train_run import train
from runkit.records.manifest import Arithmetic
from tests.conftest import SHARED
from tests.engine.conftest import trained

PROMISED = "the same bits on every x86-64 processor with AVX2"


def test_this_machine_gives_the_known_bits():
    assert dict(operations.hashes()) == dict(operations.known_hashes())


@pytest.mark.seed
@pytest.mark.parametrize("maker", ["amd", "intel"])
def test_the_known_bits_are_those_of_two_makers(maker):
    seen = json.loads((SHARED / "oracles" / "arithmetic.json").read_text())[maker]["avx2c"]
    shared = seen.keys() & operations.known_hashes().keys()
    assert len(shared) >= 27
    for name in shared:
        assert operations.known_hashes()[name].startswith(seen[name]), name


def run_python(code, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in PORTABLE}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**environment, **variables}, check=True, capture_output=True, text=True
    ).stdout


DIFFERING = (
    "from runkit.engine import operations\n"
    "print(','.join(operations.arithmetic('portable', device='cpu', threads=1).differing))"
)


def test_settled_before_torch_is_loaded_every_operation_gives_the_known_bits():
    settled = "from runkit.engine.arithmetic import settle\nsettle('portable')\n"
    assert run_python(settled + DIFFERING, MKL_CBWR="AVX2").strip() == ""


def test_settled_too_late_the_operations_that_differ_are_named():
    late = (
        "import torch\nfrom runkit.engine.arithmetic import settle\n"
        "torch.ones(64, 64) @ torch.ones(64, 64)\nsettle('portable')\n"
    )
    assert "mm" in run_python(late + DIFFERING, MKL_CBWR="AVX2").strip().split(",")


def test_fast_takes_back_what_a_portable_parent_set_and_nothing_else(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    environment = {**PORTABLE, "MKL_CBWR": "AVX2", "LANG": "C"}
    settle("fast", environment)
    assert environment == {"MKL_CBWR": "AVX2", "LANG": "C"}
    settle("portable", environment)
    assert environment == {**PORTABLE, "LANG": "C"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, PROMISED),
        ({"threads": 4}, "the same bits with 4 threads on the same kind of processor"),
        (
            {"setting": "fast"},
            "the same bits on the same kind of processor only (compute.arithmetic is fast)",
        ),
        (
            {"differing": ("exp", "mm")},
            "the same bits on this kind of processor only: other bits than elsewhere in exp, mm",
        ),
        ({"device": "cuda"}, "the same bits on the same kind of GPU with the same versions"),
    ],
)
def test_what_is_promised_says_on_which_machines(changes, expected):
    plain = Arithmetic(setting="portable", device="cpu", threads=1, differing=())
    assert promise(plain.model_copy(update=changes), is_embedded_pair=True) == expected


@pytest.mark.parametrize("model", ["source", "target"])
def test_of_other_models_and_other_numbers_no_more_is_promised_than_was_measured(
    tmp_path, cache_dir, problems, tiny, model
):
    changes = (*problems, "task.few_shot=0", "train.pool_items=16", f"pair.{model}={tiny['llama']}")
    run_dir, _ = trained(
        tmp_path / "run", with_overrides(load_preset("pocket"), (*TINY, *changes)), cache_dir, preset=None
    )
    line = "the same bits on this kind of processor; others were compared for the embedded pair only"
    assert f"[Config] arithmetic: {line}\n" in (run_dir / "train.log").read_text()


TINY = (
    "train.steps=2", "train.eval_every_steps=1", "train.log_every_steps=1", "train.pool_items=32",
    "eval.dev_items=4", "eval.test_items=4",
)  # fmt: skip


def test_a_run_records_what_its_machine_computed_and_what_follows(tmp_path, monkeypatch):
    known = {**operations.known_hashes(), "mm": "0" * 16}
    monkeypatch.setattr(operations, "known_hashes", lambda: known)
    config = with_overrides(load_preset("pocket"), TINY)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    train(config, run_dir, cache_dir=tmp_path / "cache", reporter=SilentReporter(), run_id="run")
    recorded = json.loads((run_dir / "config.json").read_text())["arithmetic"]
    assert recorded == {"setting": "portable", "device": "cpu", "threads": 1, "differing": ["mm"]}
    expected = "the same bits on this kind of processor only: other bits than elsewhere in mm"
    assert f"[Config] arithmetic: {expected}\n" in (run_dir / "train.log").read_text()


CHECKED = {
    "_foreach_norm", "_fused_adamw_", "_linalg_check_errors", "_linalg_solve_ex", "_log_softmax",
    "_log_softmax_backward_data", "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward", "_softmax", "_softmax_backward_data",
    "addmm", "bmm", "cos", "cumsum", "exp", "gelu", "gelu_backward", "linalg_vector_norm", "logsumexp",
    "mean", "mm", "native_layer_norm", "native_layer_norm_backward", "nll_loss_backward",
    "nll_loss_forward", "normal_", "pow", "randn", "rsqrt", "silu", "silu_backward", "sin", "sum",
    "uniform_",
}  # fmt: skip
"""Operations of which a known hash exists, alone or within another one."""

EXACT = {
    "_foreach_add_", "_foreach_mul_", "_local_scalar_dense", "_to_copy", "_unsafe_view", "add", "add_",
    "all", "arange", "argmax", "bitwise_and", "bitwise_not", "cat", "clamp", "clamp_min", "clone",
    "copy_", "detach", "diagonal", "div", "embedding", "empty", "empty_like", "eq", "expand", "eye",
    "fill_", "floor_divide", "full", "gather", "ge", "gt", "index", "index_put", "index_put_",
    "lift_fresh", "lt", "masked_fill", "masked_fill_", "max", "maximum", "median", "min", "mul", "ne",
    "neg", "new_ones", "new_zeros", "nonzero", "ones", "ones_like", "permute", "reciprocal",
    "remainder", "rsub", "scalar_tensor", "scatter_add", "select", "set_", "slice", "slice_backward",
    "split", "split_with_sizes", "squeeze", "squeeze_", "stack", "sub", "t", "transpose", "unsqueeze",
    "view", "where", "zero_", "zeros", "zeros_like",
}  # fmt: skip
"""Operations that move or compare numbers, or round each result once, as IEEE 754 says."""


class Seen(TorchDispatchMode):
    """Keeps the name of every operation."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        namespace, _, name = operation.overloadpacket._qualified_op_name.partition("::")
        if namespace == "aten":
            self.names.add(name)
        return operation(*args, **(kwargs or {}))


def test_no_pocket_run_computes_anything_whose_bits_are_not_known(tmp_path):
    with Seen() as seen:
        for name in [one for one in preset_names() if one.startswith("pocket")]:
            decodes = ("loss.decode_every_steps=1",) if name == "pocket_decode" else ()
            run_dir = tmp_path / name
            run_dir.mkdir()
            train(
                with_overrides(load_preset(name), (*TINY, *decodes)),
                run_dir,
                cache_dir=tmp_path / "cache",
                reporter=SilentReporter(),
                run_id=name,
            )
    assert "mm" in seen.names
    assert seen.names - CHECKED - EXACT == set()


def test_a_root_by_the_vector_library_is_no_known_operation():
    with Seen() as seen:
        torch.ones(3).sqrt()
    assert seen.names - CHECKED - EXACT == {"sqrt"}
