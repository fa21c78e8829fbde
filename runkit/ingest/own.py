"""Reader for runs of ``runkit train``: ``config.json`` and ``run.json`` beside the log and the dumps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runkit import __version__
from runkit.errors import RecordInvalid, RunUnreadable
from runkit.ingest.derive import derived_metrics
from runkit.ingest.folder import LOG_NAME, RunFolder, log_folders, open_run_folder
from runkit.ingest.ingested import IngestedRun
from runkit.ingest.reading import (
    EvaluationPlan,
    read_measurements,
    read_missing,
    read_status,
    read_training,
)
from runkit.records.capture import CAPTURE_FILE, HEARTBEAT_FILE, Heartbeat, RunCapture
from runkit.records.manifest import (
    Arithmetic,
    Code,
    Command,
    Configuration,
    DataReference,
    Evidence,
    Hardware,
    ModelReference,
    Moment,
    Notes,
    Provenance,
    RunFacts,
    Software,
)

NAME = "runkit"
CONFIG_FILE = "config.json"
_NO_CAPTURE = f"the run directory has no {CAPTURE_FILE}"


class _OwnReader:
    name = NAME
    looks_for = f"{CONFIG_FILE} beside a {LOG_NAME}"

    def can_read(self, root: Path) -> bool:
        return _is_engines(root / CONFIG_FILE) and bool(log_folders(root))

    def read(self, root: Path, *, run_id: str, directory_name: str) -> IngestedRun:
        """Return the facts of the run in *root*.

        Raises:
            RunUnreadable: ``config.json`` is torn or lacks a key.
            RecordInvalid: ``run.json`` is not a valid capture.
        """
        return _read(open_run_folder(root), run_id=run_id, directory_name=directory_name)


def _is_engines(path: Path) -> bool:
    """Return whether the configuration at *path* is one that the engine wrote, or too torn to tell."""
    if not path.is_file() or is_of_command(path.parent):
        return False
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(found, dict) and not found.keys().isdisjoint({"effective", "digest", "given"})


def is_of_command(root: Path) -> bool:
    """Return whether the capture in *root* is of a program under ``runkit run``."""
    try:
        found = json.loads((root / CAPTURE_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("captured") == "command"


READER = _OwnReader()


def _read(folder: RunFolder, *, run_id: str, directory_name: str) -> IngestedRun:
    config = _config(folder, directory_name)
    log = folder.read_log()
    capture = _capture(folder, directory_name)
    effective = config["effective"]
    step_plan = EvaluationPlan(effective.get("eval.dev_items"), "dev", "live")
    final_plan = EvaluationPlan(effective.get("eval.test_items"), "test", "best")
    measurements = read_measurements(folder, log, lambda label: final_plan if label == "final" else step_plan)
    notes = config.get("notes") or {}
    status = read_status(log, folder.log_path, measurements)
    if status.value == "truncated":
        status = status.model_copy(update={"reason": f"{status.reason}{last_beat(folder.root)}"})
    facts = RunFacts(
        run_id=run_id,
        provenance=Provenance(
            reader=NAME,
            runkit_version=__version__,
            logged_run_directory=capture.run_id if capture else directory_name,
            log_path=folder.log_path,
            num_log_lines=log.num_lines,
            num_log_lines_understood=log.num_lines_understood,
            log_starts=log.start_lines,
        ),
        started=moment(capture.started_at if capture else None, "start"),
        ended=moment(capture.ended_at if capture else None, "end"),
        duration_seconds=duration_seconds(capture),
        status=status,
        command=capture.command if capture else _unknown_command(),
        hardware=capture.hardware if capture else _unknown_hardware(),
        software=capture.software if capture else _unknown_software(),
        configuration=_configuration(config),
        models=_models(config),
        data=DataReference(name=config["data"]["name"], fingerprint=config["data"].get("fingerprint")),
        training=read_training(log, folder.log_path, planned_steps=effective.get("train.steps")),
        evaluations=measurements.evaluations,
        metrics=derived_metrics(measurements.evaluations, had_samples=status.value != "no_eval_samples"),
        missing_artifacts=read_missing(folder, log, has_final="final" in measurements.outcomes),
        arithmetic=_arithmetic(config, directory_name),
    )
    return IngestedRun(
        facts=facts,
        outcomes=measurements.outcomes,
        notes=Notes(title=notes.get("title"), why=notes.get("why")),
        declared_factors=tuple((notes.get("ablates") or {}).get("factors", ())),
    )


def _config(folder: RunFolder, directory_name: str) -> dict[str, Any]:
    path = folder.root / CONFIG_FILE
    try:
        config = json.loads(folder.read_text(path))
        missing = [
            key for key in ("given", "effective", "inert", "digest", "models", "data") if key not in config
        ]
    except (ValueError, TypeError) as error:
        raise RunUnreadable(
            f"{CONFIG_FILE} of {directory_name} is not JSON: {error}; "
            "the run may have been killed at its start"
        ) from error
    if missing:
        raise RunUnreadable(
            f"{CONFIG_FILE} of {directory_name} lacks {', '.join(missing)}; runkit train did not write it"
        )
    return dict(config)


def _capture(folder: RunFolder, directory_name: str) -> RunCapture | None:
    return capture_in(folder.root, directory_name) if (folder.root / CAPTURE_FILE).is_file() else None


def last_beat(root: Path) -> str:
    """Return what the heartbeat that a killed run left behind says; empty when there is none to read."""
    try:
        beat = Heartbeat.parse((root / HEARTBEAT_FILE).read_bytes(), origin=HEARTBEAT_FILE)
    except (OSError, RecordInvalid):
        return ""
    return f"; its last sign of life is of {beat.at}"


def capture_in(root: Path, directory_name: str) -> RunCapture:
    """Return the capture in *root*.

    Raises:
        RunUnreadable: The file cannot be read.
        RecordInvalid: It is not a valid capture.
    """
    try:
        text = (root / CAPTURE_FILE).read_bytes()
    except OSError as error:
        raise RunUnreadable(f"{CAPTURE_FILE} of {directory_name} cannot be read: {error.strerror}") from error
    return RunCapture.parse(text, origin=f"{CAPTURE_FILE} of {directory_name}")


def _configuration(config: Mapping[str, Any]) -> Configuration:
    return Configuration(
        logged={key: json.dumps(value) for key, value in config["given"].items()},
        effective=config["effective"],
        effective_digest=config["digest"],
        inert=config["inert"],
        automatic=config.get("automatic", {}),
        evidence=Evidence(
            path=CONFIG_FILE, line=None, what="configuration as resolved before the first step"
        ),
    )


def _arithmetic(config: Mapping[str, Any], directory_name: str) -> Arithmetic | None:
    recorded = config.get("arithmetic")
    if recorded is None:
        return None
    return Arithmetic.from_mapping(recorded, origin=f"{CONFIG_FILE} of {directory_name}: arithmetic")


def _models(config: Mapping[str, Any]) -> tuple[ModelReference, ...]:
    return tuple(
        ModelReference.model_validate(
            {
                "role": role,
                "name": model["name"],
                "revision": model.get("revision"),
                "sha256": model.get("sha256"),
            }
        )
        for role, model in config["models"].items()
    )


def moment(at: str | None, what: str) -> Moment | None:
    """Return the time that the capture gives, with the capture as its evidence."""
    if at is None:
        return None
    return Moment(at=at, zone=None, evidence=Evidence(path=CAPTURE_FILE, line=None, what=what))


def duration_seconds(capture: RunCapture | None) -> float | None:
    """Return the time that the run's processes took, without pauses; None when one of them was killed."""
    if capture is None or capture.ended_at is None:
        return None
    starts = [capture.started_at, *(one.resumed_at for one in capture.resumptions)]
    ends = [*(one.stopped_at for one in capture.resumptions), capture.ended_at]
    seconds = [_seconds(start, end) for start, end in zip(starts, ends, strict=True)]
    known = [one for one in seconds if one is not None]
    return sum(known) if len(known) == len(seconds) else None


def _seconds(start: str, end: str | None) -> float | None:
    if end is None:
        return None
    return max((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 0.0)


def _unknown_command() -> Command:
    return Command(argv=None, launcher=None, world_size=None, environment={}, missing_because=_NO_CAPTURE)


def _unknown_hardware() -> Hardware:
    return Hardware(gpus=(), cpu_model=None, num_cpus=None, memory_bytes=None, evidence=None)


def _unknown_software() -> Software:
    code = Code(git_commit=None, is_dirty=None, missing_because=_NO_CAPTURE)
    return Software(python_version=None, packages={}, code=code)
