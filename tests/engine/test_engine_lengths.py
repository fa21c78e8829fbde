"""Prompts of many lengths after a shared prefix: the shared and padded ways against the plain ones."""

import json

import pytest
import torch

from runkit.engine.baselines import batch_plan, cached_alone, generate_alone
from runkit.engine.evaluate import score
from runkit.engine.pair import Generation, load_frozen
from runkit.engine.prompts import build_sequences, embed
from runkit.engine.tasks import Item, load_task
from tests.engine.tiny_models import FAMILIES

EXAMPLES = "Q: Tom has 3 apples and picks 2 more. How many?\nA: 3 + 2 = 5.\n#### 5\n\n" * 2
PROMPTS = [f"Q: Eva has {n} pens{' and a box' * (n % 4)}. How many?\nA:" for n in range(9)]


@pytest.fixture(scope="module", params=FAMILIES)
def frozen(request, tiny):
    return load_frozen(tiny[request.param])


def test_the_shared_prefix_gives_the_logits_of_the_full_forward(frozen):
    texts = [frozen.encode(prompt) for prompt in PROMPTS]
    answers = [frozen.encode(f" {n}\n#### {n}") for n in range(len(PROMPTS))]
    prefix = frozen.read_prefix(EXAMPLES)
    torch.manual_seed(0)
    soft = torch.randn(len(texts), 3, frozen.embedding_table.shape[1])
    built = build_sequences(
        texts, num_slots=3, special=frozen.special, answers=answers, start=len(prefix.token_ids)
    )
    embedded = embed(built, table_VE=frozen.embedding_table, soft_BKE=soft)
    shared = frozen.logits(embedded, built.position_ids_BT, built.predicting_A, prefix=prefix)
    first = frozen.embedding_table[torch.tensor(prefix.token_ids)].expand(len(texts), -1, -1)
    hidden = frozen.model.base_model(
        inputs_embeds=torch.cat([first, embedded], dim=1), use_cache=False
    ).last_hidden_state[:, len(prefix.token_ids) :]
    full = frozen.model.get_output_embeddings()(hidden.flatten(0, 1)[built.predicting_A])
    torch.testing.assert_close(shared, full, rtol=1e-5, atol=1e-5)
    assert len(full.unique(dim=0)) > len(PROMPTS)


