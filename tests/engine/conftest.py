"""A session's one full training, and the short configuration that all other tests train."""

import json

import pytest

from tests.conftest import HAS_TORCH

if HAS_TORCH:  # without it, each file here is skipped with the reason
    import torch

    from runkit.engine.config import load_preset, with_overrides
    from runkit.engine.reporter import LinesReporter
    from runkit.engine.train_run import train
    from tests.engine.tiny_models import FAMILIES, write_model

SHORT = (
    "train.steps=6",
    "train.batch_size=4",
    "train.pool_items=16",
    "train.log_every_steps=2",
    "train.eval_every_steps=2",
    "train.patience_evals=9",
    "optim.warmup_steps=2",
    "eval.dev_items=10",
    "eval.test_items=12",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Keep torch from waiting for cores that other work is using; the models here are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("baselines")


def trained(run_dir, config, cache_dir, *, reporter=None, preset="pocket"):
    """Train into *run_dir*, made here, and return it with the result."""
    run_dir.mkdir()
    reporter = reporter or LinesReporter(lambda _line: None)
    result = train(
        config, run_dir, cache_dir=cache_dir, reporter=reporter, run_id=run_dir.name, preset=preset
    )
    return run_dir, result


@pytest.fixture(scope="session")
def one_run(tmp_path_factory, cache_dir):
    """The short configuration, trained once a session, to be read only."""
    folder = tmp_path_factory.mktemp("short") / "one"
    return trained(folder, with_overrides(load_preset("pocket"), SHORT), cache_dir)


@pytest.fixture
def short_run(tmp_path, cache_dir):
    """Return a function that trains the short configuration with overrides into a new folder."""

    def run(name, *overrides, reporter=None, preset="pocket", cache=cache_dir):
        config = with_overrides(load_preset(preset), [*SHORT, *overrides])
        return trained(tmp_path / name, config, cache, reporter=reporter, preset=preset)

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folders of tiny random models, by family; the one of Qwen2 has no begin token."""
    root = tmp_path_factory.mktemp("tiny")
    special = {
        "qwen2": {"eos_token": "<|endoftext|>"},
        "gpt_neox": {"bos_token": "<end>", "eos_token": "<end>"},
    }
    return {family: str(write_model(root / family, family, **special.get(family, {}))) for family in FAMILIES}


@pytest.fixture(scope="session")
def problems(tmp_path_factory):
    """Overrides that make a short run on GSM8K-like problems with two examples."""
    folder = tmp_path_factory.mktemp("problems")
    return (
        "task.name=gsm8k",
        "task.few_shot=2",
        f"task.train_file={write_problems(folder / 'train.jsonl', 530)}",
        f"task.test_file={write_problems(folder / 'test.jsonl', 12, first=2000)}",
        "eval.batches=padded",
        "pair.source_layers=1,2",
    )


@pytest.fixture(scope="session")
def pocket_run(tmp_path_factory, cache_dir):
    """The pocket preset, trained whole, once a session."""
    return trained(tmp_path_factory.mktemp("full") / "pocket", load_preset("pocket"), cache_dir)


_STORIES = (
    ("{name} has {a} apples and picks {b} more. How many apples are there?", "{a} + {b} = {sum}."),
    (
        "A box holds {a} pens. {name} finds a second box, a little larger, with {b} pens in it, and puts "
        "all of them on one table. How many pens lie there?",
        "The first box has {a}.\nBoth have {a} + {b} = {sum}.",
    ),
    ("{name} walks {a} miles, then {b}. How far is it?", "It is {a} + {b} = {sum} miles."),
)


def write_problems(path, count, *, first=0):
    """Write *count* problems in the format of GSM8K, all different, of very different lengths."""
    rows = []
    for number in range(first, first + count):
        story, worked = _STORIES[number % len(_STORIES)]
        values = {"name": "Eva" if number % 2 else "Tom", "a": number + 2, "b": number % 7 + 1}
        values["sum"] = values["a"] + values["b"]
        answer = f"{worked.format(**values)}\n#### {values['sum']}"
        rows.append(json.dumps({"question": story.format(**values), "answer": answer}) + "\n")
    path.write_text("".join(rows))
    return path
