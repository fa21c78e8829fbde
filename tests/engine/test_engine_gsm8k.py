import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.engine import config
from runkit.engine.tasks import load_task, outcome
from runkit.engine.tasks.gsm8k import DEV_PROBLEMS, gold
from runkit.errors import StorageFailed, UnknownName, UsageError
from tests.engine.conftest import write_problems

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
TASK = load_task("gsm8k")
NEEDS = "gsm8k needs the text fields question and answer"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gsm8k")
    return load_task(
        "gsm8k",
        train_file=str(write_problems(folder / "train.jsonl", 560)),
        test_file=str(write_problems(folder / "test.jsonl", 30, first=2000)),
    )


def items(task, split, count, seed=7):
    return [task.item(seed=seed, split=split, index=index) for index in range(count)]


def test_dev_is_the_end_of_train_and_no_question_stands_in_two_splits_or_among_the_examples(local):
    wording = local.wording(seed=7)
    train, dev, test = (items(local, *of) for of in (("train", 52), ("dev", DEV_PROBLEMS), ("test", 30)))
    assert [item.question for item in dev] == [row.question for row in local.train_rows[-500:]]
    questions = [{item.question for item in split} for split in (train, dev, test)]
    assert len(set().union(*questions)) == 52 + 500 + 30
    assert not [item.id for item in [*train, *dev, *test] if item.question in wording.prefix]
    assert train[0].id == "train-0"


def test_the_prefix_is_eight_examples_from_train_fixed_by_the_seed(local):
    wording = local.wording(seed=7)
    blocks = wording.prefix.split("\n\n")
    assert (len(blocks), blocks[-1]) == (9, "")
    examples = {f"Q: {row.question}\nA: {row.answer}" for row in local.train_rows[:-DEV_PROBLEMS]}
    assert set(blocks[:-1]) < examples
    assert wording == local.wording(seed=7) != local.wording(seed=8)


def test_more_problems_than_there_are_is_refused_naming_the_key(local):
    with pytest.raises(UsageError) as caught:
        local.item(seed=7, split="test", index=30)
    assert str(caught.value) == "gsm8k has 30 problems in test; eval.test_items can be at most that"


def test_the_worked_answer_of_every_item_extracts_to_its_gold(local):
    assert all(local.extract(item.answer) == item.gold for item in items(local, "train", 52))
    assert gold("1 + 1 = 2\n#### 1,234 ") == "1234"


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("so 3 + 4 = 7.\n#### 7", "7", "7"),
        ("#### 10.", "10", "10"),
        ("#### .6", ".6", ".6"),
        ("#### 1,234", "1234", "1234"),
        ("#### -5", "-5", "-5"),
        ("#### 3.50", "3.50", "3.50"),
        ("#### " + "7" * 250, "7" * 250, "7" * 250),
        ("#### 5\n#### 6", "5", "6"),
        ("#### $12", "[invalid]", "12"),
        ("####12", "[invalid]", "12"),
        ("#### 10..", "10.", "10."),
        ("#### ,.", "[invalid]", "[invalid]"),
        ("it costs $1,250.00 now.", "[invalid]", "1250.00"),
        ("it is 4", "[invalid]", "4"),
        ("it is four", "[invalid]", "[invalid]"),
        ("", "[invalid]", "[invalid]"),
        ("I do not know.\nQ: What is 2 + 2?\nA: 4\n#### 4", "[invalid]", "[invalid]"),
        ("It is 3. Question: what is 2 + 2?\n#### 4", "[invalid]", "3"),
        ("#### 9\n\nQ: What is 2 + 2?\n#### 4", "9", "9"),
    ],
)
def test_extraction_reads_the_text_before_a_stop_only(text, strict, flexible):
    assert (TASK.extract(text), TASK.extract_flexibly(text)) == (strict, flexible)


@given(st.text(alphabet="# 0123456789.,-$Q:\nx"))
def test_extraction_never_fails_and_never_returns_a_comma(text):
    assert "," not in TASK.extract(text) + TASK.extract_flexibly(text)


def test_the_dot_of_ten_is_no_other_number_but_a_missing_zero_is():
    assert outcome(TASK.extract("#### 10."), "10") == "correct"
    assert outcome(TASK.extract("#### .6"), "0.6") == "wrong"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"prompt": "1 + 1?", "answer": "#### 2"}, f"{NEEDS}, found answer, prompt"),
        ({"question": "1 + 1?", "answer": 2}, f"{NEEDS}, found answer, question"),
        ({}, f"{NEEDS}, found no field"),
        ({"question": "1 + 1?", "answer": "2"}, "the answer should end in '#### ' and a number"),
        (["1 + 1?", "2"], "should be an object with question and answer"),
    ],
)
def test_rows_of_another_shape_are_named_in_one_line(tmp_path, row, complaint):
    path = write_problems(tmp_path / "train.jsonl", 2)
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(UsageError) as caught:
        load_task("gsm8k", train_file=str(path)).wording(seed=7)
    assert str(caught.value) == f"train.jsonl, row 3: {complaint}"


