"""Claims about endings, hardware, files, models and sameness against the archive."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from runkit.audit.amounts import amounts
from runkit.audit.claims import (
    CommandLine,
    Direction,
    Duration,
    Ending,
    ExactName,
    FileKinds,
    Files,
    Gpus,
    NoCrash,
    Reached,
    Role,
    Same,
    Started,
    WorldSize,
)
from runkit.audit.truth import Archive, Judgement, Word, configuration_evidence, points, supported_if
from runkit.records.manifest import Evidence, Manifest

_STOPPED = {"truncated", "crashed"}


def judged_ending(run: Manifest, claim: Ending) -> Judgement:
    """Return how the run ended."""
    status = run.sealed.status
    last = run.sealed.training.last_step
    actual = f"{status.value} (last step {last} of {run.sealed.training.planned_steps})"
    evidence = f"{_at(status.evidence)}: {status.reason}"
    same = status.value == claim.status or {status.value, claim.status} <= _STOPPED
    if claim.status == "completed" and status.value == "early_stopped":
        same = True
    if same == claim.is_denied:
        if status.value == "no_eval_samples" or (
            claim.is_denied and claim.status == "completed" and status.value == "early_stopped"
        ):
            return Judgement("unverifiable", actual, evidence)
        if claim.status == "truncated" and status.value == "early_stopped":
            return Judgement("unverifiable", actual, "a run that was stopped early was also cut short")
        code = {"truncated": "RK301", "crashed": "RK302"}.get(status.value, "")
        return Judgement(
            "contradicted", actual, evidence, "RK303" if claim.status == "early_stopped" else code
        )
    if claim.step is not None and not claim.is_denied and last is not None and claim.step != last:
        return Judgement("contradicted", actual, evidence)
    return Judgement("supported", actual, evidence)


def judged_reached(run: Manifest, claim: Reached) -> Judgement:
    """Return how far training came, or was to come."""
    training = run.sealed.training
    value = training.planned_steps if claim.kind == "planned" else training.last_step
    if value is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not show it")
    evidence = (
        f"{_at(training.evidence)}: last training step {training.last_step} of {training.planned_steps}"
    )
    holds = value >= claim.step if claim.kind == "reached" else value == claim.step
    if holds:
        return Judgement("supported", str(value), evidence)
    code = "RK301" if run.sealed.status.value == "truncated" else ""
    return Judgement("contradicted", str(value), evidence, code)


def judged_no_crash(run: Manifest, _claim: NoCrash) -> Judgement:
    """Return whether the run ended without a crash."""
    status = run.sealed.status
    if status.value in {"completed", "early_stopped"}:
        return Judgement("supported", status.value, f"{_at(status.evidence)}: {status.reason}")
    if status.value == "crashed":
        return Judgement("contradicted", status.value, f"{_at(status.evidence)}: {status.reason}", "RK302")
    return Judgement("unverifiable", status.value, f"{_at(status.evidence)}: {status.reason}")


def judged_gpus(run: Manifest, claim: Gpus) -> Judgement:
    """Return which accelerators the run had."""
    gpus = run.sealed.hardware.gpus
    evidence = _at(run.sealed.hardware.evidence)
    if not gpus:
        if run.sealed.hardware.cpu_model is not None and run.sealed.provenance.reader == "runkit":
            actual = f"no GPU, {run.sealed.hardware.num_cpus} cores of {run.sealed.hardware.cpu_model}"
            return Judgement("contradicted", actual, "sealed.hardware")
        return Judgement("unverifiable", "", f"{run.run_id} does not record its GPUs")
    total = sum(gpu.count for gpu in gpus)
    actual = ", ".join(f"{gpu.count} x {gpu.name}" for gpu in gpus)
    wrong_model = claim.model is not None and not any(
        claim.model in gpu.name.upper().replace(" ", "") for gpu in gpus
    )
    wrong_memory = claim.memory_gigabytes is not None and not any(
        f"{claim.memory_gigabytes}GB" in gpu.name.replace(" ", "")
        or (
            gpu.memory_bytes is not None
            and abs(gpu.memory_bytes / 2**30 - claim.memory_gigabytes) < 0.1 * claim.memory_gigabytes
        )
        for gpu in gpus
    )
    if (
        claim.model is not None
        and claim.memory_gigabytes is not None
        and wrong_memory
        and not any(re.search(r"\d+ ?GB", gpu.name) or gpu.memory_bytes for gpu in gpus)
    ):
        wrong_memory = False
    wrong_count = claim.count is not None and claim.count != total
    if wrong_count and run.sealed.command.world_size == claim.count:
        return Judgement("unverifiable", actual, f"world size {claim.count}, and the machine has {total}")
    if wrong_model or wrong_memory or wrong_count:
        return Judgement("contradicted", actual, evidence)
    return Judgement("supported", actual, evidence)


def judged_world_size(run: Manifest, claim: WorldSize) -> Judgement:
    """Return with how many processes the run was made."""
    size = run.sealed.command.world_size
    if size is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not record its world size")
    return supported_if(size == claim.count, str(size), configuration_evidence(run))


def judged_files(run: Manifest, claim: Files) -> Judgement:
    """Return whether files of that name were preserved; braces and stars are expanded."""
    present = [artifact.path for artifact in run.sealed.artifacts]
    absent = []
    matched = []
    for pattern in expanded(claim.path):
        hits = [path for path in present if _fits(path, pattern)]
        matched += hits
        if not hits:
            absent.append(pattern)
    gone = {missing.path: missing for missing in run.sealed.missing_artifacts}
    if claim.is_denied:
        if matched:
            return Judgement("contradicted", f"{matched[0]} is there", "sealed.artifacts")
        return Judgement("supported", "not there", "sealed.artifacts")
    if not absent:
        listed = matched[0] if len(matched) == 1 else f"{len(matched)} files, {matched[0]} to {matched[-1]}"
        return Judgement("supported", listed, "sealed.artifacts, with size and sha256")
    reasons = [missing.reason for path, missing in gone.items() for pattern in absent if _fits(path, pattern)]
    known_folder = "/" not in claim.path or any(
        path.startswith(claim.path.rpartition("/")[0] + "/") for path in present
    )
    if not known_folder and not reasons and not matched:
        return Judgement("unverifiable", "", f"{claim.path} is no path of {run.run_id}")
    code = "RK107" if reasons else ""
    return Judgement(
        "contradicted",
        f"not preserved: {', '.join(absent[:4])}",
        "; ".join(reasons[:1]) or "sealed.artifacts",
        code,
    )


def expanded(path: str) -> tuple[str, ...]:
    """Return the paths that braces stand for; dots in them stand for whatever lies between and are left out.

    >>> expanded("a/step_{0,...,final}.jsonl")
    ('a/step_0.jsonl', 'a/step_final.jsonl')
    """
    braces = re.search(r"\{([^{}]*)\}", path)
    if braces is None:
        return (re.sub(r"_step_(?:n|N|<\w+>|XXXX?)\b", "_step_*", path),)
    options = [one.strip() for one in braces.group(1).split(",")]
    return tuple(
        path[: braces.start()] + option + path[braces.end() :]
        for option in options
        if option and not re.fullmatch(r"\.{2,3}|…|\*", option)
    )


def _fits(path: str, pattern: str) -> bool:
    return (
        fnmatchcase(path, pattern)
        or path.endswith(f"/{pattern}")
        or fnmatchcase(path, f"*/{pattern}")
        or pattern.endswith(f"/{path}")
    )


def judged_file_kinds(run: Manifest, claim: FileKinds) -> Judgement:
    """Return whether files of these kinds were preserved."""
    roles = {artifact.role for artifact in run.sealed.artifacts}
    absent = [kind for kind in claim.kinds if kind not in roles]
    if claim.is_denied:
        if absent == list(claim.kinds):
            return Judgement("supported", "not preserved", _missing(run, claim.kinds))
        return Judgement("contradicted", "preserved", "sealed.artifacts")
    if not absent:
        return Judgement("supported", "preserved", "sealed.artifacts")
    return Judgement(
        "contradicted", f"{run.run_id} has no {', '.join(absent)} file", _missing(run, absent), "RK107"
    )


def _missing(run: Manifest, kinds: tuple[str, ...] | list[str]) -> str:
    found = [
        f"{missing.path}: {missing.reason} ({_at(missing.evidence)})"
        for missing in run.sealed.missing_artifacts
        if missing.role in kinds
    ]
    return "; ".join(found) or "sealed.artifacts"


def judged_exact_name(run: Manifest, claim: ExactName) -> Judgement:
    """Return whether the preserved folder has the name that the run's own log gives."""
    logged = run.sealed.provenance.logged_run_directory
    if logged is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not record its folder")
    has_quotes = bool(re.search(r"[\"']", logged))
    evidence = run.sealed.provenance.log_path or "sealed.provenance.logged_run_directory"
    if claim.had_quotes:
        return Judgement(
            "supported" if has_quotes else "contradicted", logged, evidence, "" if has_quotes else "RK108"
        )
    if run.run_id in logged.replace("\\", "/").split("/"):
        return Judgement("supported", logged, evidence)
    return Judgement("contradicted", f"{logged}, preserved as {run.run_id}", evidence, "RK108")


