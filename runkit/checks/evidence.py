"""Whether the sealed facts are what the kept files say, read again; compares two records, opens no file.

A value that differs, or that the files do not say, is an error. What the files say beyond the sealed facts,
because a younger version reads more, is no contradiction and only noted; but measured counts, evaluations
and settings are compared whole, since leaving one out makes others mean something else.

What this does not compare: notes, which are not sealed; artifacts and outcomes by digest, which are compared
with the disk elsewhere; and what only stood in the name of a run directory that was not written down.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.items import RunItems, item_digests
from runkit.records.manifest import Evaluation, Manifest, RunFacts, status_of_snapshot
from runkit.records.measurement import Score
from runkit.records.outcomes import RunOutcomes, outcome_digests
from runkit.records.record import canonical_json
from runkit.records.rereading import Rereading
from runkit.records.schema import IMPLIED_BY_READER

_NAMED_BY = {
    "evaluations": ("label",), "metrics": ("name",), "systems": ("system",), "logged": ("system",),
    "models": ("role",),
    "missing_artifacts": ("path", "role"),
}  # fmt: skip
"""Lists of records, and the fields that tell their entries apart."""

_ON_DUMPS = ("status", "metrics", "missing_artifacts", "data")
"""Facts that cannot be compared while a dump is not at hand."""

_LONGEST_VALUE = 60
_NUM_NAMED = 3

_DROPPED = "[dropped]"
"""What readers put in the place of what may be a secret."""

_Value = Any
_Path = tuple[str, ...]


def _evidence_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        rereading = archive.rereadings.get(manifest.run_id)
        if rereading is None:
            continue
        if rereading.trouble is not None:
            message = f"the kept files cannot be read again by this version: {rereading.trouble}"
            yield found("RK110", manifest.run_id, "sealed.provenance.reader", message)
        elif rereading.facts is not None:
            yield from fact_findings(manifest, rereading, rereading.facts)
            if manifest.run_id in archive.outcomes and manifest.sealed.scores is None:
                yield from _outcome_findings(manifest, rereading, archive.outcomes[manifest.run_id])
            yield from _score_findings(manifest, rereading, rereading.facts)
            if manifest.run_id in archive.items:
                yield from _item_findings(manifest, rereading, archive.items[manifest.run_id])


def fact_findings(manifest: Manifest, rereading: Rereading, facts: RunFacts) -> Iterator[Finding]:
    """Yield where the sealed facts of *manifest* are not *facts*, what its files say now."""
    sealed, said = _sealed_values(manifest), _said_values(manifest, facts)
    skipped = _not_comparable(manifest, rereading, facts)
    withheld = [path for path in said if _is_withheld(said[path]) and not _is_withheld(sealed.get(path))]
    if withheld:
        skipped += (*withheld, ("command", "dropped"), ("configuration", "effective_digest"))
        message = (
            "this version does not read again what may be a secret, which was sealed by an older one: "
            f"{_listed(withheld)}"
        )
        yield found("RK110", manifest.run_id, _place(withheld[0]), message, severity="info")
    differing: dict[_Path, list[_Path]] = defaultdict(list)
    younger = []
    for path in sorted({*sealed, *said}):
        ours, theirs = sealed.get(path), said.get(path)
        if ours == theirs or any(path[: len(one)] == one for one in skipped):
            continue
        if _is_empty(ours) and not _is_compared_whole(path, theirs, manifest):
            younger.append(path)
        else:
            differing[path[: 2 if path[0] == "evaluations" else 1]].append(path)
    for paths in differing.values():
        yield _contradiction(manifest, paths, sealed, said)
    if younger:
        message = (
            "the kept files say more than was sealed, which this version reads and the one that sealed it "
            f"(runkit {manifest.sealed.provenance.runkit_version}) did not: {_listed(younger)}"
        )
        yield found("RK110", manifest.run_id, _place(younger[0]), message, severity="info")


def _contradiction(
    manifest: Manifest, paths: Sequence[_Path], sealed: Mapping[_Path, _Value], said: Mapping[_Path, _Value]
) -> Finding:
    counts = [path for path in paths if path[-1] in {"correct", "value_fraction"}]
    first = (counts or list(paths))[0]
    others = [path for path in paths if path != first]
    message = (
        f"the sealed {'.'.join(first)} is {_shown(sealed.get(first))}, "
        f"{_file_of(first, manifest)} gives {_shown(said.get(first))}"
    )
    if others:
        message += f"; other values that differ there: {_listed(others)}"
    return found("RK110", manifest.run_id, _place(first), message)


def _outcome_findings(manifest: Manifest, rereading: Rereading, outcomes: RunOutcomes) -> Iterator[Finding]:
    sealed, said = outcome_digests(outcomes), rereading.outcomes_sha256
    for label in sorted({*sealed, *said}):
        evaluation = manifest.sealed.evaluation(label)
        if evaluation is not None and evaluation.dump in rereading.absent:
            continue
        ours, theirs = sealed.get(label, {}), said.get(label, {})
        systems = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        if systems:
            what = ", ".join(
                f"the answers of {name}" if name else "items and gold answers" for name in systems
            )
            first = systems[0]
            digests = f"{_shown_digest(ours.get(first))}, the dump gives {_shown_digest(theirs.get(first))}"
            message = (
                f"the outcomes of evaluation {label} are not those of "
                f"{_dump_of(evaluation, manifest)}: {what} differ (sha256 {digests})"
            )
            yield found("RK110", manifest.run_id, f"sealed.outcomes.{label}", message)


_OF_SCORES = (("scores",), ("series",), ("protocol",), ("notices",))
"""Facts that are compared by what they are of. How a version words or orders them is no fact of the run."""


def _score_findings(manifest: Manifest, rereading: Rereading, facts: RunFacts) -> Iterator[Finding]:
    """Yield scores and courses that the files do not give, or give with another value."""
    if manifest.sealed.scores is None or facts.scores is None:
        return
    ours = {score.key: score for score in manifest.sealed.scores}
    theirs = {score.key: score for score in facts.scores}
    more = [theirs[key].name for key in theirs if key not in ours]
    for key, score in ours.items():
        if {score.path, score.items_file} & rereading.absent:
            continue
        said = theirs.get(key)
        place, file = f"sealed.scores.{score.name}", score.path or "the files"
        if said is None:
            yield found(
                "RK110",
                manifest.run_id,
                place,
                f"the sealed {score.name} is not what {file} gives: no such score",
            )
        elif (score.value, score.n, score.counts) != (said.value, said.n, said.counts):
            message = f"the sealed {score.name} is {_valued(score)}, {file} gives {_valued(said)}"
            yield found("RK110", manifest.run_id, place, message)
    courses = {(one.system, one.task, one.split, one.metric.name): one for one in facts.series or ()}
    for series in manifest.sealed.series or ():
        other = courses.get((series.system, series.task, series.split, series.metric.name))
        if series.path in rereading.absent:
            continue
        if other is None or (series.steps, series.values) != (other.steps, other.values):
            message = (
                f"the sealed course of {series.metric.name} is not what {series.path or 'the files'} gives"
            )
            yield found("RK110", manifest.run_id, f"sealed.series.{series.metric.name}", message)
    if more:
        message = (
            "the kept files say more than was sealed, which this version reads and the one that sealed it "
            f"(runkit {manifest.sealed.provenance.runkit_version}) did not: {', '.join(more[:_NUM_NAMED])}"
        )
        yield found("RK110", manifest.run_id, "sealed.scores", message, severity="info")


def _valued(score: Score) -> str:
    if score.value is None:
        return "without a value"
    counts = f", {score.counts.correct} correct" if score.counts is not None else ""
    return f"{score.value!r} over {score.n if score.n is not None else 'unknown'} items{counts}"


def _item_findings(manifest: Manifest, rereading: Rereading, items: RunItems) -> Iterator[Finding]:
    sealed, said = item_digests(items), rereading.outcomes_sha256
    scores = {canonical_json(score.key): score for score in manifest.sealed.scores or ()}
    for key in sorted({*sealed, *said}):
        score = scores.get(key)
        if sealed.get(key) == said.get(key) or (score is not None and score.items_file in rereading.absent):
            continue
        name, file = (score.name, score.items_file) if score is not None else (key, "what was read")
        message = f"the item scores of {name} are not those that {file} gives"
        yield found("RK110", manifest.run_id, f"sealed.outcomes.{name}", message)


def _sealed_values(manifest: Manifest) -> dict[_Path, _Value]:
    document = manifest.sealed.model_dump(mode="json")
    return dict(_flat((), {name: document.get(name) for name in RunFacts.model_fields}))


def _said_values(manifest: Manifest, facts: RunFacts) -> dict[_Path, _Value]:
    """Return what the files say, with what ``preserve`` adds to it."""
    document = facts.model_dump(mode="json")
    if manifest.sealed.snapshot is not None:
        document["status"] = status_of_snapshot(facts.status).model_dump(mode="json")
    values = dict(_flat((), document))
    implied = IMPLIED_BY_READER.get(manifest.sealed.provenance.reader, {})
    sealed = manifest.sealed.configuration.effective
    for key, value in implied.items():
        if key not in sealed and values.get(("configuration", "effective", key)) == value:
            del values["configuration", "effective", key]
    return values


def _flat(path: _Path, value: _Value) -> Iterator[tuple[_Path, _Value]]:
    """Yield each value of a document with the names that lead to it; the order of named entries is none."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from _flat((*path, str(name)), inside)
        return
    named_by = _NAMED_BY.get(path[-1]) if path and isinstance(value, list) else None
    if named_by is None or not all(isinstance(entry, dict) for entry in value):
        yield path, value
        return
    times = Counter[str]()
    for entry in value:
        name = " ".join(str(entry.get(key)) for key in named_by)
        times[name] += 1
        inside = name if times[name] == 1 else f"{name} ({times[name]})"
        yield from _flat(
            (*path, inside), {key: one for key, one in entry.items() if key not in named_by} or "there"
        )


