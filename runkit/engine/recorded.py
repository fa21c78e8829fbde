"""The configuration that a run directory records, read back; importing this module does not load torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from runkit.engine import config as configuration
from runkit.engine.config import TrainConfig
from runkit.errors import RunkitError, RunUnreadable, UsageError
from runkit.records.schema import IMPLIED

CONFIG_FILE = "config.json"


class RecordedConfig(NamedTuple):
    """What ``config.json`` of a run says."""

    config: TrainConfig
    content: Mapping[str, Any]
    """The whole document."""


def read_recorded(run_dir: Path) -> RecordedConfig:
    """Return the configuration of the run in *run_dir*.

    Raises:
        RunUnreadable: The run has none, it is damaged, or this version would run something else under it.
    """
    name = f"{CONFIG_FILE} of {run_dir.name}"
    try:
        content = json.loads((run_dir / CONFIG_FILE).read_bytes())
        flat = {**IMPLIED, **content["given"], **content["effective"]}
        config = configuration.with_overrides(
            TrainConfig(), [f"{key}={json.dumps(value)}" for key, value in flat.items()]
        )
    except OSError as error:
        raise RunUnreadable(f"{name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunUnreadable(f"{name} is not a configuration that runkit train wrote: {error}") from error
    except RunkitError as error:
        raise RunUnreadable(f"{name} does not fit this version of runkit: {error}") from error
    if configuration.digest(config) != content.get("digest"):
        raise RunUnreadable(
            f"{name} means something else in this version of runkit; use the version that trained the run"
        )
    return RecordedConfig(config, content)


def with_what_was_chosen(asked: TrainConfig, recorded: RecordedConfig) -> TrainConfig:
    """Return *asked* with the run's batch of evaluations where both leave it to be chosen: it was, once."""
    was_chosen = configuration.EVALUATION_ROWS in recorded.content.get("automatic", {})
    if asked.eval.batch_size != configuration.AUTO or not was_chosen:
        return asked
    return configuration.with_evaluation_rows(asked, recorded.config.eval.rows)


def difference_from(config: TrainConfig, digest: str, run_dir: Path) -> str:
    """Return in which keys the configuration of *digest*, which a file in *run_dir* names, is not *config*.

    A checkpoint holds no more of its configuration than the digest, so the run that it belongs to is looked
    for beside *run_dir*.
    """
    for path in sorted(run_dir.parent.glob(f"*/{CONFIG_FILE}")):
        try:
            content = json.loads(path.read_bytes())
            if content["digest"] == digest:
                owner = f"in {path.parent.name!r}, to which it belongs"
                differing = _differing(
                    configuration.effective(config), content["effective"], "in this run", owner
                )
                return ", ".join(differing)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    ours = configuration.digest(config)
    return f"its digest is {digest[:12]}…, this run's is {ours[:12]}…, and no run beside it has the first"


def _differing(ours: Mapping[str, object], theirs: Mapping[str, object], here: str, there: str) -> list[str]:
    return [
        f"{key} ({ours.get(key, 'not set')!r} {here}, {theirs.get(key, 'not set')!r} {there})"
        for key in {**ours, **theirs}
        if ours.get(key) != theirs.get(key)
    ]


def assert_same(recorded: TrainConfig, asked: TrainConfig, *, run_id: str) -> None:
    """Do nothing if both configurations have the same effect.

    Raises:
        UsageError: They differ; names each key with both values.
    """
    ours, theirs = configuration.effective(recorded), configuration.effective(asked)
    differing = _differing(ours, theirs, "in the run", "asked for")
    if differing:
        raise UsageError(
            f"run {run_id!r} was started with another configuration: {', '.join(differing)}; "
            "resume it as it was, or train a new run"
        )
