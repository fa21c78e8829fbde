import pytest
import torch

from runkit.engine.pair import load_frozen
from runkit.engine.prompts import SpecialTokens, build_sequences, embed, prompt_text

SPECIAL = SpecialTokens(bos=1, eos=2, pad=0)
TEXTS = [(11, 12, 13), (21, 22)]
ANSWERS = [(31, 32), (41, 42, 43)]


@pytest.fixture(scope="module")
def target():
    return load_frozen("pocket/target")


def test_training_and_evaluation_read_the_same_tokens_at_the_same_positions():
    for text, answer in zip(TEXTS, ANSWERS, strict=True):
        training = build_sequences([text], num_slots=2, special=SPECIAL, answers=[answer])
        evaluation = build_sequences([text], num_slots=2, special=SPECIAL)
        length = evaluation.token_ids_BT.shape[1]
        assert torch.equal(training.token_ids_BT[:, :length], evaluation.token_ids_BT)
        assert torch.equal(training.position_ids_BT[:, :length], evaluation.position_ids_BT)


def test_a_row_reads_bos_slots_text_answer_eos_and_pads_stand_on_the_right_only():
    built = build_sequences(TEXTS, num_slots=2, special=SPECIAL, answers=ANSWERS)
    assert built.token_ids_BT.tolist() == [[1, 0, 0, 11, 12, 13, 31, 32, 2], [1, 0, 0, 21, 22, 41, 42, 43, 2]]
    assert built.position_ids_BT.tolist() == [list(range(9))] * 2
    padded = build_sequences(TEXTS, num_slots=2, special=SPECIAL)
    assert padded.token_ids_BT.tolist() == [[1, 0, 0, 11, 12, 13], [1, 0, 0, 21, 22, 0]]
    assert padded.real_BT.tolist() == [[True] * 6, [True] * 5 + [False]]


def test_each_supervised_position_predicts_the_next_token_of_the_answer_and_the_last_one_eos():
    built = build_sequences(TEXTS, num_slots=2, special=SPECIAL, answers=ANSWERS)
    assert built.labels_A.tolist() == [31, 32, 2, 41, 42, 43, 2]
    flat = built.token_ids_BT.flatten()
    assert flat[built.predicting_A + 1].tolist() == built.labels_A.tolist()
    assert flat[built.predicting_A].tolist() == [13, 31, 32, 22, 41, 42, 43]


def test_without_an_answer_nothing_is_supervised():
    built = build_sequences(TEXTS, num_slots=0, special=SPECIAL)
    assert (built.predicting_A.tolist(), built.labels_A.tolist()) == ([], [])


def test_soft_only_reads_the_instruction_alone():
    assert prompt_text(question="Q?", instruction="\nA:", mode="soft_plus_text") == "Q?\nA:"
    assert prompt_text(question="Q?", instruction="\nA:", mode="soft_only") == "\nA:"


def test_soft_tokens_stand_in_the_slots_and_nowhere_else():
    table = torch.arange(50.0)[:, None].expand(50, 3)
    soft = torch.full((2, 2, 3), -1.0)
    embedded = embed(build_sequences(TEXTS, num_slots=2, special=SPECIAL), table_VE=table, soft_BKE=soft)
    assert embedded[..., 0].tolist() == [[1, -1, -1, 11, 12, 13], [1, -1, -1, 21, 22, 0]]


def test_a_wrong_number_of_soft_tokens_is_refused():
    built = build_sequences(TEXTS, num_slots=2, special=SPECIAL)
    with pytest.raises(ValueError, match=r"^3 soft tokens for 2 slots$"):
        embed(built, table_VE=torch.zeros(50, 3), soft_BKE=torch.zeros(2, 3, 3))


def logits_of(target, texts, answers, soft):
    built = build_sequences(texts, num_slots=soft.shape[1], special=target.special, answers=answers)
    embedded = embed(built, table_VE=target.embedding_table, soft_BKE=soft)
    return target.logits(embedded, built.position_ids_BT, built.predicting_A)


def test_pads_do_not_change_a_rows_logits(target):
    torch.manual_seed(0)
    soft = torch.randn(2, 3, target.embedding_table.shape[1]) * 0.05
    texts, answers = [(10, 20, 30, 40), (50, 60)], [(7, 8, 9), (70,)]
    together = logits_of(target, texts, answers, soft)
    alone = torch.cat(
        [
            logits_of(target, texts[row : row + 1], answers[row : row + 1], soft[row : row + 1])
            for row in (0, 1)
        ]
    )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