def test_source_states_after_a_shared_prefix_are_those_of_the_full_text(frozen):
    texts = [frozen.encode(prompt) for prompt in PROMPTS]
    prefix = frozen.read_prefix(EXAMPLES)
    states = frozen.hidden_states(texts, layers=[1, 2], prefix=prefix)
    for row, text in enumerate(texts):
        ids = torch.tensor([[*prefix.token_ids, *text]])
        whole = frozen.model.base_model(input_ids=ids, output_hidden_states=True, use_cache=False)
        expected = torch.cat([whole.hidden_states[layer] for layer in (1, 2)], dim=-1)[0, -len(text) :]
        assert states.keep_BN[row].sum() == len(text)
        torch.testing.assert_close(
            states.states_BNS[row, states.keep_BN[row]], expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("examples", ["", EXAMPLES])
def test_padded_batches_of_any_size_write_what_a_prompt_alone_is_continued_with(frozen, examples):
    prefix = frozen.read_prefix(examples)
    alone = [
        generate_alone(frozen, [examples + prompt], batch_size=1, max_new_tokens=12)[0]
        if frozen.encode(examples + prompt) == frozen.encode(examples) + frozen.encode(prompt)
        else None
        for prompt in PROMPTS
    ]
    assert all(alone)
    assert len(set(alone)) > 4
    for batch_size in (2, 5, 9):
        batched = generate_alone(
            frozen, PROMPTS, batch_size=batch_size, max_new_tokens=12, padded=True, prefix=prefix
        )
        assert batched == alone


def test_a_padded_plan_has_full_batches_shortest_first():
    assert batch_plan([5, 3, 5, 4, 3], batch_size=2, padded=True) == [[1, 4], [3, 0], [2]]
    assert batch_plan([5, 3, 5, 4, 3], batch_size=2) == [[1, 4], [3], [0, 2]]


def test_generation_ends_at_a_stop_string_and_the_text_before_it_is_scored():
    target, task = load_frozen("pocket/target"), load_task("pricelist")
    prompts = [f"Tom buys {n} pens at 4 and 2 cups at 3 each. How much does Tom pay?\nA:" for n in (2, 3)]
    whole = [
        target.decode(one.token_ids)
        for one in generate_alone(target, prompts, batch_size=2, max_new_tokens=28)
    ]
    stopped = generate_alone(target, prompts, batch_size=2, max_new_tokens=28, stops=("\n####",))
    assert [one.finish for one in stopped] == ["stop", "stop"]
    texts = [target.decode(one.token_ids) for one in stopped]
    assert all(
        text.startswith(start) and start.endswith("\n####") for text, start in zip(whole, texts, strict=True)
    )
    gsm8k = load_task("gsm8k")
    items = [Item(f"test-{n}", "?", " #### 14", "14") for n in (2, 3)]
    assert [one.text for one in score(gsm8k, target, items, stopped)] == texts  # another task's stops: kept
    assert task.stops == ()


def test_what_follows_a_stop_in_the_text_is_cut_before_it_is_scored(tiny):
    frozen, task = load_frozen(tiny["llama"]), load_task("gsm8k")
    written = frozen.encode(" I give up.\nQ: What is 2 + 2?\nA: 4\n#### 4")
    (one,) = score(task, frozen, [Item("test-0", "?", " #### 4", "4")], [Generation(written, "length")])
    assert (one.text, one.extracted, one.flexible, one.outcome) == (
        " I give up.",
        "[invalid]",
        "[invalid]",
        "invalid",
    )


def test_another_prefix_or_other_stops_are_another_cache_entry(tiny, tmp_path):
    frozen = load_frozen(tiny["llama"])

    def cached(**kind):
        made = cached_alone(
            frozen, PROMPTS[:3], batch_size=2, max_new_tokens=4, threads=1, cache_dir=tmp_path,
            note=lambda _line: None, **kind,
        )  # fmt: skip
        assert made == generate_alone(frozen, PROMPTS[:3], batch_size=2, max_new_tokens=4, **kind)
        return len(list(tmp_path.iterdir()))

    prefix = frozen.read_prefix(EXAMPLES)
    assert [cached(), cached(padded=True), cached(padded=True, prefix=prefix), cached(stops=("Q",))] == [
        1,
        2,
        3,
        4,
    ]
    assert cached(padded=True, prefix=prefix) == 4


def test_the_pocket_reads_the_same_in_padded_batches(one_run, short_run):
    first, _ = one_run
    second, _ = short_run("two", "eval.batches=padded", "eval.batch_size=7")
    for name in ("eval_samples_step_4.jsonl", "eval_samples_step_final.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def pair(tiny, source, target):
    return f"pair.source={tiny[source]}", f"pair.target={tiny[target]}"


@pytest.mark.parametrize(
    ("source", "target"), [("mistral", "llama"), ("gpt_neox", "qwen2"), ("qwen2", "gpt_neox")]
)
def test_a_run_on_many_lengths_writes_the_same_dumps_whatever_the_batch_size(
    short_run, problems, tiny, source, target
):
    runs = [
        short_run(f"of_{size}", *problems, *pair(tiny, source, target), f"eval.batch_size={size}")[0]
        for size in (12, 5)
    ]
    dumps = [sorted(run.glob("eval_samples_*.jsonl")) for run in runs]
    assert len(dumps[0]) == 5
    for one, other in zip(*dumps, strict=True):
        assert one.read_bytes() == other.read_bytes()
    row = json.loads(dumps[0][-1].read_text().splitlines()[0])
    assert row["item"] == "test-0"
    assert {f"{system}_flexible" for system in ("source", "target", "bridged", "shuffled_source")} < set(row)
    texts = [json.loads(line)["bridged_full"] for line in dumps[0][-1].read_text().splitlines()]
    assert len(set(texts)) > 1


def test_soft_only_reads_no_examples_and_its_control_neither(short_run, problems, tiny):
    run, result = short_run("one", *problems, *pair(tiny, "mistral", "llama"), "prompt.mode=soft_only")
    rows = [json.loads(line) for line in (run / "eval_samples_step_final.jsonl").read_text().splitlines()]
    assert len({row["no_soft_tokens_full"] for row in rows}) == 1
    assert set(result.final) >= {"no_soft_tokens", "shuffled_source"}
