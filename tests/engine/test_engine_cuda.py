"""Laws of the engine on a GPU: what is compiled and recorded gives what the plain way gives, and repeats."""

import dataclasses
import math

import pytest
import torch

from runkit.engine.baselines import generate_alone
from runkit.engine.bridge_pass import BridgePass, recorded
from runkit.engine.config import load_preset, with_overrides
from runkit.engine.pair import load_frozen
from runkit.engine.preparation import bridged, new_bridge, prepare
from runkit.engine.tasks import load_task
from runkit.engine.train_run import fixed_arithmetic
from runkit.errors import TrainingStopped

from .conftest import SHORT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
ON_CUDA = (*SHORT, "compute.device=cuda")
FACTORS = {
    "kl": ("loss.kl_weight=0.6",),
    "info_nce": ("loss.info_nce_weight=0.05",),
    "format": ("loss.format_weight=0.1",),
    "decode": ("loss.decode_weight=0.1", "loss.decode_every_steps=2"),
    "alignment": ("loss.prompt_alignment_weight=0.5",),
    "alignment by token": ("loss.prompt_alignment_weight=0.5", "loss.prompt_alignment_mode=ce"),
    "guidance": ("sampler.guidance=2", "loss.flow_weight=0.1"),
    "heun": ("sampler.method=heun",),
    "resampler": ("bridge.kind=resampler",),
    "linear": ("bridge.kind=linear",),
    "adapter": ("bridge.kind=resampler", "prompt.injection=adapter"),
    "ridge": ("source_align.kind=ridge",),
    "mean": ("bridge.conditioning=mean",),
    "soft_only": ("prompt.mode=soft_only",),
    "bf16": ("pair.dtype=bf16",),
}


@pytest.fixture
def ready(cache_dir):
    def make(*overrides):
        wanted = with_overrides(load_preset("pocket"), [*ON_CUDA, *overrides])
        return wanted, prepare(wanted, cache_dir=cache_dir, note=lambda _line: None)

    return make


def steps(wanted, prepared, count=6):
    """Return the reports of *count* steps and the state after them."""
    state = prepared.trainer.start(new_bridge(wanted, prepared), weight_decay=0.01)
    reports = [prepared.trainer.advance(state) for _ in range(count)]
    return [one for one in (*reports, prepared.trainer.settle(state)) if one is not None], state


def prompts():
    task = load_task("pricelist")
    return [task.item(seed=7, split="test", index=index).question + "\nA:" for index in range(64)]


@pytest.mark.parametrize("examples", ["", "Tom buys 2 pens at 3 each.\nA: 2 x 3 = 6\n#### 6\n"])
def test_generations_are_those_of_the_plain_way(examples):
    written = []
    for plain in (True, False):
        frozen = load_frozen("pocket/target", device="cuda", plain=plain)
        assert (frozen.kernels is None) is plain
        prefix = frozen.read_prefix(examples)
        written.append(
            generate_alone(
                frozen, prompts(), batch_size=64, max_new_tokens=28, padded=True, prefix=prefix, stops=("Q",)
            )
        )
    assert written[0] == written[1]


def test_the_cpu_and_the_gpu_agree_on_most_answers(ready):
    frozen = [load_frozen("pocket/target", device=device) for device in ("cpu", "cuda")]
    cpu, gpu = (generate_alone(one, prompts(), batch_size=64, max_new_tokens=28) for one in frozen)
    assert sum(a == b for a, b in zip(cpu, gpu, strict=True)) >= 60


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_trains_and_is_evaluated_on_a_gpu(ready, factor):
    wanted, prepared = ready(*FACTORS[factor])
    with fixed_arithmetic(1):
        reports, state = steps(wanted, prepared)
        generations = bridged(wanted, prepared, state.bridge, prepared.dev.inputs)
    assert [one.step for one in reports] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(one.loss) and one.grad_norm > 0 for one in reports)
    assert len(generations) == 10


def test_a_recorded_pass_has_the_values_and_gradients_of_the_unrecorded_one(ready):
    wanted, prepared = ready("loss.flow_weight=0.1")
    _, state = steps(wanted, prepared)
    bridge, table = state.bridge, prepared.target.embedding_table
    shapes = next(iter(state.passes))
    torch.manual_seed(0)
    inputs = tuple(torch.randn(shape, device="cuda") for shape in shapes)
    inputs = (
        inputs[0],
        torch.ones(shapes[1], dtype=torch.bool, device="cuda"),
        *inputs[2:-1],
        inputs[-1].sigmoid(),
    )
    found = []
    for make in (lambda whole: whole, lambda whole: recorded(whole, inputs)):
        bridge.zero_grad()
        raw, flow = make(BridgePass(bridge, steps=2, table_VE=table))(*inputs)
        (raw.square().mean() + flow).backward()
        gradients = [weight.grad.clone() for weight in bridge.parameters() if weight.grad is not None]
        found.append((raw.detach().clone(), flow.detach().clone(), gradients))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_bits(ready, dtype):
    wanted, prepared = ready(f"pair.dtype={dtype}", "loss.flow_weight=0.1")
    with fixed_arithmetic(1):
        first, second = (steps(wanted, prepared, 20) for _ in range(2))
        written = [
            bridged(wanted, prepared, state.bridge, prepared.dev.inputs) for _, state in (first, second)
        ]
    assert first[0] == second[0]
    for name, weight in first[1].bridge.state_dict().items():
        assert torch.equal(weight, second[1].bridge.state_dict()[name]), name
    assert written[0] == written[1]


def test_compiled_and_plain_steps_agree(ready):
    reports = [steps(*ready(f"compute.kernels={kernels}"), 6)[0] for kernels in ("plain", "auto")]
    for plain, fast in zip(*reports, strict=True):
        assert fast.loss == pytest.approx(plain.loss, rel=1e-2)
        assert fast.grad_norm == pytest.approx(plain.grad_norm, rel=5e-2)


def test_a_number_that_is_not_finite_leaves_the_weights_as_they_were(ready):
    wanted, prepared = ready()
    _, state = steps(wanted, prepared, 3)
    before = {name: weight.clone() for name, weight in state.bridge.state_dict().items()}
    pool = prepared.trainer.pool
    infinite = dataclasses.replace(pool.states, tokens_TS=torch.full_like(pool.states.tokens_TS, math.inf))
    trainer = dataclasses.replace(prepared.trainer, pool=pool._replace(states=infinite))
    state.ahead.clear()
    assert trainer.advance(state) is None  # the fourth step, launched and not looked at
    with pytest.raises(TrainingStopped, match="at step 4"):
        trainer.advance(state)
    assert all(torch.equal(weight, before[name]) for name, weight in state.bridge.state_dict().items())
