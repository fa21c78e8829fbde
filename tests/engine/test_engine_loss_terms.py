"""Laws of the optional loss terms: what they equal, where their gradient goes, and that off is absent."""

import json
import math

import pytest
import torch
from torch.nn import functional

from runkit.engine import config, losses
from runkit.engine.config import load_preset, with_overrides
from runkit.engine.injection import Soft
from runkit.engine.pair import FrozenModel, Generation
from runkit.engine.preparation import new_bridge, prepare
from runkit.engine.supervision import first_positions, format_positions, format_start, question_bank
from runkit.errors import RecordInvalid, TrainingStopped

from .conftest import SHORT

B, K, E, V = 3, 4, 10, 7
TERMS = ["kl", "info_nce", "format", "decode", "prompt_alignment"]


@pytest.fixture
def prepared(cache_dir):
    """Return a function that prepares the short configuration with overrides."""

    def make(*overrides):
        wanted = with_overrides(load_preset("pocket"), [*SHORT, *overrides])
        return prepare(wanted, cache_dir=cache_dir, note=lambda _line: None), wanted

    return make


def soft_tokens(seed=0):
    torch.manual_seed(seed)
    return torch.randn(B, K, E, requires_grad=True)


def test_kl_is_zero_for_equal_predictions_and_else_the_mean_over_positions():
    torch.manual_seed(0)
    logits, teacher = torch.randn(5, V), functional.log_softmax(torch.randn(5, V), dim=-1)
    assert losses.kl(logits, functional.log_softmax(logits, dim=-1)) == pytest.approx(0, abs=1e-6)
    by_hand = (teacher.exp() * (teacher - functional.log_softmax(logits, dim=-1))).sum() / 5
    torch.testing.assert_close(losses.kl(logits, teacher), by_hand)
    assert losses.kl(logits, teacher) == pytest.approx(
        losses.kl(logits.repeat(2, 1), teacher.repeat(2, 1)).item()
    )


def test_alignment_by_cross_entropy_wants_the_direction_and_not_the_size():
    torch.manual_seed(0)
    table, ids = torch.randn(V, E), torch.randint(0, V, (B, K))
    right, wrong = table[ids], table[(ids + 1) % V]
    assert losses.prompt_alignment_ce(right, table, ids) < 0.1 < losses.prompt_alignment_ce(wrong, table, ids)
    torch.testing.assert_close(
        losses.prompt_alignment_ce(right, table, ids), losses.prompt_alignment_ce(50 * right, table, ids)
    )
    cosine = functional.cosine_similarity(wrong[:, :, None], table[None, None], dim=-1)
    by_hand = functional.cross_entropy(cosine.flatten(0, 1) / 0.1, ids.flatten())
    torch.testing.assert_close(losses.prompt_alignment_ce(wrong, table, ids), by_hand)


def test_the_contrastive_term_is_smallest_at_the_own_question():
    torch.manual_seed(0)
    bank = functional.normalize(torch.randn(8, E), dim=-1)
    rows, alike = torch.tensor([5, 0, 3]), torch.arange(8)
    own = bank[rows][:, None].expand(-1, K, -1)
    other = bank[rows.roll(1)][:, None].expand(-1, K, -1)
    assert losses.info_nce(own, bank, rows, alike) < 0.1
    assert losses.info_nce(other, bank, rows, alike) > 1


def test_questions_that_cannot_be_told_apart_are_no_negatives():
    torch.manual_seed(0)
    bank = functional.normalize(torch.randn(4, E), dim=-1)
    twice, alike = torch.cat([bank, bank[:1]]), torch.tensor([0, 1, 2, 3, 0])
    soft, rows = soft_tokens()[:1], torch.tensor([0])
    alone = losses.info_nce(soft, bank, rows, torch.arange(4))
    torch.testing.assert_close(losses.info_nce(soft, twice, rows, alike), alone)
    # a twin in the same batch is no negative either
    assert math.isfinite(losses.info_nce(soft_tokens(), twice, torch.tensor([0, 4, 2]), alike).item())


def test_the_bank_is_centred_and_knows_questions_of_the_same_words():
    torch.manual_seed(0)
    table = torch.randn(V, E) + 100
    bank = question_bank(table, [(1, 2), (3,), (2, 1), (4, 4)])
    assert bank.alike_P.tolist() == [0, 1, 0, 2]
    torch.testing.assert_close(bank.mean_PE.norm(dim=-1), torch.ones(4))
    assert (bank.mean_PE @ bank.mean_PE.T).min() < -0.1


@pytest.mark.parametrize(
    "term",
    [
        lambda soft: losses.prompt_alignment_ce(soft, torch.eye(V, E), torch.zeros(B, K, dtype=torch.long)),
        lambda soft: losses.info_nce(soft, torch.eye(V, E), torch.arange(B), torch.arange(V)),
    ],
)
def test_gradients_of_terms_on_soft_tokens_reach_every_one_of_them(term):
    soft = soft_tokens()
    term(soft).backward()
    assert (soft.grad.abs().sum(-1) > 0).all()