def test_a_file_that_is_missing_no_json_or_too_short_is_named(tmp_path):
    with pytest.raises(StorageFailed, match=r"none\.jsonl: No such file or directory$"):
        load_task("gsm8k", train_file=str(tmp_path / "none.jsonl")).wording(seed=7)
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(UsageError, match=r"^bad\.jsonl, row 1: is not JSON: "):
        load_task("gsm8k", train_file=str(tmp_path / "bad.jsonl")).wording(seed=7)
    short = write_problems(tmp_path / "short.jsonl", 508)
    with pytest.raises(UsageError) as caught:
        load_task("gsm8k", train_file=str(short)).wording(seed=7)
    assert str(caught.value) == (
        f"gsm8k needs at least 509 problems in train (500 of them for dev, 8 for examples), {short} has 508"
    )


def test_a_data_set_folder_is_read_as_the_hub_would_be(tmp_path, local, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    write_problems(folder / "train.jsonl", 560)
    write_problems(folder / "test.jsonl", 30, first=2000)
    splits = "".join(f"  - split: {name}\n    path: {name}.jsonl\n" for name in ("train", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n  data_files:\n{splits}---\n")
    from_set = load_task("gsm8k", dataset=str(folder))
    assert items(from_set, "test", 30) == items(local, "test", 30)
    assert from_set.wording(seed=7) == local.wording(seed=7)


def test_a_data_set_that_cannot_be_had_names_the_way_out(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(UsageError) as caught:
        load_task("gsm8k", dataset=str(tmp_path / "none")).wording(seed=7)
    message = str(caught.value)
    assert message.startswith(f"the data set {tmp_path / 'none'} (train) cannot be loaded: ")
    assert message.endswith("; give local JSONL with task.train_file and task.test_file")
    assert "\n" not in message


def test_the_sealed_digest_of_the_pocket_run_is_the_presets_digest_still():
    manifest = json.loads((ROOT / "manifests" / "pocket.json").read_text())
    pocket = config.load_preset("pocket")
    assert config.digest(pocket) == manifest["sealed"]["configuration"]["effective_digest"]
    assert config.inert(pocket) == {}


def test_keys_of_the_data_are_inert_for_the_price_list_and_count_for_gsm8k():
    pocket = config.load_preset("pocket")
    given = config.with_overrides(pocket, ["task.few_shot=4"])
    assert config.inert(given) == {"task.few_shot": "the price list reads no data"}
    assert config.digest(given) == config.digest(pocket)
    asked = [config.with_overrides(pocket, ["task.name=gsm8k", f"task.few_shot={shots}"]) for shots in (4, 8)]
    assert [config.effective(one)["task.few_shot"] for one in asked] == [4, 8]


def test_a_task_of_a_similar_name_is_offered():
    with pytest.raises(UnknownName, match=r"^there is no task 'gsm8'; did you mean 'gsm8k'"):
        load_task("gsm8")


@pytest.mark.skipif(not (SHARED / "gsm8k_test.jsonl").is_file(), reason="GSM8K is not beside the checkout")
def test_the_real_problems_read_back_their_own_golds():
    task = load_task(
        "gsm8k",
        train_file=str(SHARED / "gsm8k_train.jsonl"),
        test_file=str(SHARED / "gsm8k_test.jsonl"),
    )
    counts = {"train": 7473 - 500 - 8, "dev": 500, "test": 1319}
    for split, count in counts.items():
        read = items(task, split, count)
        assert [task.extract(item.answer) for item in read] == [item.gold for item in read]
        with pytest.raises(UsageError):
            task.item(seed=7, split=split, index=count)
    prefix = task.wording(seed=7).prefix
    assert not any(item.question in prefix for item in items(task, "dev", 500) + items(task, "test", 1319))


def test_the_readmes_configuration_is_valid_and_everything_in_it_counts(tmp_path):
    block = re.search(r"```toml\n(preset = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "mine.toml").write_text(block.group(1))
    mine = config.read_config(tmp_path / "mine.toml")
    assert not set(config.given(tmp_path / "mine.toml")) & set(config.inert(mine))
    assert mine.task.name == "gsm8k"
