"""The configuration that a run directory records, read back; importing this module does not load torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from runkit.engine import config as configuration
from runkit.engine.config import TrainConfig
from runkit.errors import RunkitError, RunUnreadable, UsageError

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
        flat = {**content["given"], **content["effective"]}
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


def assert_same(recorded: TrainConfig, asked: TrainConfig, *, run_id: str) -> None:
    """Do nothing if both configurations have the same effect.

    Raises:
        UsageError: They differ; names each key with both values.
    """
    ours, theirs = configuration.effective(recorded), configuration.effective(asked)
    differing = [
        f"{key} ({ours.get(key, 'inert')!r} in the run, {theirs.get(key, 'inert')!r} asked for)"
        for key in {**ours, **theirs}
        if ours.get(key) != theirs.get(key)
    ]
    if differing:
        raise UsageError(
            f"run {run_id!r} was started with another configuration: {', '.join(differing)}; "
            "resume it as it was, or train a new run"
        )
