"""What a launcher runs in every process of a test: ``-m tests.engine.launched_together WHAT FOLDER RUNS``."""

import json
import sys
from pathlib import Path

import torch

from runkit.engine.config import load_preset, with_overrides
from runkit.engine.launched import launched, tell_launcher
from runkit.engine.preparation import prepare
from runkit.engine.reporter import SilentReporter
from runkit.engine.run_files import RunFiles
from runkit.engine.train_run import _At, _ending_logged, _Run, fixed_arithmetic, train
from runkit.engine.world import joined


class Breaking(SilentReporter):
    """Makes numbers infinite after a step, as hardware that fails does."""

    def __init__(self, numbers):
        self.numbers = numbers

    def step(self, step, loss):
        if step == 3:
            self.numbers.fill_(float("inf"))


class Failing(SilentReporter):
    """Fails after a step, as a process that runs out of memory would."""

    def step(self, step, loss):
        if step == 3:
            raise MemoryError("out of cheese")


def train_all(folder, configurations, world):
    for number, (preset, overrides) in enumerate(configurations):
        run_dir = folder / str(number)
        if world.is_main:
            run_dir.mkdir()
        config = with_overrides(load_preset(preset), overrides)
        result = train(
            config,
            run_dir,
            cache_dir=folder / "cache",
            reporter=SilentReporter(),
            run_id=run_dir.name,
            world=world,
        )
        everywhere = world.gathered(result)
        assert everywhere == [result] * world.size
    held = world.gathered([torch.cuda.max_memory_allocated(gpu) for gpu in range(torch.cuda.device_count())])
    if world.is_main:
        (folder / "memory_of_ranks.json").write_text(json.dumps(held))


def fail_in_rank_1(folder, configurations, world):
    ((preset, overrides),) = configurations
    train(
        with_overrides(load_preset(preset), overrides),
        folder,
        cache_dir=folder / "cache",
        reporter=Failing() if world.rank == 1 else SilentReporter(),
        run_id="failing",
        world=world,
    )


def break_states_of_rank_1(folder, configurations, world):
    ((preset, overrides),) = configurations
    config = with_overrides(load_preset(preset), overrides)
    files, at = RunFiles(folder, is_writer=world.is_main), _At()
    with fixed_arithmetic(config.compute.threads), _ending_logged(files, at, world):
        prepared = prepare(config, cache_dir=folder / "cache", note=lambda _line: None, world=world)
        mine = prepared.trainer.pool.states.tokens_TS
        run = _Run(config, files, Breaking(mine) if world.rank == 1 else SilentReporter(), prepared, at)
        run.to_the_end(run.begun())


def let_bridges_differ(folder, configurations, world):
    ((preset, overrides),) = configurations
    config = with_overrides(load_preset(preset), overrides)
    prepared = prepare(config, cache_dir=folder / "cache", note=lambda _line: None, world=world)
    files = RunFiles(folder, is_writer=world.is_main)
    run = _Run(config, files, SilentReporter(), prepared, _At())
    run._assert_one_bridge()
    if world.rank == 1:
        with torch.no_grad():
            next(run.state.bridge.parameters()).view(-1)[0] += 1e-7
    run.begun()


def main():
    what, folder, configurations = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(1)
    try:
        with joined(launched()) as world:
            globals()[what](folder, configurations, world)
    except Exception as error:  # noqa: BLE001  the launcher is told of each
        tell_launcher(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
