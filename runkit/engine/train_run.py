"""One training run from configuration to run directory: the only place where the engine's parts meet."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from runkit.engine import config as configuration
from runkit.engine import noise, operations
from runkit.engine.arithmetic import promise
from runkit.engine.checkpoint import load_into, snapshot, weights_sha256, write_checkpoint
from runkit.engine.config import TrainConfig
from runkit.engine.evaluate import Counts, Scored, count, derangement, read_generations, score
from runkit.engine.launched import cause_of
from runkit.engine.memory import enough_memory
from runkit.engine.origin import EMBEDDED
from runkit.engine.pair import FrozenModel, assert_frozen
from runkit.engine.preparation import Measured, Prepared, bridged, fit, new_bridge, prepare
from runkit.engine.recorded import difference_from
from runkit.engine.reporter import Reporter
from runkit.engine.resumption import STATE, SavedState, read_state, restore, saved_state, write_state
from runkit.engine.run_files import RunFiles, accuracy_line
from runkit.engine.trainer import StepReport
from runkit.engine.world import SOLO, World
from runkit.errors import AlreadyExists, ProcessLost, RunUnreadable, StorageFailed
from runkit.records.manifest import Arithmetic

_DETERMINISTIC: Any = torch.utils.deterministic  # its one attribute is set where type checkers do not look

BEST = Path("checkpoint/best.safetensors")
LAST = Path("checkpoint/last.safetensors")

_IN_NATS = frozenset({"nll", "kl", "info_nce", "format", "decode"})


class TrainResult(NamedTuple):
    """What a finished run measured."""

    config_digest: str
    steps: int
    stopped_early: bool
    best_step: int
    best_dev: Counts
    """Of the bridged system on the dev split, at the best step."""
    final: Mapping[str, Counts]
    """Per system on the test split, with the best checkpoint."""
    num_parameters: int
    """Trained parameters of the bridge."""


@dataclass
class Best:
    """The best candidate so far; its weights are a copy."""

    step: int
    counts: Counts
    weights: dict[str, torch.Tensor]
    evals_since: int = 0


@dataclass
class _Window:
    """Losses since the last logged step."""

    losses: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)


def train(
    config: TrainConfig,
    run_dir: Path,
    *,
    cache_dir: Path,
    reporter: Reporter,
    run_id: str,
    preset: str | None = None,
    given: Mapping[str, object] | None = None,
    automatic: Mapping[str, str] | None = None,
    explained: Sequence[str] = (),
    world: World = SOLO,
) -> TrainResult:
    """Train a bridge and write its run directory.

    Args:
        run_dir: Exists and is empty; only the main process of *world* touches it.
        cache_dir: Where baselines are kept across runs; made when missing.
        run_id: The run's name, for ``summary.log``.
        preset: The preset that the configuration builds on, for ``config.json`` and its notes.
        given: The flat configuration as the person wrote it; None means all of *config*.
        automatic: Keys that were chosen for the person, each with the value and the reason.
        explained: Sentences about the configuration, for the log.
        world: The processes that train this run together, each of which calls this.
    Raises:
        AlreadyExists: *run_dir* holds a run.
        TrainingStopped: A loss is not finite, or the pair cannot be bridged.
        ProcessLost: Another process of *world* ended.
        StorageFailed: A file cannot be written.
    """
    files, at = RunFiles(run_dir, is_writer=world.is_main), _At()
    if world.is_main and (run_dir / "train.log").exists():
        raise AlreadyExists(f"{run_dir.name} holds a run already; train into a new folder")
    with fixed_arithmetic(config.compute.threads), _ending_logged(files, at, world):
        notes = _Notes(preset, given, automatic or {}, explained)
        prepared = _open(config, files, cache_dir, reporter, notes, world)
        run = _Run(prepared.config, files, reporter, prepared, at)
        result = run.to_the_end(run.begun())
        _finish(files, run_id)
    return result


def resume(
    config: TrainConfig,
    run_dir: Path,
    *,
    cache_dir: Path,
    reporter: Reporter,
    run_id: str,
    recorded: Mapping[str, Any],
    world: World = SOLO,
) -> TrainResult:
    """Go on with the run in *run_dir* from its last saved state, as if it had never stopped.

    Every file becomes what it would have been, apart from one line in ``train.log`` and from measured times.
    With another number of processes than before, batches stay the same and sums differ in the last bits.

    Args:
        config: What the run was started with.
        recorded: The content of its ``config.json``.
        world: As in :func:`train`; the main process alone reads the state.
    Raises:
        RunUnreadable: The state is missing or damaged, or models or problems are not those of the run.
        TrainingStopped: As in :func:`train`.
        StorageFailed: A file cannot be written.
    """
    files, at = RunFiles(run_dir, is_writer=world.is_main), _At()
    saved = world.from_main(lambda: read_state(run_dir / STATE))
    if saved.config_digest != configuration.digest(config):
        differing = difference_from(config, saved.config_digest, run_dir)
        raise RunUnreadable(f"{STATE.name} of {run_dir.name} is of another configuration: {differing}")
    if world.is_main:
        files.assert_reaches(saved.sizes)
    with fixed_arithmetic(config.compute.threads):
        prepared = prepare(config, cache_dir=cache_dir, note=reporter.note, world=world)
        assert_as_recorded(recorded, identities(config, prepared), run_dir.name)
        run = _Run(config, files, reporter, prepared, at)
        best = run.taken_up(saved)
        with _ending_logged(files, at, world):
            files.cut_back(saved.sizes, step=saved.step)
            run.announce_resumption(best)
            if (difference := other_arithmetic(recorded, config, prepared)) is not None:
                files.log(difference)
                reporter.note(difference)
            result = run.to_the_end(best)
            _finish(files, run_id)
    return result


def _finish(files: RunFiles, run_id: str) -> None:
    files.summary(run_id=run_id, ended=datetime.now().astimezone())
    if files.is_writer:
        (files.run_dir / STATE).unlink(missing_ok=True)


class _Notes(NamedTuple):
    """Where a configuration comes from."""

    preset: str | None
    given: Mapping[str, object] | None
    automatic: Mapping[str, str]
    explained: Sequence[str]


@dataclass
class _At:
    """Where training is, for the line about its end."""

    step: int = 0


@contextmanager
def _ending_logged(files: RunFiles, at: _At, world: World) -> Iterator[None]:
    """Let an interruption or an error be the log's last line, if the disk still takes one.

    When one process ends, its launcher asks the others to end; that is no interruption. A GPU that waits
    for a process that is gone may also fail in words of its own; those are not the cause.
    """
    try:
        yield
    except (KeyboardInterrupt, RuntimeError) as consequence:
        elsewhere = world.end_elsewhere()
        if isinstance(elsewhere, ProcessLost):
            log_end(files, f"[Crash] {elsewhere}")
            raise elsewhere from consequence
        if isinstance(consequence, RuntimeError):
            log_end(files, f"[Crash] {cause_of(consequence)}")
        else:
            log_end(files, f"[Interrupted] at step {at.step}")
        raise
    except Exception as error:
        log_end(files, f"[Crash] {cause_of(error)}")
        raise


def log_end(files: RunFiles, line: str) -> None:
    """Let *line* be the log's last, if the disk still takes one."""
    with suppress(StorageFailed):
        files.log(line)


