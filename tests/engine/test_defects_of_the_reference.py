"""Every defect that the original training script had, and the test that fails if it comes back.

:data:`HELD_ELSEWHERE` names the law that forbids a defect, in the test file of its room; the tests below
hold the rest. What is slow and not wrong (logits at all positions, the examples read again) is in benchmarks.
"""

import json
import re
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from runkit.engine import config, losses
from runkit.engine.bridge import Dimensions, DiTBridge
from runkit.engine.bridge.scale import Scale, row_rms
from runkit.engine.config import load_preset, with_overrides
from runkit.engine.evaluate import derangement, pick
from runkit.engine.injection import Soft
from runkit.engine.pair import FrozenModel, Generation
from runkit.engine.preparation import bridged, new_bridge, prepare
from runkit.engine.supervision import first_positions, format_positions, question_bank
from runkit.engine.tasks import load_task
from runkit.engine.train_run import fixed_arithmetic
from runkit.engine.trainer import batch_rows
from runkit.engine.world import TIMEOUT, World
from runkit.errors import RecordInvalid

from .conftest import SHORT

HELD_ELSEWHERE = """
training ran in evaluation mode after the first evaluation:
    files test_the_training_flag_is_restored_even_after_an_error
slots were exchangeable:
    bridge test_with_slot_positions_slots_are_not_exchangeable
one mean over prompt, padding and examples:
    bridge test_the_mean_is_taken_over_real_tokens_only
states of the examples drowned those of the question:
    lengths test_source_states_after_a_shared_prefix_are_those_of_the_full_text
a clamp kept soft tokens 20 or 79 times too large:
    align test_the_old_clamp_leaves_soft_tokens_many_times_too_large
the flow loss was detached:
    bridge test_the_flow_term_reaches_every_parameter
the best checkpoint was an alias of the live weights:
    train_run test_later_steps_cannot_change_the_best_checkpoint
a snapshot shared memory with the weights:
    files test_a_snapshot_is_not_changed_by_later_steps
the format penalty had no gradient:
    loss_terms test_a_term_that_is_off_needs_nothing_and_one_that_is_on_moves_the_bridge
evaluation noise was not seeded:
    noise test_noise_depends_on_no_batch_and_no_order
baselines were generated at each evaluation:
    files test_baselines_are_made_once_and_read_from_the_cache_afterwards
the teacher of kl did not read the prompt:
    worked_examples test_the_teacher_of_kl_reads_examples_question_and_answer_in_every_mode
the projection could not be switched off:
    align test_without_a_map_there_is_no_layer_and_with_one_the_bridge_reads_its_width
the projection's identity was frozen by rounding:
    align test_a_trainable_map_moves_and_a_fixed_one_does_not
three ablations were one configuration:
    seed_presets test_any_two_differ_in_exactly_these_keys
the velocity was the residual stream:
    bridge test_an_untrained_bridge_returns_its_noise
the sampler asked one step too late:
    bridge test_the_sampler_asks_at_the_time_of_the_point_it_starts_from
weights and moments were bf16:
    limits test_bf16_halves_the_weights_and_a_run_in_it_still_trains_an_fp32_bridge
training read another text than evaluation:
    prompts test_training_and_evaluation_read_the_same_tokens_at_the_same_positions
pads stood between soft tokens and text:
    prompts test_a_row_reads_bos_slots_text_answer_eos_and_pads_stand_on_the_right_only
positions counted pads:
    prompts test_pads_do_not_change_a_rows_logits
prefill and decoding disagreed:
    pair test_prefill_and_decode_give_the_tokens_of_the_full_forward
BOS was a label and EOS was none:
    prompts test_each_supervised_position_predicts_the_next_token_of_the_answer_and_the_last_one_eos
the adapter changed the answer or the examples:
    worked_examples test_an_adapter_tells_the_question_and_neither_its_opening_nor_the_instruction
a copy of nll was called decode-aware:
    loss_terms test_the_decode_term_is_the_likelihood_of_the_own_answer_and_no_copy_of_nll
a hallucinated next question was scored:
    gsm8k test_extraction_reads_the_text_before_a_stop_only
systems stopped at different strings:
    lengths test_generation_ends_at_a_stop_string_and_the_text_before_it_is_scored
other end tokens were dropped:
    limits test_all_end_tokens_of_the_generation_configuration_end_a_text
texts depended on the evaluation's batches:
    lengths test_a_run_on_many_lengths_writes_the_same_dumps_whatever_the_batch_size
models were selected on test items:
    train_run test_best_and_last_are_two_files_and_best_is_of_the_step_it_says
step 0 was no candidate:
    train_run test_ties_go_to_the_earliest_candidate_and_patience_ends_the_run
examples stood in the training pool:
    gsm8k test_dev_is_the_end_of_train_and_no_question_stands_in_two_splits_or_among_the_examples
one seed did not repeat:
    train_run test_a_rerun_writes_the_same_bytes_whatever_the_caller_did_to_torch
only weights were saved:
    resume test_a_run_interrupted_at_every_evaluation_ends_with_the_same_bytes
"""
"""A defect, and below it the file and the name of the law that forbids it."""

