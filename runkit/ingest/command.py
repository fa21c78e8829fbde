"""Reader for runs of ``runkit run -- COMMAND``: ``run.json`` beside a log, and dumps if there are any."""

from __future__ import annotations

import shlex
from pathlib import Path

from runkit import __version__
from runkit.errors import RunUnreadable
from runkit.ingest.combine import Combined, combined
from runkit.ingest.derive import derived_metrics
from runkit.ingest.effective import effective_settings, scalar
from runkit.ingest.folder import LOG_NAME, RunFolder
from runkit.ingest.foreign import configuration_of, of_format_2, settings_of_command
from runkit.ingest.ingested import IngestedRun
from runkit.ingest.own import capture_in, duration_seconds, is_of_command, last_beat, moment
from runkit.ingest.reading import (
    EvaluationPlan,
    Measurements,
    read_measurements,
    read_no_samples,
    read_training,
)
from runkit.ingest.source import read_with
from runkit.ingest.sources import all_sources
from runkit.ingest.trainlog import TrainLog
from runkit.records.capture import ASKED_TO_STOP, CAPTURE_FILE, RunCapture
from runkit.records.manifest import (
    Configuration,
    DataReference,
    Evidence,
    Notes,
    Provenance,
    RunFacts,
    StatusFact,
)
from runkit.records.record import Scalar, canonical_digest

NAME = "command"
_MAY_ASK = frozenset({"SIGUSR1", "SIGUSR2"})
"""Signals that Slurm is told to send before the time is up; a program that does not know them ends."""


class _CommandReader:
    name = NAME
    looks_for = f"a {CAPTURE_FILE} of `runkit run` beside a {LOG_NAME}"

    def can_read(self, root: Path) -> bool:
        return is_of_command(root)

    def read(self, root: Path, *, run_id: str, directory_name: str) -> IngestedRun:
        """Return the facts of the run in *root*.

        Raises:
            RunUnreadable: There is no log.
            RecordInvalid: ``run.json`` is not a valid capture.
        """
        if not (root / CAPTURE_FILE).is_file():
            raise RunUnreadable(
                f"{directory_name} has no {CAPTURE_FILE} of `runkit run`; leave out --reader command"
            )
        if not (root / LOG_NAME).is_file():
            raise RunUnreadable(
                f"{directory_name} has a {CAPTURE_FILE} and no {LOG_NAME}; the program never started"
            )
        folder = RunFolder(root, root)
        capture = capture_in(root, directory_name)
        log = folder.read_log()
        plan = EvaluationPlan(None, "unknown", "unknown")
        measurements = read_measurements(folder, log, lambda _label: plan)
        status = _status(folder, capture, log, measurements)
        facts = RunFacts(
            run_id=run_id,
            provenance=Provenance(
                reader=NAME,
                runkit_version=__version__,
                logged_run_directory=capture.run_id,
                log_path=folder.log_path,
                num_log_lines=log.num_lines,
                num_log_lines_understood=log.num_lines_understood,
                log_starts=log.start_lines,
            ),
            started=moment(capture.started_at, "start"),
            ended=moment(capture.ended_at, "end"),
            duration_seconds=duration_seconds(capture),
            status=status,
            command=capture.command,
            hardware=capture.hardware,
            software=capture.software,
            configuration=_configuration(capture, log),
            models=(),
            data=DataReference(name=log.settings.get("dataset", "unknown"), fingerprint=None),
            training=read_training(log, folder.log_path, planned_steps=None),
            evaluations=measurements.evaluations,
            metrics=derived_metrics(measurements.evaluations, had_samples=status.value != "no_eval_samples"),
            missing_artifacts=(),
        )
        if measurements.evaluations:
            return IngestedRun(
                facts=facts, outcomes=measurements.outcomes, notes=Notes(), declared_factors=()
            )
        found = read_with(all_sources(), root)
        together = combined(found)
        configuration = _foreign_configuration(facts.configuration, capture, log, together)
        facts = of_format_2(facts, together).model_copy(
            update={
                "configuration": configuration,
                "provenance": facts.provenance.model_copy(update={"sources": together.sources}),
                "models": tuple(model for one in found for model in one.models),
            }
        )
        return IngestedRun(facts=facts, outcomes={}, notes=Notes(), declared_factors=(), items=together.items)