def assert_as_recorded(recorded: Mapping[str, Any], now: Mapping[str, Any], name: str) -> None:
    """Do nothing if models and problems *now* are those that ``config.json`` records.

    Raises:
        RunUnreadable: They are not.
    """
    for what, identity in now.items():
        if recorded.get(what) != identity:
            raise RunUnreadable(
                f"the {what} of {name} are not those that it was started with (see config.json); "
                "restore them, or train a new run"
            )


def _open(
    config: TrainConfig,
    files: RunFiles,
    cache_dir: Path,
    reporter: Reporter,
    notes: _Notes,
    world: World,
) -> Prepared:
    """Open the log, prepare the run and write what is known before the first step.

    The log begins with what the run does, so it begins when no number is left to be chosen, or at an error.
    """

    def say(line: str) -> None:
        files.log(line)
        reporter.note(line)

    fitted = None
    try:
        fitted = fit(config, cache_dir=cache_dir, note=say, world=world)
    finally:
        sized = config if fitted is None else fitted.config
        chosen = {**notes.automatic, **({} if fitted is None else fitted.automatic)}
        files.log_config(configuration.effective(sized))
        files.log(f"World size: {world.size}")
        for key, choice in chosen.items():
            say(f"[Config] {key} was chosen automatically: {choice}")
        for sentence in notes.explained:
            say(f"[Config] {sentence}")
    given = configuration.flatten(config) if notes.given is None else notes.given
    prepared = fitted.prepared()
    say(f"[Config] arithmetic: {_promised(sized, arithmetic_of(sized, prepared))}")
    files.config(_config_record(sized, prepared, notes._replace(given=given, automatic=chosen)))
    say(
        f"[Eval Plan] steps: split=dev n={config.eval.dev_items} | "
        f"final: split=test n={config.eval.test_items} | final checkpoint: best"
    )
    return prepared