def test_positions_are_counted_row_after_row():
    assert first_positions([3, 25, 2]).tolist() == [0, 1, 2, *range(3, 23), 28, 29]
    assert format_positions([5, 4], [2, 0]).tolist() == [2, 3, 5, 6, 7]


def test_the_format_span_is_the_final_mark_and_number(prepared):
    ready, _ = prepared("loss.format_weight=1")
    pool, target = ready.trainer.pool, ready.target
    for answer, start in zip(pool.answers, ready.trainer.supervision.format_starts, strict=True):
        whole = target.decode(answer)
        assert target.decode(answer[start:]).lstrip("\n") == whole[whole.rindex("####") :]
        assert "####" not in target.decode(answer[:start])


def test_an_answer_without_the_mark_is_refused():
    with pytest.raises(TrainingStopped) as caught:
        format_start([1, 2], lambda _ids: "no number")
    assert str(caught.value) == (
        "an answer has no ####, so loss.format_weight has nothing to weigh: 'no number'"
    )


@pytest.mark.parametrize("mode", ["soft_plus_text", "soft_only"])
def test_the_teacher_of_kl_reads_the_full_text_in_every_mode_and_is_asked_once(prepared, monkeypatch, mode):
    ready, wanted = prepared("loss.kl_weight=0.6", f"prompt.mode={mode}")
    teacher, target = ready.trainer.supervision.full_text, ready.target
    question = ready.task.item(seed=7, split="train", index=3).question
    prompt, answer = target.encode(question + "\nA:"), ready.trainer.pool.answers[3]
    ids = torch.tensor([[target.special.bos, *prompt, *answer]])
    logits = target.model(input_ids=ids).logits[0, len(prompt) :]
    first = teacher.log_probs([3, 1])
    rows = min(20, len(answer) + 1)
    torch.testing.assert_close(first[:rows], logits[:rows].log_softmax(-1), rtol=1e-3, atol=1e-4)
    assert not first.requires_grad
    assert torch.equal(teacher.log_probs([1, 3])[-rows:], first[:rows])
    monkeypatch.setattr(FrozenModel, "logits", None)  # a second run reads what is kept
    again, _ = prepared("loss.kl_weight=0.3", f"prompt.mode={mode}")
    assert torch.equal(again.trainer.supervision.full_text.log_probs([3, 1]), first)
    monkeypatch.undo()
    state = ready.trainer.start(new_bridge(wanted, ready), weight_decay=0.0)
    assert ready.trainer.advance(state).terms["kl"] > 0


@pytest.mark.parametrize("term", TERMS)
def test_a_term_that_is_off_needs_nothing_and_one_that_is_on_moves_the_bridge(prepared, term):
    off, _ = prepared()
    assert off.trainer.supervision == (None, None, None, None)
    ready, wanted = prepared(
        "loss.nll_weight=0", "loss.flow_weight=0.1", f"loss.{term}_weight=1", "loss.decode_every_steps=1"
    )
    if term == "decode":
        ready = sure_of_every_answer(ready)
    bridge = new_bridge(wanted, ready)
    raw = torch.nn.Parameter(torch.randn(4, 8, ready.target.embedding_table.shape[1]) * 0.1)
    soft = ready.scale(raw)
    trainer = ready.trainer
    terms = {
        "kl": lambda: trainer._answer_terms(Soft(soft, None), range(4)),
        "format": lambda: trainer._answer_terms(Soft(soft, None), range(4)),
        "decode": lambda: trainer._decode_term(Soft(soft, None), range(4)),
        "prompt_alignment": lambda: {"prompt_alignment": trainer._alignment(soft, range(4))},
        "info_nce": lambda: {
            "info_nce": losses.info_nce(
                soft, trainer.supervision.bank.mean_PE, torch.arange(4), trainer.supervision.bank.alike_P
            )
        },
    }[term]()
    assert list(terms) == [term]
    terms[term].backward()
    assert (raw.grad.abs().sum(-1) > 0).all()
    state = trainer.start(bridge, weight_decay=0.0)
    assert set(trainer.advance(state).terms) == {"flow", term}


def sure_of_every_answer(ready):
    """Let every own answer count as correct, and be the three tokens that no reference answer is."""
    supervision = ready.trainer.supervision._replace(is_correct=lambda _row, _ids: True)
    object.__setattr__(ready.trainer, "supervision", supervision)
    written = (5, 6, 7)
    target = ready.target
    target.__dict__["generate_greedy"] = lambda embedded, **_: [
        Generation(written, "eos") for _ in range(len(embedded))
    ]
    return ready


