"""Every factor with worked examples before the question: the shared way against the full text."""

import json
from pathlib import Path

import pytest
import torch

from runkit.engine.config import load_preset, with_overrides
from runkit.engine.injection import Soft, adapter_says, bridged_input
from runkit.engine.pair import FrozenModel, Generation
from runkit.engine.preparation import _Builder, bridged, new_bridge, prepare
from runkit.engine.prompts import embed
from runkit.engine.supervision import own_answer
from runkit.engine.tasks import load_task

from .conftest import SHORT

DATA = Path(__file__).parents[3] / "shared" / "data"
FACTORS = {
    "kl": ["loss.kl_weight=0.6"],
    "prompt_alignment": ["loss.prompt_alignment_weight=0.5", "loss.prompt_alignment_mode=ce"],
    "info_nce": ["loss.info_nce_weight=0.05"],
    "format": ["loss.format_weight=0.1"],
    "decode": ["loss.decode_weight=0.1", "loss.decode_every_steps=1"],
    "ridge": ["source_align.kind=ridge"],
    "procrustes": ["source_align.kind=procrustes"],
    "answer": ["loss.teacher=answer", "loss.flow_weight=1"],
}
ALL = [
    override
    for factor in ("kl", "info_nce", "format", "decode", "ridge", "answer")
    for override in FACTORS[factor]
]
ADAPTER = ["bridge.kind=resampler", "prompt.injection=adapter"]


@pytest.fixture
def pair(tiny):
    return f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}"


@pytest.fixture
def prepared(cache_dir, problems, pair):
    """Return a function that prepares the short configuration on problems with two examples."""

    def make(*overrides):
        wanted = with_overrides(load_preset("pocket"), [*SHORT, *problems, *pair, *overrides])
        return prepare(wanted, cache_dir=cache_dir, note=lambda _line: None), wanted

    return make


def whole_ids(ready, row):
    """Token ids of a training row in full text: BOS, examples, question and instruction."""
    target, wording = ready.target, ready.wording
    question = ready.task.item(seed=7, split="train", index=row).question
    return [
        target.special.bos,
        *target.encode(wording.prefix),
        *target.encode(f"{wording.opening}{question}\nA:"),
    ]


@pytest.mark.parametrize("mode", ["soft_plus_text", "soft_only"])
def test_the_teacher_of_kl_reads_examples_question_and_answer_in_every_mode(prepared, mode):
    ready, _ = prepared("loss.kl_weight=0.6", f"prompt.mode={mode}")
    teacher, answers = ready.trainer.supervision.full_text, ready.trainer.pool.answers
    for row in (3, 1):
        before, answer = whole_ids(ready, row), answers[row][:19]
        logits = ready.target.model(input_ids=torch.tensor([[*before, *answer]])).logits[0, len(before) - 1 :]
        said = teacher.log_probs([row])
        assert len(said) == len(answer) + 1
        torch.testing.assert_close(said, logits.log_softmax(-1), rtol=1e-4, atol=1e-4)


def test_the_teacher_of_kl_is_the_target_alone_when_the_bridge_says_nothing(prepared):
    # an adapter says nothing at initialisation, so its predictions are the teacher's
    ready, wanted = prepared("loss.kl_weight=1", *ADAPTER)
    state = ready.trainer.start(new_bridge(wanted, ready), weight_decay=0.0)
    assert ready.trainer.advance(state).terms["kl"] == pytest.approx(0, abs=1e-5)


def test_an_untrained_adapter_writes_what_the_target_writes_after_the_examples(prepared):
    ready, wanted = prepared(*ADAPTER)
    written = bridged(wanted, ready, new_bridge(wanted, ready), ready.dev.inputs)
    alone = [one.text for one in ready.dev.alone["target_alone"]]
    assert [ready.target.decode(one.token_ids) for one in written] == alone
    assert len(set(alone)) > 1


