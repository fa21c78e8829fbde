"""Reader for bridge runs off the cluster: one ``train.log``, dumps beside it, ``summary.log`` or none.

Source, target, mode and data come from the configuration block, never from a directory's name. The
items of these runs are the first of GSM8K's test split; the script had no other.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from pathlib import Path, PurePosixPath

from runkit import __version__
from runkit.errors import RunUnreadable
from runkit.ingest.derive import derived_metrics
from runkit.ingest.effective import EffectiveSettings, effective_settings, scalar
from runkit.ingest.folder import LOG_NAME, RunFolder, log_folders, open_run_folder
from runkit.ingest.ingested import IngestedRun
from runkit.ingest.own import CONFIG_FILE
from runkit.ingest.reading import (
    EvaluationPlan,
    read_measurements,
    read_missing,
    read_status,
    read_training,
)
from runkit.ingest.summary import read_end_time
from runkit.ingest.trainlog import TrainLog
from runkit.records.capture import CAPTURE_FILE
from runkit.records.manifest import (
    Code,
    Command,
    Configuration,
    DataReference,
    Evidence,
    Gpu,
    Hardware,
    MissingArtifact,
    ModelReference,
    Moment,
    Notes,
    Provenance,
    RunFacts,
    Software,
)
from runkit.records.record import canonical_digest

NAME = "bridge-cluster"
_NOT_RECORDED = "the run directory does not record it"
_TIME_STAMP = re.compile(r"(?P<date>20\d{6})_(?P<time>\d{6})(?!\d)")


_BLOCK = "==== Config ===="


class _ClusterReader:
    name = NAME
    looks_for = f"a {LOG_NAME} with a {_BLOCK!r} block, in the directory or one folder below"

    def can_read(self, root: Path) -> bool:
        if (root / CONFIG_FILE).is_file() or (root / CAPTURE_FILE).is_file():
            return False
        return any(RunFolder(root, folder).log_holds(_BLOCK) for folder in log_folders(root))

    def read(self, root: Path, *, run_id: str, directory_name: str) -> IngestedRun:
        """Return the facts of the run in *root*.

        Args:
            directory_name: Name of the original directory, which has the start time in it.
        Raises:
            RunUnreadable: The log has no configuration block, or there is more than one log.
        """
        return _read(open_run_folder(root), run_id=run_id, directory_name=directory_name)


READER = _ClusterReader()


def _read(folder: RunFolder, *, run_id: str, directory_name: str) -> IngestedRun:
    log = folder.read_log()
    if log.settings_line is None:
        raise RunUnreadable(
            f"{folder.log_path} has no {_BLOCK!r} block; it is not the log of a bridge run, or torn"
        )
    settings = effective_settings(log.settings, world_size=log.world_size)
    planned = EvaluationPlan(_count(log, "eval_samples"), "test", "live")
    final = EvaluationPlan(planned.num_items, "test", "unknown")
    measurements = read_measurements(folder, log, lambda label: final if label == "final" else planned)
    started, ended = _started(directory_name) or _started_by_log(folder, log), _ended(folder)
    status = read_status(log, folder.log_path, measurements)
    facts = RunFacts(
        run_id=run_id,
        provenance=Provenance(
            reader=NAME,
            runkit_version=__version__,
            logged_run_directory=log.settings.get("log_dir"),
            log_path=folder.log_path,
            num_log_lines=log.num_lines,
            num_log_lines_understood=log.num_lines_understood,
            log_starts=log.start_lines,
        ),
        started=started,
        ended=ended,
        duration_seconds=_duration_seconds(started, ended),
        status=status,
        command=Command(
            argv=None,
            launcher=None,
            world_size=log.world_size,
            environment={},
            missing_because=_NOT_RECORDED,
        ),
        hardware=_hardware(log, folder.log_path),
        software=Software(
            python_version=None,
            packages={},
            code=Code(git_commit=None, is_dirty=None, missing_because=_NOT_RECORDED),
        ),
        configuration=_configuration(log, settings, folder.log_path),
        models=_models(log),
        data=DataReference(name=log.settings.get("dataset", "unknown"), fingerprint=None),
        training=read_training(log, folder.log_path, planned_steps=_count(log, "train_steps")),
        evaluations=measurements.evaluations,
        metrics=derived_metrics(measurements.evaluations, had_samples=status.value != "no_eval_samples"),
        missing_artifacts=_missing(folder, log, has_final="final" in measurements.outcomes),
    )
    return IngestedRun(
        facts=facts,
        outcomes=measurements.outcomes,
        notes=Notes(),
        declared_factors=(),
    )


def _count(log: TrainLog, key: str) -> int | None:
    value = scalar(log.settings.get(key, ""))
    return value if type(value) is int and value >= 0 else None


def _configuration(log: TrainLog, settings: EffectiveSettings, log_path: str) -> Configuration:
    return Configuration(
        logged=log.settings,
        effective=settings.effective,
        effective_digest=canonical_digest(settings.effective),
        inert=settings.inert,
        evidence=Evidence(path=log_path, line=log.settings_line, what="head of the configuration block"),
    )


def _missing(folder: RunFolder, log: TrainLog, *, has_final: bool) -> tuple[MissingArtifact, ...]:
    """Return what :func:`read_missing` finds, and the checkpoint that the configuration promises."""
    missing = read_missing(folder, log, has_final=has_final)
    name = PurePosixPath(log.settings.get("save_path", "")).name
    if (
        not name
        or (folder.log_folder / name).is_file()
        or any(found.role == "checkpoint" for found in missing)
    ):
        return missing
    promised = MissingArtifact(
        path=folder.inside(folder.log_folder / name),
        role="checkpoint",
        evidence=Evidence(
            path=folder.log_path, line=log.settings_line, what="head of the configuration block"
        ),
        reason="the configuration names it as the place to save to",
    )
    return (*missing, promised)


def _hardware(log: TrainLog, log_path: str) -> Hardware:
    kinds = Counter(log.gpus.values())
    return Hardware(
        gpus=tuple(Gpu(name=name, count=count, memory_bytes=None) for name, count in sorted(kinds.items())),
        cpu_model=None,
        num_cpus=None,
        memory_bytes=None,
        evidence=Evidence(path=log_path, line=log.gpu_line, what="first line that names a GPU")
        if log.gpu_line
        else None,
    )


def _models(log: TrainLog) -> tuple[ModelReference, ...]:
    return tuple(
        ModelReference.model_validate(
            {"role": role, "name": log.settings[f"{role}_model"], "revision": None, "sha256": None}
        )
        for role in ("source", "target")
        if f"{role}_model" in log.settings
    )


def _started(directory_name: str) -> Moment | None:
    found = _TIME_STAMP.search(directory_name)
    if found is None:
        return None
    try:
        moment = datetime.strptime(found["date"] + found["time"], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    evidence = Evidence(path=".", line=None, what="time stamp in the directory's name")
    return Moment(at=moment.isoformat(), zone=None, evidence=evidence)


def _started_by_log(folder: RunFolder, log: TrainLog) -> Moment | None:
    """Return the start that the logged directory has in its name, when the preserved one lost it."""
    moment = _started(log.settings.get("log_dir", ""))
    if moment is None:
        return None
    line = log.setting_lines["log_dir"]
    what = "time stamp in the directory that the log names"
    return moment.model_copy(update={"evidence": Evidence(path=folder.log_path, line=line, what=what)})


def _ended(folder: RunFolder) -> Moment | None:
    for path in (folder.root / "summary.log", folder.log_folder / "summary.log"):
        if path.is_file() and (end := read_end_time(folder.read_text(path))):
            evidence = Evidence(path=folder.inside(path), line=end.line, what="end time")
            return Moment(at=end.at, zone=end.zone, evidence=evidence)
    return None


def _duration_seconds(started: Moment | None, ended: Moment | None) -> float | None:
    """Return the seconds between two moments of one clock, or None when they cannot be compared."""
    if started is None or ended is None:
        return None
    start, end = datetime.fromisoformat(started.at), datetime.fromisoformat(ended.at)
    if (start.tzinfo is None) != (end.tzinfo is None) or end < start:
        return None
    return (end - start).total_seconds()