READER = _CommandReader()


def _configuration(capture: RunCapture, log: TrainLog) -> Configuration:
    """Return the settings that the log prints, or else the command; code is compared as code."""
    if log.settings_line is not None:
        settings = effective_settings(log.settings, world_size=capture.command.world_size)
        return Configuration(
            logged=log.settings,
            effective=settings.effective,
            effective_digest=canonical_digest(settings.effective),
            inert=settings.inert,
            evidence=Evidence(path=LOG_NAME, line=log.settings_line, what="head of the configuration block"),
        )
    command = shlex.join(capture.command.argv or ())
    effective: dict[str, Scalar] = {"command": command}
    for number, later in enumerate(capture.resumptions, start=2):
        if (again := shlex.join(later.command.argv or ())) != command:
            effective[f"start {number}: command"] = again
        if later.software.code.git_commit != capture.software.code.git_commit:
            effective[f"start {number}: commit"] = later.software.code.git_commit
    return Configuration(
        logged={"command": command},
        effective=effective,
        effective_digest=canonical_digest(effective),
        inert={},
        evidence=Evidence(path=CAPTURE_FILE, line=None, what="the command"),
    )


def _foreign_configuration(
    of_command: Configuration, capture: RunCapture, log: TrainLog, found: Combined
) -> Configuration:
    """Return the program's own configuration, or else what its log prints, or else its options."""
    if found.parameters_at is not None:
        return configuration_of(found.parameters, found.parameters_at)
    if log.settings_line is not None:
        return of_command
    options = {key: _number(value) for key, value in settings_of_command(capture.command.argv or ()).items()}
    later = {key: value for key, value in of_command.effective.items() if key != "command"}
    return configuration_of({**options, **later}, of_command.evidence)


def _number(value: Scalar) -> Scalar:
    return scalar(value) if isinstance(value, str) else value


def _status(folder: RunFolder, capture: RunCapture, log: TrainLog, measurements: Measurements) -> StatusFact:
    """Return how the program ended, by what its parent saw and not by what it said itself."""
    end = capture.end
    at_end = Evidence(path=CAPTURE_FILE, line=None, what="how the process ended")
    last_line = Evidence(path=LOG_NAME, line=max(log.num_lines, 1), what="end of the log")
    more = _of_starts_and_losses(capture)
    if end is None:
        return StatusFact(
            value="truncated",
            reason=f"nobody saw how the program ended{last_beat(folder.root)}{more}",
            evidence=last_line,
        )
    reason = f"{capture.ending}{more}"
    if end.signal in ASKED_TO_STOP | _MAY_ASK or (end.asked and end.never_started is None):
        return StatusFact(value="truncated", reason=reason, evidence=at_end)
    if end.signal is not None:
        return StatusFact(value="crashed", reason=reason, evidence=at_end)
    if end.exit_code:
        evidence = at_end
        if log.crash_line is not None:
            evidence = Evidence(path=LOG_NAME, line=log.crash_line, what="first line of the error")
        return StatusFact(value="crashed", reason=reason, evidence=evidence)
    without_samples = read_no_samples(log, LOG_NAME, measurements)
    if without_samples is not None:
        return without_samples
    return StatusFact(value="completed", reason=reason, evidence=at_end)


def _of_starts_and_losses(capture: RunCapture) -> str:
    """Return what else is to be known of the end: how often the run was started, and output that is lost."""
    num_starts = 1 + len(capture.resumptions)
    starts = f"; this was start {num_starts} of the run" if num_starts > 1 else ""
    num_lost = sum(lost.num_bytes for lost in capture.lost_output)
    return starts + (f"; {num_lost} bytes of its output were lost" if num_lost else "")