@pytest.mark.parametrize("target", ["llama", "qwen2"])
def test_an_adapter_tells_the_question_and_neither_its_opening_nor_the_instruction(prepared, tiny, target):
    ready, wanted = prepared(*ADAPTER, f"pair.target={tiny[target]}")
    pool = ready.trainer.pool
    for row, (first, after) in enumerate(pool.question_spans):
        question = ready.task.item(seed=7, split="train", index=row).question
        ids = pool.target_texts[row]
        ends = [len(ready.target.decode(ids[: number + 1])) for number in range(len(ids))]
        told = [3 < end <= 3 + len(question) for end in ends]  # the opening "Q: " has three characters
        assert told == [first <= number < after for number in range(len(ids))]
        assert ready.target.decode(ids[:after]) == f"Q: {question}"[: ends[after - 1]]
        assert ends[after - 1] > len(question)
    bridge = new_bridge(wanted, ready)
    bridge.gate.data.fill_(0.5)
    soft, embedded, plain = said_to(ready, bridge, [0, 1, 2])
    size = (embedded - plain).square().mean(-1).sqrt() / ready.scale.rms
    for sizes, row in zip(size, [0, 1, 2], strict=True):
        first, after = pool.question_spans[row]
        torch.testing.assert_close(sizes[first:after], torch.full((after - first,), 0.5), rtol=1e-3, atol=0)
        assert (sizes[:first] == 0).all()
        assert (sizes[after:] == 0).all()
    assert soft.question_keep_BK.sum() == sum(after - first for first, after in pool.question_spans[:3])


def said_to(ready, bridge, rows):
    """What an adapter says to *rows*, and their embeddings with and without it."""
    pool, target, prefix = ready.trainer.pool, ready.target, ready.trainer.prefix
    texts = [pool.target_texts[row] for row in rows]
    states = pool.states.padded(rows, device=target.device)
    soft = adapter_says(
        bridge,
        states,
        texts,
        [pool.question_spans[row] for row in rows],
        table_VE=target.embedding_table,
        scale=ready.scale,
    )
    sequences, embedded = bridged_input(soft, texts, target, prefix=prefix)
    return soft, embedded, embed(sequences, table_VE=target.embedding_table, soft_BKE=None)


def test_maps_are_fitted_to_states_and_embeddings_of_the_same_characters_of_questions(prepared, cache_dir):
    ready, wanted = prepared("source_align.kind=ridge")
    task = load_task(**wanted.task.model_dump(exclude={"seed"}))
    builder = _Builder(wanted, task, ready.source, ready.target, cache_dir, lambda _line: None)
    states_MS, embeddings_ME = builder.aligned_pairs("train", ready.trainer.pool.states, ready.scale)
    source, target, wording = builder.source, builder.target, ready.wording
    seen = 0
    for row in range(wanted.train.pool_items):
        text = wording.opening + task.item(seed=7, split="train", index=row).question
        ids, target_ids = source.encode(text), target.encode(text)
        whole = source.model.base_model(
            input_ids=torch.tensor([[source.special.bos, *source.encode(wording.prefix), *ids]]),
            output_hidden_states=True,
        )
        tapped = torch.cat([whole.hidden_states[layer] for layer in (1, 2)], dim=-1)[0, -len(ids) :]
        normal = torch.nn.functional.rms_norm(tapped, tapped.shape[-1:], eps=1e-6)
        ends = {len(source.decode(ids[: index + 1])): index for index in range(len(ids))}
        for index, token in enumerate(target_ids):
            end = len(target.decode(target_ids[: index + 1]))
            if end > len(wording.opening) and end in ends:
                torch.testing.assert_close(states_MS[seen], normal[ends[end]], rtol=1e-3, atol=1e-3)
                torch.testing.assert_close(
                    embeddings_ME[seen] * ready.scale.rms, target.embedding_table[token]
                )
                seen += 1
    assert seen == len(states_MS) > 100


