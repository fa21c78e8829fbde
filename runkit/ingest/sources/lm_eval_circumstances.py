"""Around the numbers of lm-evaluation-harness: how its calls ended, when, on what machine and model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from runkit.ingest.dumps import storable
from runkit.ingest.source import FoundFacts
from runkit.ingest.sources.lm_eval_files import Call, mapping
from runkit.ingest.sources.lm_eval_rows import number
from runkit.ingest.sources.lm_eval_settings import arguments
from runkit.records.manifest import (
    Code,
    DataReference,
    Evidence,
    Gpu,
    Hardware,
    MissingArtifact,
    ModelReference,
    Moment,
    Software,
    StatusFact,
)
from runkit.secrets.text import without_secrets

_PYTHON = re.compile(r"^Python version: (\d+\.\d+\.\d+)", re.MULTILINE)
_GPU = re.compile(r"^(?:GPU models and configuration: )?GPU \d+: (?P<name>\S.*?)\s*$", re.MULTILINE)


def take_circumstances(found: FoundFacts, calls: Sequence[Call]) -> None:
    """Add how the calls ended, when and on what they ran, what they evaluated, and what should be there."""
    found.status = _status(calls)
    found.started = next((at for call in calls if (at := _started(call)) is not None), None)
    seconds = [_seconds(call.document.get("total_evaluation_time_seconds")) for call in calls]
    found.duration_seconds = math.fsum(one or 0.0 for one in seconds) if None not in seconds else None
    found.hardware = _hardware(calls[-1])
    found.software = _software(calls[-1])
    found.models += _models(calls[-1])
    found.data = _data(calls)
    found.missing += [one for call in calls for one in _missing(call)]
    versions = sorted({str(call.document.get("lm_eval_version")) for call in calls if call.results})
    if len(versions) > 1:
        text = f"the calls were made with different versions of the harness: {', '.join(versions)}"
        found.say("conflict", storable(text), path=".")


def _status(calls: Sequence[Call]) -> StatusFact:
    torn = next((call for call in calls if call.results is None), None)
    if torn is not None:
        path = next(iter(torn.samples.values())).path
        evidence = Evidence(path=path, line=None, what="samples without a results file")
        reason = "there are samples and no results file, which the harness writes at its end"
        return StatusFact(value="truncated", reason=reason, evidence=evidence)
    path = calls[0].results.path if calls[0].results else "."
    evidence = Evidence(path=path, line=None, what="results file, which is written at the end")
    counts = [call.section("n-samples", task).get("effective") for call in calls for task in call.tasks]
    if counts and all(count == 0 for count in counts):
        reason = "the results file counts no sample in any task"
        return StatusFact(value="no_eval_samples", reason=reason, evidence=evidence)
    return StatusFact(value="completed", reason="the results file is there", evidence=evidence)


def _missing(call: Call) -> Iterator[MissingArtifact]:
    if call.results is None:
        yield MissingArtifact(
            path=f"results_{call.time}.json" if call.time else "results.json",
            role="summary",
            evidence=None,
            reason="the harness writes one at its end",
        )
        return
    folder = call.results.path.rpartition("/")[0]
    for task in call.tasks:
        if task not in call.samples and call.time is not None:
            name = storable(f"samples_{task}_{call.time}.jsonl")
            yield MissingArtifact(
                path=f"{folder}/{name}" if folder else name,
                role="dump",
                evidence=None,
                reason="the harness writes samples with --log_samples",
            )


def _started(call: Call) -> Moment | None:
    seconds = call.document.get("date")
    if call.results is None or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        at = datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
    evidence = Evidence(path=call.results.path, line=None, what="date, in seconds since 1970")
    return Moment(at=at, zone=None, evidence=evidence)


def _seconds(value: object) -> float | None:
    """Return the seconds that the harness wrote, as a number or as text."""
    seconds = number(value)
    return seconds if seconds is not None and 0 <= seconds < math.inf else None


def _environment(call: Call) -> str:
    found = call.document.get("pretty_env_info")
    return found if isinstance(found, str) else ""


def _hardware(call: Call) -> Hardware:
    names = [storable(found["name"]) for found in _GPU.finditer(_environment(call))]
    evidence = Evidence(path=call.results.path if call.results else ".", line=None, what="pretty_env_info")
    return Hardware(
        gpus=tuple(Gpu(name=name, count=names.count(name), memory_bytes=None) for name in sorted(set(names))),
        cpu_model=None,
        num_cpus=None,
        memory_bytes=None,
        evidence=evidence if names else None,
    )


def _software(call: Call) -> Software:
    versions = {"lm_eval": "lm_eval_version", "transformers": "transformers_version"}
    commit = call.document.get("git_hash")
    python = _PYTHON.search(_environment(call))
    return Software(
        python_version=python[1] if python else None,
        packages={
            name: storable(call.document[key])
            for name, key in versions.items()
            if isinstance(call.document.get(key), str)
        },
        code=Code(
            git_commit=storable(commit) if isinstance(commit, str) else None,
            is_dirty=None,
            missing_because="the harness records a commit of its working directory at most, not changes",
        ),
    )


def _models(call: Call) -> list[ModelReference]:
    config = mapping(call.document.get("config"))
    asked = mapping(arguments(config.get("model_args")))
    names = (
        call.document.get("model_name"),
        asked.get("pretrained"),
        asked.get("model"),
        asked.get("engine"),
    )
    name = next((one for one in names if isinstance(one, str) and one), None)
    if name is None:
        return []
    revisions = (config.get("model_sha"), asked.get("revision"), config.get("model_revision"))
    revision = next((one for one in revisions if isinstance(one, str) and one), None)
    return [
        ModelReference(
            role="evaluated",
            name=storable(without_secrets(name)),
            revision=storable(revision) if revision else None,
            sha256=None,
        )
    ]


def _data(calls: Sequence[Call]) -> DataReference:
    tasks = sorted({task for call in calls for task in call.tasks})
    hashes = [str(one) for call in calls for one in mapping(call.document.get("task_hashes")).values()]
    is_digest = len(hashes) == 1 == len(tasks) and re.fullmatch(r"[0-9a-f]{64}", hashes[0])
    return DataReference(
        name=storable(", ".join(tasks)) or "unknown", fingerprint=hashes[0] if is_digest else None
    )
