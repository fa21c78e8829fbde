import torch

from runkit.engine.noise import EVALUATION_DRAW, batch_noise, batch_times, item_noise

WHERE = {"run_seed": 1234, "split": "test", "item_id": "test-17", "draw": 0, "shape": (2, 3)}


def test_noise_depends_on_no_batch_and_no_order():
    ids = [f"test-{number}" for number in range(6)]
    together = batch_noise(run_seed=1, split="test", item_ids=ids, draw=0, shape=(4, 8), std=1.0)
    backwards = batch_noise(run_seed=1, split="test", item_ids=ids[::-1], draw=0, shape=(4, 8), std=1.0)
    assert torch.equal(together, backwards.flip(0))
    torch.manual_seed(3)
    assert torch.equal(
        together[4], item_noise(run_seed=1, split="test", item_id="test-4", draw=0, shape=(4, 8))
    )


def test_noise_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    item_noise(**WHERE)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_part_of_the_name_changes_the_noise():
    first = item_noise(**WHERE)
    for change in ({"run_seed": 1235}, {"split": "dev"}, {"item_id": "test-18"}, {"draw": 1}):
        assert not torch.equal(item_noise(**{**WHERE, **change}), first)


def test_the_noise_of_one_item_is_this():
    assert EVALUATION_DRAW == 0
    expected = torch.tensor([[1.1321818, 1.3420311, -0.4802555], [0.8775635, -0.2105283, -1.2030081]])
    torch.testing.assert_close(item_noise(**WHERE), expected, rtol=0, atol=1e-6)


def test_noise_is_standard_normal():
    drawn = batch_noise(
        run_seed=1, split="train", item_ids=[str(n) for n in range(200)], draw=1, shape=(8, 64), std=1.0
    )
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01


def test_times_lie_in_the_unit_interval_and_depend_on_no_batch():
    ids = [str(number) for number in range(500)]
    times = batch_times(run_seed=1, split="train", item_ids=ids, draw=3)
    assert 0 <= times.min() < 0.02 < 0.98 < times.max() < 1
    assert torch.equal(times[7:8], batch_times(run_seed=1, split="train", item_ids=["7"], draw=3))