def test_own_answers_are_written_as_evaluations_write_them(prepared, monkeypatch):
    ready, _ = prepared(*FACTORS["decode"])
    trainer, pool = ready.trainer, ready.trainer.pool
    soft = Soft(torch.randn(3, 8, ready.target.embedding_table.shape[1]) * 0.1, None)
    seen = []
    plain = FrozenModel.generate_greedy

    def spied(self, embedded, **named):
        seen.append(named)
        return plain(self, embedded, **named)

    monkeypatch.setattr(FrozenModel, "generate_greedy", spied)
    trainer._own_answers(soft, [0, 1, 2])
    (named,) = seen
    assert named["prefix"] is trainer.prefix
    assert named["prefix"].token_ids[1:] == ready.target.encode(ready.wording.prefix)
    assert named["stops"] == ("\nQ:", "Question:")
    assert list(named["lengths"]) == sorted(8 + len(pool.target_texts[row]) for row in (0, 1, 2))


@pytest.mark.parametrize(
    ("text", "finish", "kept"),
    [
        (" 1 + 1 = 2\n#### 2\n\nQ:", "stop", " 1 + 1 = 2\n#### 2"),
        (" 1 + 1 = 2\n#### 2\nQ: What", "stop", " 1 + 1 = 2\n#### 2"),
        (" #### 2", "eos", " #### 2"),
        (" #### 2", "length", None),
    ],
)
def test_an_own_answer_ends_before_the_next_question(prepared, text, finish, kept):
    target = prepared()[0].target
    answer = own_answer(Generation(target.encode(text), finish), target.decode, ("\nQ:", "Question:"))
    assert (None if answer is None else target.decode(answer)) == kept


@pytest.mark.parametrize("factor", FACTORS)
def test_a_run_with_one_factor_computes_its_term_and_measures_all_systems(short_run, problems, pair, factor):
    run, result = short_run("one", *problems, *pair, *FACTORS[factor])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    named = {"info_nce": "info_nce_nats", "kl": "kl_nats", "format": "format_nats"}.get(factor, factor)
    if factor in {"kl", "info_nce", "format", "prompt_alignment"}:
        assert all(row[named] > 0 for row in rows)
    assert result.final["bridged"].total == 12
    assert ("soft_tokens_read" in result.final) == (factor == "answer")


@pytest.mark.parametrize("kind", ["dit", "resampler", "linear", "adapter"])
def test_all_factors_together_train_between_two_bf16_models(short_run, problems, pair, kind):
    terms = [one for one in ALL if "info_nce" not in one] if kind == "adapter" else ALL
    bridge = ADAPTER if kind == "adapter" else [f"bridge.kind={kind}"]
    _, result = short_run("one", *problems, *pair, "pair.dtype=bf16", *terms, *bridge)
    assert result.steps == 6


@pytest.mark.parametrize("mode", ["soft_plus_text", "soft_only"])
def test_a_run_with_all_factors_repeats_to_the_byte_with_and_without_its_caches(
    short_run, problems, pair, tmp_path, mode
):
    overrides = [*problems, *pair, *ALL, f"prompt.mode={mode}"]
    runs = [short_run(name, *overrides, cache=tmp_path / "cache")[0] for name in ("made", "kept")]
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 4  # train, dev, test and the teacher
    for name in ("checkpoint/last.safetensors", "eval_samples_step_final.jsonl"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()


@pytest.mark.seed
@pytest.mark.skipif(not (DATA / "gsm8k_test.jsonl").is_file(), reason="GSM8K is not beside the checkout")
@pytest.mark.parametrize("bridge", [["bridge.kind=dit"], ADAPTER])
def test_every_factor_trains_on_the_real_problems(short_run, pair, bridge):
    # a byte-level vocabulary of 300 makes eight examples longer than a context of 2048
    data = [
        "task.name=gsm8k",
        "task.few_shot=1",
        f"task.train_file={DATA / 'gsm8k_train.jsonl'}",
        f"task.test_file={DATA / 'gsm8k_test.jsonl'}",
        "eval.batches=padded",
        "pair.source_layers=1,2",
    ]
    terms = [one for one in ALL if "info_nce" not in one] if bridge == ADAPTER else ALL
    _, result = short_run("one", *data, *pair, *terms, *bridge)
    assert (result.steps, result.final["bridged"].total) == (6, 12)