def _not_comparable(manifest: Manifest, rereading: Rereading, facts: RunFacts) -> tuple[_Path, ...]:
    """Return what does not come from the files, or from files that are not at hand."""
    sealed = manifest.sealed
    skipped: list[_Path] = [("run_id",), ("provenance", "runkit_version"), *_OF_SCORES]
    if sealed.provenance.num_log_lines_understood < facts.provenance.num_log_lines_understood:
        skipped.append(("provenance", "num_log_lines_understood"))
    # What could not be kept of the directory: `preserve` says so, and a reader of the copy misses it.
    left = {one.path for one in sealed.missing_artifacts if one.role == "other" and one.evidence is None}
    known = {(one.path, one.role) for one in sealed.missing_artifacts if one.path not in left}
    missed = {(one.path, one.role) for one in facts.missing_artifacts if one.path in left}
    skipped += [("missing_artifacts", f"{path} other") for path in left]
    skipped += [("missing_artifacts", f"{path} {role}") for path, role in missed - known]
    if sealed.directory_name is None and _stood_in_the_name(sealed) and not _stood_in_the_name(facts):
        skipped += [("started",), ("duration_seconds",)]
    if sealed.directory_name is None and facts.provenance.logged_run_directory == sealed.run_id:
        skipped.append(("provenance", "logged_run_directory"))
    if sealed.scores is None and facts.scores is not None:
        # Sealed by a version that read no numbers of other programs; what this one reads beside is no change.
        skipped += [("configuration",), ("provenance", "sources"), ("models",)]
    if rereading.absent:
        skipped += [(field,) for field in _ON_DUMPS]
        skipped += [("evaluations", one.label) for one in sealed.evaluations if one.dump in rereading.absent]
    return tuple(skipped)