HELD = re.findall(r"^(\S.*):\n    (\w+) (\w+)$", HELD_ELSEWHERE, re.MULTILINE)


def test_no_line_of_the_table_is_left_out():
    assert 2 * len(HELD) == len(HELD_ELSEWHERE.strip().splitlines())


@pytest.mark.parametrize(("defect", "file", "name"), HELD)
def test_the_law_that_forbids_it_is_there(defect, file, name):
    text = (Path(__file__).parent / f"test_engine_{file}.py").read_text()
    assert re.search(rf"^def {name}\(", text, re.MULTILINE), defect


@pytest.fixture
def prepared(cache_dir):
    def make(*overrides, preset="pocket"):
        wanted = with_overrides(load_preset(preset), [*SHORT, *overrides])
        return prepare(wanted, cache_dir=cache_dir, note=lambda _line: None), wanted

    return make


def dumped(run, step):
    return [json.loads(line) for line in (run / f"eval_samples_step_{step}.jsonl").read_text().splitlines()]


def test_every_step_after_an_evaluation_trains_and_computes_the_flow(one_run):
    run, _ = one_run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]  # there is an evaluation after each of them
    assert all(row["flow"] > 0 for row in rows)


def test_a_step_in_evaluation_mode_is_refused(prepared):
    ready, wanted = prepared()
    state = ready.trainer.start(new_bridge(wanted, ready), weight_decay=0.0)
    bridged(wanted, ready, state.bridge, ready.dev.inputs)
    assert state.bridge.training
    ready.trainer.advance(state)
    state.bridge.eval()
    with pytest.raises(AssertionError, match="not in training mode"):
        ready.trainer.advance(state)


def test_no_switch_leaves_a_system_out_and_every_system_has_every_item(one_run):
    run, result = one_run
    assert not [key for key in config.flatten(config.TrainConfig()) if "skip" in key or "baseline" in key]
    for step, items in ((0, 10), (2, 10), (4, 10), (6, 10), ("final", 12)):
        rows = dumped(run, step)
        assert len(rows) == items
        assert all({"source_full", "target_full", "bridged_full"} <= row.keys() for row in rows)
    assert {counts.total for counts in result.final.values()} == {12}


@pytest.mark.parametrize("rms", [0.0107, 0.0027, 1.0])
def test_soft_tokens_have_the_rms_of_embeddings_within_a_thousandth(rms):
    torch.manual_seed(0)
    ratio = row_rms(Scale(rms, "exact")(0.857 * torch.randn(4, 8, 64))) / rms
    assert 0.999 < ratio.min() <= ratio.max() < 1.001


def test_the_logged_rms_ratio_is_one(one_run):
    run, _ = one_run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(0.999 < row["rms_ratio"] < 1.001 for row in rows)


def test_each_evaluation_has_its_controls(short_run):
    _, result = short_run("one", "prompt.mode=soft_only")
    assert {"shuffled_source", "no_soft_tokens"} <= result.final.keys()
    assert not any(item == other for item, other in enumerate(derangement(12)))


def test_what_the_language_model_reads_does_not_depend_on_the_teacher(prepared):
    ready, wanted = prepared("loss.flow_weight=0.1", "loss.prompt_alignment_weight=0.1")
    other, _ = prepared("loss.flow_weight=0.1", "loss.prompt_alignment_weight=0.1", "loss.teacher=answer")
    terms = []
    for one in (ready, other):
        state = one.trainer.start(new_bridge(wanted, ready), weight_decay=0.0)
        terms.append(one.trainer.advance(state).terms)
    assert terms[0]["nll"] == terms[1]["nll"]
    assert terms[0]["flow"] != terms[1]["flow"]
    assert terms[0]["prompt_alignment"] != terms[1]["prompt_alignment"]