def test_the_decode_term_is_the_likelihood_of_the_own_answer_and_no_copy_of_nll(prepared):
    ready, _ = prepared("loss.decode_weight=1", "loss.decode_every_steps=1")
    trainer = sure_of_every_answer(ready).trainer
    soft = Soft(torch.randn(2, 8, ready.target.embedding_table.shape[1]) * 0.05, None)
    logits, labels = trainer._predict(soft, [0, 1], [(5, 6, 7), (5, 6, 7)])
    eos = ready.target.special.eos
    assert labels.tolist() == [5, 6, 7, eos] * 2
    own = trainer._decode_term(soft, [0, 1])["decode"]
    torch.testing.assert_close(own, functional.cross_entropy(logits, labels))
    assert (own - trainer._answer_terms(soft, [0, 1])["nll"]).abs() > 0.1


def test_only_answers_that_end_and_are_correct_are_learned_from(prepared, monkeypatch):
    ready, _ = prepared("loss.decode_weight=1")
    trainer, pool = ready.trainer, ready.trainer.pool
    soft = Soft(torch.zeros(3, 8, ready.target.embedding_table.shape[1]), None)
    by_row = {0: (pool.answers[0], "eos"), 1: (pool.answers[1], "length"), 2: ((5, 6), "eos")}
    order = iter(sorted(by_row, key=lambda row: (len(pool.target_texts[row]), row)))
    monkeypatch.setitem(
        ready.target.__dict__,
        "generate_greedy",
        lambda embedded, **_: [Generation(*by_row[next(order)]) for _ in range(len(embedded))],
    )
    assert trainer._own_answers(soft, [0, 1, 2]) == {0: pool.answers[0]}
    monkeypatch.setattr(type(trainer), "_own_answers", lambda *_: {})
    assert trainer._decode_term(soft, [0, 1, 2]) == {}


def test_own_answers_are_asked_for_at_every_nth_step_only(short_run):
    run_dir, _ = short_run("one", "loss.decode_weight=0.5", "loss.decode_every_steps=4")
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert "decode_nats" not in rows[0]
    assert "decode_nats" not in rows[2]


def test_the_loss_is_the_weighted_sum_of_all_terms(short_run):
    weights = {"kl": 0.6, "info_nce": 0.05, "format": 0.1, "prompt_alignment": 0.5}
    run_dir, _ = short_run(
        "one",
        *(f"loss.{term}_weight={weight}" for term, weight in weights.items()),
        "loss.prompt_alignment_mode=ce",
    )
    (row, *_) = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    parts = row["nll_nats"] + 0.1 * row["flow"] + 0.6 * row["kl_nats"] + 0.05 * row["info_nce_nats"]
    assert row["loss"] == pytest.approx(parts + 0.1 * row["format_nats"] + 0.5 * row["prompt_alignment"])


def test_with_the_answer_as_teacher_a_run_says_what_the_soft_tokens_spell(short_run, prepared):
    run_dir, result = short_run("one", "loss.teacher=answer", "bridge.num_soft_tokens=30")
    rows = [json.loads(line) for line in (run_dir / "eval_samples_step_final.jsonl").read_text().splitlines()]
    assert all("soft_tokens_read_full" in row for row in rows)
    assert result.final["soft_tokens_read"].total == 12
    ready, _ = prepared("loss.teacher=answer", "bridge.num_soft_tokens=30")
    teacher, answers = ready.trainer.pool.teacher_ids, ready.trainer.pool.answers
    eos = ready.target.special.eos
    assert all(len(ids) == 30 for ids in teacher)
    assert [ids[: len(answer) + 1] for ids, answer in zip(teacher, answers, strict=True)] == [
        (*answer, eos) for answer in answers
    ]


def test_keys_of_terms_without_weight_are_inert():
    pocket = load_preset("pocket")
    unused = ["loss.prompt_alignment_mode=ce", "loss.decode_every_steps=3"]
    changed = with_overrides(pocket, unused)
    assert config.inert(changed) == {
        "loss.prompt_alignment_mode": "loss.prompt_alignment_weight is 0",
        "loss.decode_every_steps": "loss.decode_weight is 0",
    }
    assert config.digest(changed) == config.digest(pocket)
    taught = with_overrides(pocket, ["loss.teacher=answer"])
    assert config.inert(taught) == {}
    untaught = with_overrides(taught, ["loss.flow_weight=0"])
    assert config.inert(untaught) == {"loss.teacher": "neither flow nor prompt alignment is computed"}


def test_own_answers_alone_are_no_loss():
    with pytest.raises(RecordInvalid, match="at least one has a weight"):
        with_overrides(
            load_preset("pocket"), ["loss.decode_weight=1", "loss.flow_weight=0", "loss.nll_weight=0"]
        )