class _Run:
    """One run between its first and its last line."""

    def __init__(
        self, config: TrainConfig, files: RunFiles, reporter: Reporter, prepared: Prepared, at: _At
    ) -> None:
        self.config, self.files, self.reporter, self.prepared = config, files, reporter, prepared
        self.at, self.window = at, _Window()
        self.digest = configuration.digest(config)
        bridge = new_bridge(config, prepared)
        self.state = prepared.trainer.start(bridge, weight_decay=config.optim.weight_decay)
        self.world = prepared.trainer.world

    def begun(self) -> Best:
        """Measure step 0 and return it, the first candidate."""
        self.reporter.start(self.config.train.steps)
        best = Best(0, self._evaluate_dev(), snapshot(self.state.bridge))
        self._keep_best(best)
        self._save_state(best)
        return best

    def taken_up(self, saved: SavedState) -> Best:
        """Put the run where *saved* was, writing nothing, and return the best candidate so far."""
        restore(self.state, saved)
        self.at.step = saved.step
        self.window.losses.extend(saved.losses)
        return Best(saved.best_step, saved.best_counts, saved.best_weights, saved.best_evals_since)

    def announce_resumption(self, best: Best) -> None:
        """Say where the run goes on, with the best checkpoint of that moment in its place."""
        self.reporter.start(self.config.train.steps)
        self._write_best(best)
        if self.world.is_main:
            (self.files.run_dir / LAST).unlink(missing_ok=True)
        processes = f" with world size {self.world.size}" if self.world.size > 1 else ""
        self._say(f"[Resumed] from step {self.state.step}{processes}")

    def to_the_end(self, best: Best) -> TrainResult:
        """Train, select on dev, measure the selected checkpoint on test."""
        self.window.started = time.perf_counter()
        while self.state.step < self.config.train.steps and not self._stops_early(best):
            self._step(self.window)
            if self._evaluates_now():
                self._consider(best)
                self._save_state(best)
                self.window.started = time.perf_counter()
        stopped_early = self._stops_early(best)
        if stopped_early:
            best_acc = f"Best bridged acc: {best.counts.accuracy_fraction:.3f}"
            self._say(f"[Early Stop] Stopping early at step {self.state.step}. {best_acc}")
        self._keep_last()
        final = self._evaluate_test(best)
        assert_frozen(self.prepared.source)
        assert_frozen(self.prepared.target)
        return TrainResult(
            config_digest=self.digest,
            steps=self.state.step,
            stopped_early=stopped_early,
            best_step=best.step,
            best_dev=best.counts,
            final=final,
            num_parameters=sum(weight.numel() for weight in self.state.bridge.parameters()),
        )

    def _step(self, window: _Window) -> None:
        with enough_memory("training step", doing=f"training step {self.state.step + 1}"):
            report = self.prepared.trainer.advance(self.state)
        self._record(report, window)
        if self._evaluates_now():
            self._record(self.prepared.trainer.settle(self.state), window)

    def _record(self, report: StepReport | None, window: _Window) -> None:
        """Log what a step measured, where it is known."""
        if report is None:
            return
        step, every = report.step, self.config.train.log_every_steps
        self.at.step = step
        window.losses.append(report.loss)
        self.reporter.step(step, report.loss)
        if step % every:
            return
        average = sum(window.losses) / len(window.losses)
        self.files.log(f"Step {step}/{self.config.train.steps} | Loss (avg over last {every}): {average:.4f}")
        seconds = time.perf_counter() - window.started
        self.files.metrics(
            {
                "step": step,
                "loss": report.loss,
                **{
                    f"{name}_nats" if name in _IN_NATS else name: value
                    for name, value in report.terms.items()
                },
                "grad_norm": report.grad_norm,
                "learning_rate": report.learning_rate,
                "rms_ratio": report.rms_ratio,
                "samples_per_second": round(len(window.losses) * self.config.train.batch_size / seconds, 1),
                "peak_memory_bytes": max(self.world.gathered(peak_memory_bytes(self.prepared.target.device))),
            }
        )
        window.losses.clear()
        window.started = time.perf_counter()

    def _evaluates_now(self) -> bool:
        return (
            self.state.step % self.config.train.eval_every_steps == 0
            or self.state.step == self.config.train.steps
        )

    def _stops_early(self, best: Best) -> bool:
        out_of_patience = best.evals_since >= self.config.train.patience_evals
        return out_of_patience and self.state.step < self.config.train.steps

    def _consider(self, best: Best) -> None:
        counts = self._evaluate_dev()
        if counts.correct <= best.counts.correct:
            best.evals_since += 1
            patience = self.config.train.patience_evals
            self._say(f"[Early Stop] No improvement, patience: {best.evals_since}/{patience}")
            return
        best.step, best.counts, best.evals_since = self.state.step, counts, 0
        best.weights = snapshot(self.state.bridge)
        self._say(f"[Early Stop] New best bridged acc: {counts.accuracy_fraction:.3f}, resetting patience")
        self._keep_best(best)

    def _keep_best(self, best: Best) -> None:
        self._write_best(best)
        accuracy = best.counts.accuracy_fraction
        self._say(
            f"[Checkpoint] Saved best (step {best.step}, dev bridged acc {accuracy:.3f}) to {BEST.as_posix()}"
        )

    def _write_best(self, best: Best) -> None:
        if not self.world.is_main:
            return
        path = self.files.run_dir / BEST
        write_checkpoint(path, best.weights, step=best.step, role="best", config_digest=self.digest)

    def _save_state(self, best: Best) -> None:
        if not self.world.is_main:
            return
        saved = saved_state(
            self.state,
            config_digest=self.digest,
            best_step=best.step,
            best_counts=best.counts,
            best_evals_since=best.evals_since,
            best_weights=best.weights,
            losses=tuple(self.window.losses),
            sizes=self.files.flushed(),
        )
        write_state(self.files.run_dir / STATE, saved)

    def _keep_last(self) -> None:
        weights, step = snapshot(self.state.bridge), self.state.step
        if self.world.is_main:
            write_checkpoint(
                self.files.run_dir / LAST, weights, step=step, role="last", config_digest=self.digest
            )
        self._say(f"[Checkpoint] Saved last (step {step}) to {LAST.as_posix()}")

    def _evaluate_dev(self) -> Counts:
        self._assert_one_bridge()
        dev, step = self.prepared.dev, str(self.state.step)
        scored = {**dev.alone, "bridged": self._bridged(dev)}
        self._announce(f"[Eval] Step {step} |", step, dev, scored)
        self._dump(step, dev, scored, checkpoint_step=self.state.step)
        return count(scored["bridged"])

    def _evaluate_test(self, best: Best) -> Mapping[str, Counts]:
        load_into(self.state.bridge, best.weights)
        test = self.prepared.test
        systems = {**test.alone, "bridged": self._bridged(test)}
        shuffled = self._bridged(test, states_from=derangement(len(test.items)))
        controls = {"shuffled_source": shuffled, **self._soft_tokens_read(test), **test.controls}
        self._dump("final", test, {**systems, **controls}, checkpoint_step=best.step)
        self._announce("[Final Eval]", "final", test, systems)
        for control, rows in controls.items():
            self._say(f"[Control] {accuracy_line({control: count(rows).accuracy_fraction})}")
        return {system: count(rows) for system, rows in {**systems, **controls}.items()}

    def _assert_one_bridge(self) -> None:
        """Check that all processes have the same weights, to the last bit.

        Raises:
            ProcessLost: They do not, so gradients were not summed as they should be; says which rank differs.
        """
        digests = self.world.gathered(weights_sha256(self.state.bridge) if self.world.size > 1 else "")
        differing = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if differing:
            raise ProcessLost(
                f"rank {differing[0]}: its bridge differs from that of rank 0 at step {self.state.step}"
            )

    def _announce(self, head: str, step: str, measured: Measured, scored: Mapping[str, list[Scored]]) -> None:
        accuracies = {system: count(rows).accuracy_fraction for system, rows in scored.items()}
        self.files.log(f"{head} {accuracy_line(accuracies)}")
        self.reporter.evaluation(step, measured.split, accuracies)

    def _dump(
        self, step: str, measured: Measured, scored: Mapping[str, list[Scored]], *, checkpoint_step: int
    ) -> None:
        rows = []
        for index in range(len(measured.items)):
            of_item = {system: of_system[index] for system, of_system in scored.items()}
            rows.append(_dump_row(step, index, measured, of_item, checkpoint_step))
        self._say(f"[Eval] Saved sample outputs to {self.files.samples(step, rows)}")

    def _bridged(self, measured: Measured, *, states_from: Sequence[int] | None = None) -> list[Scored]:
        generations = bridged(
            self.config, self.prepared, self.state.bridge, measured.inputs, states_from=states_from
        )
        return score(self.prepared.task, self.prepared.target, measured.items, generations)

    def _soft_tokens_read(self, measured: Measured) -> dict[str, list[Scored]]:
        if configuration.effective(self.config).get("loss.teacher") != "answer":
            return {}
        generations = read_generations(
            self.state.bridge,
            self.prepared.target,
            measured.inputs,
            steps=self.config.sampler.eval_steps,
            batch_size=self.config.eval.rows,
        )
        scored = score(self.prepared.task, self.prepared.target, measured.items, generations)
        return {"soft_tokens_read": scored}

    def _say(self, line: str) -> None:
        self.files.log(line)
        self.reporter.note(line)