def test_a_prediction_is_aligned_with_the_token_after_it():
    # answer tokens 5, 6, 7, 8 and EOS 9; the format span begins at 7, index 2
    labels = torch.tensor([5, 6, 7, 8, 9])
    logits = 30.0 * torch.nn.functional.one_hot(labels, 10).float()  # position j predicts label j exactly
    span = format_positions([5], [2])
    assert labels[span].tolist() == [7, 8]
    assert losses.nll(logits[span], labels[span]) < 1e-6
    assert losses.nll(logits[span], labels[span + 1]) > 10


def test_equal_weights_write_equal_texts_at_the_last_step_and_in_the_end(short_run):
    run, result = short_run("one", "eval.dev_items=12", "train.eval_every_steps=6")
    ready = [dumped(run, step) for step in (0, 6)]
    again, _ = short_run("two", "eval.dev_items=12", "train.eval_every_steps=6")
    assert [dumped(again, step) for step in (0, 6)] == ready
    assert result.best_step in (0, 6)


def test_the_number_of_soft_tokens_is_what_was_asked_for_and_at_least_one(prepared):
    for value in ("0", "-1"):
        with pytest.raises(RecordInvalid, match=r"bridge\.num_soft_tokens should be at least 1, got"):
            with_overrides(load_preset("pocket"), [f"bridge.num_soft_tokens={value}"])
    ready, wanted = prepared("bridge.num_soft_tokens=5")
    assert new_bridge(wanted, ready).slots_KD.shape[0] == 5
    assert ready.dev.inputs.noise_IKE.shape[1] == 5


WEIGHTS = [key for key in config.flatten(config.TrainConfig()) if key.startswith("loss.") and "weight" in key]


@pytest.mark.parametrize("key", WEIGHTS)
def test_every_weight_is_in_the_configuration_and_in_its_digest(key):
    pocket = load_preset("pocket")
    changed = with_overrides(pocket, [f"{key}=0.03"])
    assert config.effective(changed)[key] == 0.03
    assert config.digest(changed) != config.digest(pocket)


def test_the_bridge_tells_early_times_from_late_ones():
    torch.manual_seed(0)
    bridge = DiTBridge(
        Dimensions(12, 10, width=64, depth=2, heads=4, num_soft_tokens=4),
        slot_positions=True,
        conditioning="cross",
    )
    signals = []
    bridge.time.register_forward_hook(lambda _module, given, _out: signals.append(given[0]))
    condition = bridge.condition(torch.randn(1, 3, 12), torch.ones(1, 3, dtype=torch.bool))
    for time in (0.0, 0.25, 0.5, 1.0):
        bridge.velocity(torch.randn(1, 4, 10), torch.tensor([time]), condition)
    spread = torch.cat(signals).max(0).values - torch.cat(signals).min(0).values
    assert (spread > 0.1).float().mean() > 0.6  # a time in [0, 1) would move 17 % of them


def test_the_teacher_of_the_flow_is_the_frozen_table_and_trains_nothing(prepared):
    ready, _ = prepared()
    teacher = ready.trainer._teacher([0, 1])
    table = ready.target.embedding_table
    assert not teacher.requires_grad
    torch.testing.assert_close(
        teacher[0] * ready.scale.rms, table[list(ready.trainer.pool.teacher_ids[0])], rtol=1e-6, atol=0
    )
    assert ready.scale.rms == pytest.approx(row_rms(table).median().item())  # its unit is the table's own


def test_noise_in_training_and_evaluation_is_of_one_process(prepared):
    ready, wanted = prepared("bridge.num_soft_tokens=16")
    train = ready.trainer._noise(list(range(16)), draw=1)
    measured = ready.dev.inputs.noise_IKE
    assert train.shape[1:] == measured.shape[1:]
    for drawn in (train, measured):
        assert drawn.std().item() == pytest.approx(wanted.sampler.noise_std, rel=0.02)


def test_every_slot_that_the_target_sees_has_a_teacher_of_a_real_token(prepared):
    ready, _ = prepared("bridge.num_soft_tokens=64")
    eos, table = ready.target.special.eos, ready.target.embedding_table
    for index, ids in enumerate(ready.trainer.pool.teacher_ids):
        question = ready.target.encode(ready.task.item(seed=7, split="train", index=index).question)
        assert ids == question + (eos,) * (64 - len(question))
    assert (row_rms(table[eos]) > 0).all()


