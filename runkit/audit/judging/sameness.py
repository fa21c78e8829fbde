"""Claims that two runs agree in something, against the archive."""

from __future__ import annotations

from runkit.audit.claims import Same
from runkit.audit.truth import Archive, Judgement, configuration_evidence, supported_if
from runkit.records.manifest import Manifest


def judged_same(archive: Archive, run: Manifest, claim: Same) -> Judgement:
    """Return whether two runs agree in hardware, batch, configuration or outputs."""
    others = [
        archive.by_id[run_id]
        for run_id in claim.other_run
        if run_id in archive.by_id and run_id != run.run_id
    ]
    if len(others) != 1:
        return Judgement("unverifiable", "", "the text does not say with which run")
    other = others[0]
    if "outputs" in claim.what:
        return _same_outputs(run, other)
    mine, theirs = _facts(run, claim.what[0]), _facts(other, claim.what[0])
    actual = f"{mine}; {other.run_id}: {theirs}"
    if not mine or not theirs:
        return Judgement("unverifiable", "", "one of the two runs does not record it")
    told = mine if mine == theirs else actual
    return supported_if(mine == theirs, told, configuration_evidence(run))


def _facts(run: Manifest, what: str) -> str:
    if what == "hardware":
        return ", ".join(f"{gpu.count} x {gpu.name}" for gpu in run.sealed.hardware.gpus)
    effective = run.sealed.configuration.effective
    if what == "batch":
        return ", ".join(
            f"{key} {effective[key]}"
            for key in ("per_device_batch", "global_batch", "train.batch_size")
            if key in effective
        )
    return f"effective configuration {run.sealed.configuration.effective_digest[:12]}"


def _same_outputs(run: Manifest, other: Manifest) -> Judgement:
    mine = {
        artifact.path.rpartition("/")[2]: artifact.sha256
        for artifact in run.sealed.artifacts
        if artifact.role == "dump"
    }
    theirs = {
        artifact.path.rpartition("/")[2]: artifact.sha256
        for artifact in other.sealed.artifacts
        if artifact.role == "dump"
    }
    equal = sorted(name for name in mine if theirs.get(name) == mine[name])
    if equal:
        return Judgement("supported", f"equal bytes: {', '.join(equal)}", "sha256 in sealed.artifacts")
    if not set(mine) & set(theirs):
        return Judgement("unverifiable", "", "the two runs have no dumps of the same name")
    return Judgement("contradicted", "no dump of the two runs has equal bytes", "sha256 in sealed.artifacts")