def _dump_row(
    step: str, index: int, measured: Measured, scored: Mapping[str, Scored], checkpoint_step: int
) -> dict[str, object]:
    item = measured.items[index]
    row: dict[str, object] = {
        "eval_step": step,
        "index": index,
        "item": item.id,
        "split": measured.split,
        "question": item.question,
        "gold_extracted": item.gold,
    }
    for system, one in scored.items():
        name = system.removesuffix("_alone")
        row[f"{name}_extracted"] = one.extracted
        if one.flexible is not None:
            row[f"{name}_flexible"] = one.flexible
        row[f"{name}_full"] = one.text
        row[f"{name}_finish"] = one.finish
    return {**row, "noise_draw": noise.EVALUATION_DRAW, "checkpoint_step": checkpoint_step}


def _config_record(config: TrainConfig, prepared: Prepared, notes: _Notes) -> dict[str, Any]:
    preset = notes.preset
    of_preset = None if preset is None else configuration.preset_notes(preset).model_dump(mode="json")
    return {
        "format": 1,
        "preset": preset,
        "given": dict(notes.given or {}),
        **({"automatic": dict(notes.automatic)} if notes.automatic else {}),
        "effective": configuration.effective(config),
        "inert": configuration.inert(config),
        "digest": configuration.digest(config),
        **identities(config, prepared),
        "arithmetic": arithmetic_of(config, prepared).model_dump(mode="json"),
        "notes": of_preset,
    }