def test_no_key_of_the_bridge_is_ignored(prepared):
    changes = [
        "width=32",
        "depth=1",
        "num_soft_tokens=4",
        "slot_positions=false",
        "conditioning=mean",
        "kind=resampler",
    ]
    plain, wanted = prepared()
    names = {name: weight.shape for name, weight in new_bridge(wanted, plain).named_parameters()}
    for change in changes:
        ready, other = prepared(f"bridge.{change}")
        assert {name: weight.shape for name, weight in new_bridge(other, ready).named_parameters()} != names
    ready, other = prepared("bridge.heads=2")
    one, two = new_bridge(wanted, plain), new_bridge(other, ready)
    torch.nn.init.normal_(one.leave.weight)
    for block in one.blocks:
        torch.nn.init.normal_(block.modulate.weight, std=0.3)
    two.load_state_dict(one.state_dict())
    states = pick(plain.dev.inputs.states, [0], device=plain.target.device)
    noise = plain.dev.inputs.noise_IKE[:1]
    assert not torch.allclose(one(*states, noise, steps=2), two(*states, noise, steps=2))


class Watched(TorchDispatchMode):
    """Counts how often a number of a tensor is brought to the host."""

    syncs = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.syncs += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["dit", "resampler", "linear"])
def test_a_bridge_brings_no_number_to_the_host(prepared, kind):
    ready, wanted = prepared(f"bridge.kind={kind}")
    bridge = new_bridge(wanted, ready)
    states = pick(ready.dev.inputs.states, [0, 1], device=ready.target.device)
    drawn = ready.dev.inputs.noise_IKE
    with Watched() as watched:
        soft = bridge(*states, drawn[:2], steps=4) if kind == "dit" else bridge(*states)
        ready.scale(soft).sum().backward()
    assert watched.syncs == 0
    with Watched() as watched:
        torch.ones(1).item()
    assert watched.syncs == 1


def test_the_moments_of_the_optimiser_are_fp32_between_bf16_models(prepared, problems, tiny):
    pair = [f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}", "pair.dtype=bf16"]
    ready, wanted = prepared(*problems, *pair)
    state = ready.trainer.start(new_bridge(wanted, ready), weight_decay=0.01)
    ready.trainer.advance(state)
    kept = [value for one in state.optimizer.state.values() for value in one.values()]
    assert {value.dtype for value in kept} == {torch.float32}
    assert {weight.dtype for weight in state.bridge.parameters()} == {torch.float32}


def test_an_own_answer_is_supervised_and_no_token_of_its_prompt(prepared, problems, tiny):
    pair = [f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}"]
    ready, _ = prepared(*problems, *pair, "loss.decode_weight=1")
    soft = Soft(torch.randn(3, 8, ready.target.embedding_table.shape[1]) * 0.1, None)
    rows = [0, 1, 2]
    assert len({len(ready.trainer.pool.target_texts[row]) for row in rows}) == 3
    _, labels = ready.trainer._predict(soft, rows, [(5, 6), (7,), (8, 9, 10)])
    eos = ready.target.special.eos
    assert labels.tolist() == [5, 6, eos, 7, eos, 8, 9, 10, eos]


def test_questions_after_the_same_examples_are_different_targets_of_the_contrast(problems, tiny, prepared):
    pair = [f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}"]
    ready, _ = prepared(*problems, *pair, "loss.info_nce_weight=0.05")
    bank = ready.trainer.supervision.bank
    same = bank.mean_PE @ bank.mean_PE.T - torch.eye(len(bank.mean_PE))
    assert same.max() < 0.999
    torch.manual_seed(0)
    soft = torch.randn(2, 4, bank.mean_PE.shape[1], requires_grad=True)
    losses.info_nce(soft, bank.mean_PE, torch.tensor([0, 1]), bank.alike_P).backward()
    assert soft.grad.abs().max() > 0
    # identical targets, as under the reference, would have had no gradient at all
    question = question_bank(ready.target.embedding_table, [(1, 2), (1, 2)])
    assert question.alike_P.tolist() == [0, 0]


def test_the_teacher_of_a_slot_does_not_depend_on_the_batch(prepared):
    ready, _ = prepared()
    alone, together = ready.trainer._teacher([3]), ready.trainer._teacher([0, 3, 7])
    assert torch.equal(alone[0], together[1])


def test_alignment_is_a_mean_that_does_not_grow_with_the_width():
    torch.manual_seed(0)
    soft, teacher = torch.randn(2, 3, 10), torch.randn(2, 3, 10)
    narrow = losses.prompt_alignment(soft, teacher)
    wide = losses.prompt_alignment(soft.repeat(1, 1, 40), teacher.repeat(1, 1, 40))
    torch.testing.assert_close(narrow, wide)
    torch.testing.assert_close(losses.prompt_alignment(soft, soft + 2.0), torch.tensor(4.0))


