"""Claims about endings, hardware and times against the archive."""

from __future__ import annotations

import re

from runkit.audit.amounts import amounts
from runkit.audit.claims import Duration, Ending, Gpus, NoCrash, Reached, Started, WorldSize
from runkit.audit.judging.places import evidence_at
from runkit.audit.truth import Judgement, Word, configuration_evidence, supported_if
from runkit.records.manifest import Manifest

_STOPPED = {"truncated", "crashed"}


def judged_ending(run: Manifest, claim: Ending) -> Judgement:
    """Return how the run ended."""
    status = run.sealed.status
    last = run.sealed.training.last_step
    actual = f"{status.value} (last step {last} of {run.sealed.training.planned_steps})"
    evidence = f"{evidence_at(status.evidence)}: {status.reason}"
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
    reached = f"last training step {training.last_step} of {training.planned_steps}"
    evidence = f"{evidence_at(training.evidence)}: {reached}"
    holds = value >= claim.step if claim.kind == "reached" else value == claim.step
    if holds:
        return Judgement("supported", str(value), evidence)
    code = "RK301" if run.sealed.status.value == "truncated" else ""
    return Judgement("contradicted", str(value), evidence, code)


def judged_no_crash(run: Manifest, _claim: NoCrash) -> Judgement:
    """Return whether the run ended without a crash."""
    status = run.sealed.status
    if status.value in {"completed", "early_stopped"}:
        return Judgement("supported", status.value, f"{evidence_at(status.evidence)}: {status.reason}")
    if status.value == "crashed":
        return Judgement(
            "contradicted", status.value, f"{evidence_at(status.evidence)}: {status.reason}", "RK302"
        )
    return Judgement("unverifiable", status.value, f"{evidence_at(status.evidence)}: {status.reason}")


def judged_gpus(run: Manifest, claim: Gpus) -> Judgement:
    """Return which accelerators the run had."""
    gpus = run.sealed.hardware.gpus
    evidence = evidence_at(run.sealed.hardware.evidence)
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
    return Judgement(word, moment.at, evidence_at(moment.evidence))