def judged_command(run: Manifest, claim: CommandLine) -> Judgement:
    """Return whether this command started the run."""
    argv = run.sealed.command.argv
    if argv is None:
        return Judgement(
            "unverifiable", "", run.sealed.command.missing_because or "the run did not record its command"
        )
    recorded = " ".join(argv)
    words = [word for word in claim.text.split() if not re.fullmatch(r"[A-Z_0-9]+=\S*|\$", word)]
    if " ".join(words) in recorded or recorded in claim.text:
        return Judgement("supported", recorded, "sealed.command.argv")
    return Judgement(
        "unverifiable", recorded, "the document may leave out or add options; the recorded command is shown"
    )


def judged_role(run: Manifest, claim: Role) -> Judgement:
    """Return which model has the role."""
    words = [
        word
        for word in re.split(r"[\s-]+", claim.model.lower())
        if word and not re.fullmatch(r"v?\d[\d.]*b?", word)
    ]
    role = "target" if claim.role == "generator" else claim.role
    model = run.sealed.model(role)
    if model is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not name its {role} model")
    evidence = configuration_evidence(run)
    actual = f"the {role} model is {model.name}"
    if all(word in model.name.lower() for word in words):
        return Judgement("unverifiable" if claim.role == "generator" else "supported", actual, evidence)
    other = run.sealed.model("source" if role == "target" else "target")
    swapped = other is not None and words[0] in other.name.lower()
    if claim.role == "generator":
        if not swapped or other is None:
            return Judgement("unverifiable", actual, evidence)
        alone = points(run, "source")
        told = f"; {words[0].title()} is the source, and alone answers {alone[-1].told()}" if alone else ""
        return Judgement("contradicted", actual + told, evidence)
    if not swapped and not any(word in other.name.lower() for word in words[:1] if other is not None):
        return Judgement(
            "contradicted" if words[0] not in model.name.lower() else "unverifiable",
            actual,
            evidence,
        )
    return Judgement("contradicted", actual, evidence)