def test_kl_counts_the_first_answer_token_and_no_pad_and_is_a_mean_over_positions(prepared):
    assert first_positions([4, 30]).tolist() == [0, 1, 2, 3, *range(4, 24)]
    ready, _ = prepared("loss.kl_weight=1")
    teacher, answers = ready.trainer.supervision.full_text, ready.trainer.pool.answers
    rows = [0, 1, 2]
    assert len(teacher.log_probs(rows)) == sum(min(20, len(answers[row]) + 1) for row in rows)
    one = torch.randn(1, 50)
    other = torch.randn(1, 50).log_softmax(-1)
    torch.testing.assert_close(losses.kl(one, other), losses.kl(one.repeat(20, 1), other.repeat(20, 1)))


@pytest.mark.parametrize("name", ["pricelist", "gsm8k"])
def test_the_bridged_prompt_and_the_target_alone_read_the_same_text(prepared, problems, tiny, name):
    pair = [f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}"]
    ready, wanted = prepared(*(() if name == "pricelist" else (*problems, *pair)))
    texts = [ready.target.decode(text) for text in ready.dev.inputs.target_texts]
    opening, instruction = ready.wording.opening, wanted.prompt.instruction
    assert texts == [f"{opening}{item.question}{instruction}" for item in ready.dev.items]
    examples = ready.wording.prefix
    before = ready.dev.inputs.prefix
    assert examples == ("" if before is None else ready.target.decode(before.token_ids[1:]))
    assert instruction == "\nA:"
    assert not examples or f"{instruction} " in examples  # as the examples themselves are worded


def test_steps_are_measured_on_items_of_train_that_no_step_reads_and_the_end_on_test(one_run):
    run, _ = one_run
    assert {row["split"] for step in (0, 2, 4, 6) for row in dumped(run, step)} == {"dev"}
    final = dumped(run, "final")
    assert {row["split"] for row in final} == {"test"}
    questions = {row["question"] for step in (0, 2, 4, 6) for row in dumped(run, step)}
    assert not questions & {row["question"] for row in final}


def test_a_generation_is_new_tokens_only_whatever_the_prompt_decodes_to(prepared, monkeypatch):
    ready, wanted = prepared()
    scored = []
    plain = FrozenModel.decode
    monkeypatch.setattr(FrozenModel, "decode", lambda self, ids: scored.append(len(ids)) or plain(self, ids))
    written = bridged(wanted, ready, new_bridge(wanted, ready), ready.dev.inputs)
    assert all(isinstance(one, Generation) and len(one.token_ids) <= 28 for one in written)
    assert scored == []  # no prompt was decoded and cut off again


def test_the_text_that_is_read_is_the_same_at_every_evaluation_of_a_run(one_run):
    run, _ = one_run
    systems = [
        [(row["question"], row["target_full"], row["source_full"]) for row in dumped(run, step)]
        for step in (0, 2, 4, 6)
    ]
    assert all(one == systems[0] for one in systems)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_processes_without_a_batch_have_an_empty_share_and_nothing_is_lost(size):
    batches = [[0, 1], [2], [3, 4]]
    shares = [World(rank=rank, size=size).share(batches) for rank in range(size)]
    assert sorted(row for share in shares for batch in share for row in batch) == [0, 1, 2, 3, 4]
    assert all(share == [] for share in shares[3:])


def test_an_epoch_is_a_permutation_and_no_problem_comes_twice():
    seen = [batch_rows(step, pool_items=20, batch_size=4, run_seed=3) for step in range(10)]
    for epoch in (0, 1):
        assert sorted(row for rows, at in seen if at == epoch for row in rows) == list(range(20))
    assert seen[0][0] != seen[5][0]


@pytest.mark.parametrize("size", [2, 4])
def test_the_global_batch_is_the_configurations_and_processes_share_it(size):
    rows, _ = batch_rows(0, pool_items=64, batch_size=8, run_seed=3)
    shares = [World(rank=rank, size=size).share(rows) for rank in range(size)]
    assert {len(share) for share in shares} == {8 // size}
    assert sorted(row for share in shares for row in share) == sorted(rows)


def test_an_operation_that_is_not_deterministic_is_an_error_and_no_warning():
    with fixed_arithmetic(1):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()


def test_processes_wait_for_one_another_longer_than_an_evaluation_takes():
    assert TIMEOUT.total_seconds() >= 3600


def test_few_shot_examples_are_never_trained_on(problems, tiny, prepared):
    pair = [f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}"]
    _, wanted = prepared(*problems, *pair)
    task = load_task(**wanted.task.model_dump(exclude={"seed"}))
    prefix = task.wording(seed=7).prefix
    assert prefix.count("\nA: ") == 2
    assert not any(task.item(seed=7, split="train", index=index).question in prefix for index in range(28))