def _stood_in_the_name(facts: RunFacts) -> bool:
    return facts.started is not None and facts.started.evidence.path == "."


def _is_empty(value: _Value) -> bool:
    return value is None or value in ([], "", {})


def _is_withheld(value: _Value) -> bool:
    return _DROPPED in canonical_json(value)


def _is_compared_whole(path: _Path, said: _Value, manifest: Manifest) -> bool:
    """Return whether leaving *path* out of the sealed facts changes what the others mean."""
    if path[0] == "evaluations" and len(path) > 3 and path[2] == "systems":
        return True
    if path[:2] == ("configuration", "effective"):
        return True
    is_count_without_value = path[0] == "metrics" and manifest.sealed.metric(path[1]) is not None
    return is_count_without_value and not _is_empty(said)


def _file_of(path: _Path, manifest: Manifest) -> str:
    """Return the kept file that says what *path* names."""
    sealed = manifest.sealed
    log = sealed.provenance.log_path
    if path[0] == "metrics" and path[1].startswith("final."):
        return _dump_of(sealed.evaluation("final"), manifest)
    if path[0] == "evaluations":
        evaluation = sealed.evaluation(path[1])
        of_log = path[2:3] in {("logged",), ("log_line",)}
        return (log if of_log else None) or _dump_of(evaluation, manifest)
    part = getattr(sealed, path[0], None)
    evidence = getattr(part, "evidence", None)
    if evidence is not None and evidence.path != ".":
        return str(evidence.path)
    captures = [one.path for one in sealed.artifacts if one.role == "capture"]
    if path[0] in {"command", "hardware", "software"} and captures:
        return captures[-1]
    return log or "what was read"


def _dump_of(evaluation: Evaluation | None, manifest: Manifest) -> str:
    if evaluation is not None and evaluation.dump is not None:
        return evaluation.dump
    return manifest.sealed.provenance.log_path or "what was read"


def _place(path: _Path) -> str:
    return ".".join(("sealed", *path))


def _listed(paths: Sequence[_Path]) -> str:
    named = ", ".join(".".join(path) for path in paths[:_NUM_NAMED])
    return f"{named}, and {len(paths) - _NUM_NAMED} more" if len(paths) > _NUM_NAMED else named


def _shown(value: _Value) -> str:
    if value is None:
        return "nothing"
    text = canonical_json(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _shown_digest(digest: str | None) -> str:
    return "of nothing" if digest is None else f"{digest[:12]}…"


EVIDENCE = Family("evidence", _evidence_findings, frozenset({"RK110"}))