def judged_direction(run: Manifest, claim: Direction) -> Judgement:
    """Return from which model to which the bridge leads."""
    source, target = run.sealed.model("source"), run.sealed.model("target")
    if source is None or target is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not name its models")
    actual = f"{source.name} → {target.name}"
    left = claim.source.lower() in source.name.lower() or claim.source.lower() == "source"
    right = claim.target.lower() in target.name.lower()
    if left and right:
        return Judgement("supported", actual, configuration_evidence(run))
    if claim.source.lower() in target.name.lower() and claim.target.lower() in source.name.lower():
        return Judgement("contradicted", actual, configuration_evidence(run))
    return Judgement(
        "unverifiable", actual, "the arrow may mean something else than the direction of the bridge"
    )


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


def judged_duration(run: Manifest, claim: Duration) -> Judgement:
    """Return how long the run took; a tenth more or less is rounding of people."""
    seconds = run.sealed.duration_seconds
    if seconds is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not record its end")
    value = next(iter(amounts(f"{seconds / claim.unit_seconds:.6f}"))).low
    actual = f"{seconds:.0f} s"
    if claim.seconds.holds(value) or abs(value - claim.seconds.low) <= claim.seconds.low / 10:
        return Judgement("supported", actual, "sealed.duration_seconds")
    return Judgement("contradicted", actual, "sealed.duration_seconds")


def judged_started(run: Manifest, claim: Started) -> Judgement:
    """Return when the run started or ended."""
    moment = run.sealed.started if claim.which == "start" else run.sealed.ended
    if moment is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not record it")
    word: Word = "supported" if moment.at.startswith(claim.when) else "contradicted"
    if word == "contradicted" and "T" in claim.when and moment.at.startswith(claim.when[:10]):
        word = "unverifiable"
    return Judgement(word, moment.at, _at(moment.evidence))


def _at(evidence: Evidence | None) -> str:
    if evidence is None:
        return "nothing in the log"
    return f"{evidence.path}:{evidence.line}" if evidence.line else evidence.path