def arithmetic_of(config: TrainConfig, prepared: Prepared) -> Arithmetic:
    """Return how this process computes the run."""
    compute = config.compute
    return operations.arithmetic(
        compute.arithmetic, device=prepared.target.device.type, threads=compute.threads
    )


def _promised(config: TrainConfig, arithmetic: Arithmetic) -> str:
    pair = {config.pair.source, config.pair.target}
    return promise(arithmetic, is_embedded_pair=pair <= set(EMBEDDED) and config.pair.dtype == "fp32")


def other_arithmetic(recorded: Mapping[str, Any], config: TrainConfig, prepared: Prepared) -> str | None:
    """Return a line about what this machine computes otherwise than the run of *recorded*, if anything.

    Runs that are older than the record say nothing of it, and nothing is compared.
    """
    known, here = recorded.get("arithmetic"), arithmetic_of(config, prepared)
    if known is None or known == here.model_dump(mode="json"):
        return None
    before = Arithmetic.from_mapping(known, origin="config.json: arithmetic")
    return (
        f"[Config] arithmetic: the run began with {_promised(config, before)}; here {_promised(config, here)}"
    )


def identities(config: TrainConfig, prepared: Prepared) -> dict[str, Any]:
    """Return which models and which problems the run is about."""
    models = {"source": prepared.source, "target": prepared.target}
    return {
        "models": {role: _identity(one) for role, one in models.items()},
        "data": {"name": prepared.task.name, "seed": config.task.seed, "fingerprint": prepared.fingerprint},
    }


def _identity(model: FrozenModel) -> dict[str, str | None]:
    if model.revision is not None:
        return {"name": model.name, "revision": model.revision}
    return {"name": model.name, "sha256": model.sha256}


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory that this process ever held: of its GPU, or resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def fixed_arithmetic(threads: int) -> Iterator[None]:
    """Fix what the last bit of a sum depends on, and restore the caller's settings afterwards."""
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    if torch.cuda.is_available():  # cuBLAS refuses to be deterministic without it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    filled_before = _DETERMINISTIC.fill_uninitialized_memory
    _DETERMINISTIC.fill_uninitialized_memory = False  # nothing is read before it is written
    try:
        yield
    finally:
        _DETERMINISTIC.fill_uninitialized_memory = filled_before
        torch.use_deterministic_algorithms(deterministic_before)
        torch.set_num_threads(threads_before)
