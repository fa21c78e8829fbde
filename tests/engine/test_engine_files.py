import json

import pytest
import torch

from runkit.engine.baselines import batch_plan, cached_alone, generate_alone
from runkit.engine.checkpoint import load_into, read_checkpoint, snapshot, write_checkpoint, write_whole
from runkit.engine.evaluate import count, derangement, evaluation_mode, score
from runkit.engine.pair import Generation, load_frozen
from runkit.engine.tasks import Item, load_task
from runkit.errors import RunUnreadable, StorageFailed

PROMPTS = [f"Tom buys {n} pens and 2 cups at list price. How much does Tom pay?\nA:" for n in (2, 3, 4)]


@pytest.fixture(scope="module")
def source():
    return load_frozen("pocket/source")


def layer(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 2)


def test_a_checkpoint_reads_back_bit_for_bit_with_what_is_known_of_it(tmp_path):
    path, module = tmp_path / "checkpoint" / "best.safetensors", layer(0)
    write_checkpoint(path, snapshot(module), step=40, role="best", config_digest="abc")
    read = read_checkpoint(path)
    assert (read.step, read.role, read.config_digest) == (40, "best", "abc")
    other = layer(1)
    load_into(other, read.weights)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    assert [entry.name for entry in path.parent.iterdir()] == ["best.safetensors"]


def test_a_snapshot_is_not_changed_by_later_steps():
    module = layer(0)
    kept = snapshot(module)
    before = {name: weight.clone() for name, weight in kept.items()}
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(1.0)
    assert all(torch.equal(kept[name], before[name]) for name in kept)


def test_one_damaged_byte_in_the_head_of_a_checkpoint_is_found(tmp_path):
    path = tmp_path / "best.safetensors"
    write_checkpoint(path, snapshot(layer(0)), step=1, role="best", config_digest="abc")
    content = bytearray(path.read_bytes())
    content[7] ^= 0x7F
    path.write_bytes(bytes(content))
    with pytest.raises(RunUnreadable, match=r"^best\.safetensors cannot be read as a bridge checkpoint: "):
        read_checkpoint(path)


def test_a_file_of_another_kind_or_none_at_all_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(RunUnreadable, match=r"^other\.safetensors is not a bridge checkpoint of format 1$"):
        read_checkpoint(tmp_path / "other.safetensors")
    with pytest.raises(RunUnreadable, match=r"^none\.safetensors cannot be read as a bridge checkpoint: "):
        read_checkpoint(tmp_path / "none.safetensors")


def test_weights_of_another_bridge_are_refused():
    with pytest.raises(RunUnreadable, match=r"^the checkpoint belongs to another bridge: "):
        load_into(layer(0), snapshot(torch.nn.Linear(5, 2)))


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(StorageFailed, match=r"^cannot write one\.json: "):
        write_whole(tmp_path / "taken" / "one.json", b"{}")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(StorageFailed, match=r"^cannot write folder\.json: "):
        write_whole(tmp_path / "folder.json", b"{}")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder.json", "taken"]


def cached(source, folder, notes, **changes):
    numbers = {"batch_size": 2, "max_new_tokens": 6, "threads": 1, **changes}
    return cached_alone(source, PROMPTS, cache_dir=folder, note=notes.append, **numbers)


def test_baselines_are_made_once_and_read_from_the_cache_afterwards(source, tmp_path):
    notes = []
    made = cached(source, tmp_path / "cache", notes)
    assert made == generate_alone(source, PROMPTS, batch_size=2, max_new_tokens=6)
    (entry,) = (tmp_path / "cache").iterdir()
    written = entry.stat().st_mtime_ns
    assert cached(source, tmp_path / "cache", notes) == made
    assert (entry.stat().st_mtime_ns, notes) == (written, [])


def test_another_setting_is_another_entry(source, tmp_path):
    cached(source, tmp_path, [])
    cached(source, tmp_path, [], max_new_tokens=7)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "sabotage",
    [
        lambda entry: entry.write_bytes(entry.read_bytes()[:-9]),
        lambda entry: entry.write_text(
            entry.read_text().replace('"eos"', '"length"').replace('"length"', '"eos"', 1)
        ),
        lambda entry: entry.write_text("[]"),
        lambda entry: entry.write_bytes(b"\xff\xfe"),
    ],
)
def test_a_damaged_entry_is_made_again_with_one_line_about_it(source, tmp_path, sabotage):
    notes = []
    made = cached(source, tmp_path, notes)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    sabotage(entry)
    assert entry.read_bytes() != whole
    assert cached(source, tmp_path, notes) == made
    assert notes == [f"[Baselines] cache entry {entry.name} is damaged; generating again"]
    assert entry.read_bytes() == whole


def test_a_changed_token_in_an_entry_is_found(source, tmp_path):
    notes = []
    made = cached(source, tmp_path, notes)
    (entry,) = tmp_path.iterdir()
    content = json.loads(entry.read_text())
    content["rows"][0][0][0] += 1
    entry.write_text(json.dumps(content))
    assert cached(source, tmp_path, notes) == made
    assert len(notes) == 1


def test_no_batch_of_the_plan_needs_padding_and_no_row_is_lost():
    lengths = [5, 3, 5, 5, 3, 9]
    plan = batch_plan(lengths, batch_size=2)
    assert plan == [[1, 4], [0, 2], [3], [5]]
    assert sorted(row for rows in plan for row in rows) == list(range(6))


@pytest.mark.parametrize("num_items", [2, 3, 200, 501])
def test_a_derangement_moves_every_item(num_items):
    order = derangement(num_items)
    assert sorted(order) == list(range(num_items))
    assert all(item != read for item, read in enumerate(order))


@pytest.mark.parametrize("was_training", [True, False])
def test_the_training_flag_is_restored_even_after_an_error(was_training):
    module = layer(0).train(was_training)
    with evaluation_mode(module):
        assert not module.training
    assert module.training is was_training
    with pytest.raises(RuntimeError), evaluation_mode(module):
        module(torch.zeros(1, 99))
    assert module.training is was_training


def test_outcomes_are_counted_three_ways(source):
    texts = ["#### 4", "#### 5", "four", "#### 4"]
    items = [Item(str(index), "", "", "4") for index in range(4)]
    generations = [Generation(source.encode(text), "eos") for text in texts]
    counts = count(score(load_task("pricelist"), source, items, generations))
    assert counts == (2, 1, 1)
    assert (counts.total, counts.accuracy_fraction) == (4, 0.5)
