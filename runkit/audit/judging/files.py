"""Claims about files, folder names and commands against the archive."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from runkit.audit.claims import CommandLine, ExactName, FileKinds, Files
from runkit.audit.judging.places import evidence_at
from runkit.audit.truth import Judgement
from runkit.records.manifest import Manifest


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
        f"{missing.path}: {missing.reason} ({evidence_at(missing.evidence)})"
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
