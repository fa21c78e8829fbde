"""Reader for run directories of any program: what the sources know of the files that lie there."""

from __future__ import annotations

from pathlib import Path

from runkit import __version__
from runkit.errors import RunUnreadable
from runkit.ingest.combine import combined
from runkit.ingest.foreign import configuration_of, of_format_2
from runkit.ingest.ingested import IngestedRun
from runkit.ingest.source import FoundFacts, read_with
from runkit.ingest.sources import all_sources
from runkit.records.capture import CAPTURE_FILE
from runkit.records.manifest import (
    Code,
    Command,
    DataReference,
    Evidence,
    Hardware,
    Notes,
    Provenance,
    RunFacts,
    Software,
    StatusFact,
    Training,
)

NAME = "files"
_NOT_RECORDED = "the run directory does not record it"


class _FilesReader:
    name = NAME
    looks_for = "files that a source knows, such as results.json, metrics.jsonl or predictions.csv"

    def can_read(self, root: Path) -> bool:
        if (root / CAPTURE_FILE).is_file():
            return False
        return any(source.recognises(root) for source in all_sources())

    def read(self, root: Path, *, run_id: str, directory_name: str) -> IngestedRun:
        """Return the facts of the run in *root*.

        Raises:
            RunUnreadable: No source knows any of its files.
        """
        found = read_with(all_sources(), root)
        if not found:
            raise RunUnreadable(f"{directory_name} holds no file that a source knows")
        together = combined(found)
        nowhere = Evidence(path=".", line=None, what="no configuration was found")
        inert = {key: why for one in found for key, why in one.inert.items()}
        configuration = configuration_of(together.parameters, together.parameters_at or nowhere, inert=inert)
        facts = RunFacts(
            run_id=run_id,
            provenance=Provenance(
                reader=NAME,
                runkit_version=__version__,
                logged_run_directory=None,
                log_path=None,
                num_log_lines=0,
                num_log_lines_understood=0,
                sources=together.sources,
            ),
            started=next((one.started for one in found if one.started is not None), None),
            ended=None,
            duration_seconds=next(
                (one.duration_seconds for one in found if one.duration_seconds is not None), None
            ),
            status=next((one.status for one in found if one.status is not None), _unknown_status()),
            command=next((one.command for one in found if one.command is not None), _unknown_command()),
            hardware=next((one.hardware for one in found if one.hardware is not None), _unknown_hardware()),
            software=next((one.software for one in found if one.software is not None), _unknown_software()),
            configuration=configuration,
            models=tuple(model for one in found for model in one.models),
            data=_data(found),
            training=Training(
                planned_steps=None,
                last_step=max((one.last_step for one in found if one.last_step is not None), default=None),
                evidence=None,
                loss_steps=(),
                loss_values=(),
            ),
            missing_artifacts=tuple(missing for one in found for missing in one.missing),
        )
        facts = of_format_2(facts, together)
        return IngestedRun(facts=facts, outcomes={}, notes=Notes(), declared_factors=(), items=together.items)


READER = _FilesReader()


def _data(found: list[FoundFacts]) -> DataReference:
    return next(
        (one.data for one in found if one.data is not None), DataReference(name="unknown", fingerprint=None)
    )


def _unknown_status() -> StatusFact:
    return StatusFact(value="unknown", reason="no file says how the program ended", evidence=None)


def _unknown_command() -> Command:
    return Command(argv=None, launcher=None, world_size=None, environment={}, missing_because=_NOT_RECORDED)


def _unknown_hardware() -> Hardware:
    return Hardware(gpus=(), cpu_model=None, num_cpus=None, memory_bytes=None, evidence=None)


def _unknown_software() -> Software:
    code = Code(git_commit=None, is_dirty=None, missing_because=_NOT_RECORDED)
    return Software(python_version=None, packages={}, code=code)
