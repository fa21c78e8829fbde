"""Sabotage of an archive's bytes and manifests: one change gives exactly one finding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runkit.checks.gather import EVERY_FAMILY, gather
from runkit.checks.integrity import rightly_named, unreadable_manifest
from runkit.checks.view import ArchiveView
from runkit.records.manifest import Artifact, Evidence, Manifest, MissingArtifact, Notes, Provenance
from runkit.records.observation import FileObservation, RunObservation
from tests.checks.builders import lines, manifest_of, observed, outcomes_for, sha, view_of


def judged(manifest: Manifest, observation: RunObservation) -> list[str]:
    view = ArchiveView(
        (manifest,), {manifest.run_id: observation}, {manifest.run_id: outcomes_for(manifest.run_id)}
    )
    return lines(gather(view))


def test_a_clean_archive_gives_no_finding() -> None:
    assert lines(gather(view_of(manifest_of("control"), manifest_of("other")), EVERY_FAMILY)) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [("missing", "is not there"), ("unreadable", "cannot be read"), ("other", "is no regular file")],
)
def test_an_artifact_that_cannot_be_read_is_missing(kind: str, words: str) -> None:
    manifest = manifest_of()
    seen = FileObservation(kind)  # type: ignore[arg-type]
    assert judged(manifest, observed(manifest, train_log=seen)) == [
        f"error RK101 control train.log: train.log {words}; expected a file of 10 bytes"
    ]


def test_another_size_is_a_changed_artifact() -> None:
    manifest = manifest_of()
    assert judged(manifest, observed(manifest, train_log=FileObservation("file", 11, sha("other")))) == [
        "error RK102 control train.log: train.log has 11 bytes, the manifest says 10"
    ]


def test_one_changed_byte_is_found() -> None:
    manifest = manifest_of()
    expected = sha("control train.log")[:12]
    assert judged(manifest, observed(manifest, train_log=FileObservation("file", 10, sha("other")))) == [
        f"error RK102 control train.log: train.log has sha256 {sha('other')[:12]}…, the manifest says "
        f"{expected}…"
    ]


def test_sizes_are_compared_when_nothing_was_hashed() -> None:
    manifest = manifest_of()
    assert judged(manifest, observed(manifest, train_log=FileObservation("file", 10, None))) == []


def test_a_changed_outcomes_file_is_found() -> None:
    manifest = manifest_of()
    seen = replace(observed(manifest), outcomes=FileObservation("file", 10, sha("other")))
    expected = sha("control outcomes")[:12]
    assert judged(manifest, seen) == [
        "error RK102 control manifests/control.outcomes.parquet: manifests/control.outcomes.parquet has "
        "sha256 "
        f"{sha('other')[:12]}…, the manifest says {expected}…"
    ]


def test_a_missing_outcomes_file_is_found() -> None:
    manifest = manifest_of()
    seen = replace(observed(manifest), outcomes=FileObservation("missing"))
    assert judged(manifest, seen) == [
        "error RK101 control manifests/control.outcomes.parquet: manifests/control.outcomes.parquet is not "
        "there; "
        "expected the outcomes of 240 answers"
    ]


def test_scores_without_an_outcomes_file_are_found() -> None:
    manifest = manifest_of(outcomes=None)
    assert judged(manifest, observed(manifest)) == [
        "error RK101 control sealed.outcomes: the manifest has scores of 4 evaluations and names no file "
        "with "
        "their per-sample outcomes"
    ]


def test_an_unlisted_file_is_found() -> None:
    manifest = manifest_of()
    assert judged(manifest, replace(observed(manifest), unlisted=("notes.txt",))) == [
        "warning RK103 control notes.txt: notes.txt lies in the preserved directory and is not among the "
        "artifacts of the manifest"
    ]


def test_an_edited_fact_breaks_the_seal() -> None:
    honest = manifest_of()
    edited = honest.model_copy(update={"sealed": honest.sealed.model_copy(update={"duration_seconds": 1.0})})
    found = judged(edited, observed(edited))
    assert found == [
        f"error RK104 control seal.digest: the sealed facts have digest "
        f"{edited.sealed.content_digest()[:12]}…, "
        f"the seal says {honest.seal.digest[:12]}…: they were edited after they were sealed"
    ]


def test_editing_the_notes_does_not_break_the_seal() -> None:
    manifest = manifest_of().model_copy(update={"notes": Notes(title="Another title")})
    assert judged(manifest, observed(manifest)) == []


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("/etc/passwd", "is absolute"),
        ("C:/runs/train.log", "is absolute"),
        ("../other/train.log", "climbs out of the run directory"),
        ("a\\b", "has a backslash, which separates folders on some systems"),
    ],
)
def test_a_path_that_leaves_the_run_directory_is_found(path: str, trouble: str) -> None:
    honest = manifest_of()
    stray = Artifact(path=path, role="other", size_bytes=1, sha256=sha("x"), storage="copy")
    manifest = manifest_of(artifacts=(*honest.sealed.artifacts, stray))
    assert judged(manifest, observed(manifest)) == [
        f"error RK106 control {path}: the path {path!r} {trouble}; expected a path inside the run directory"
    ]


def test_a_link_in_place_of_a_file_is_found() -> None:
    manifest = manifest_of()
    assert judged(manifest, observed(manifest, train_log=FileObservation("link"))) == [
        "error RK106 control train.log: train.log is a link; expected a regular file of 10 bytes"
    ]


def test_a_checkpoint_that_the_log_names_and_nobody_kept_is_found() -> None:
    line = Evidence(path="train.log", line=90, what="the line that says so")
    missing = MissingArtifact(
        path="best.pt", role="checkpoint", evidence=line, reason="the log says it was saved"
    )
    manifest = manifest_of(missing_artifacts=(missing,))
    assert judged(manifest, observed(manifest)) == [
        "warning RK107 control train.log:90: the checkpoint best.pt was not there to preserve: the log "
        "says it "
        "was saved"
    ]


def test_a_dump_that_nobody_claims_to_have_written_is_not_missed() -> None:
    missing = MissingArtifact(path="dump_30.jsonl", role="dump", evidence=None, reason="a longer run has one")
    manifest = manifest_of(missing_artifacts=(missing,))
    assert judged(manifest, observed(manifest)) == []


def test_quote_characters_in_the_logged_directory_are_noted() -> None:
    provenance = Provenance(
        reader="bridge-cluster",
        runkit_version="0",
        logged_run_directory='runs/a_"2026"/inner',
        log_path="train.log",
        num_log_lines=1,
        num_log_lines_understood=1,
    )
    manifest = manifest_of(provenance=provenance)
    assert judged(manifest, observed(manifest)) == [
        "info RK108 control sealed.provenance.logged_run_directory: the log names the directory "
        "'a_\"2026\"', "
        "which holds '\"'; preserved as control"
    ]


def test_an_unreadable_manifest_is_a_finding_with_all_that_the_parser_said() -> None:
    found = unreadable_manifest(
        "r.json", "manifests/r.json is not a valid manifest: seal: field required; x: extra"
    )
    assert lines([found]) == [
        "error RK105 r manifests/r.json: manifests/r.json is not a valid manifest: seal: field required; "
        "x: extra"
    ]


def test_a_manifest_under_another_name_is_found_and_not_checked_further() -> None:
    named = rightly_named([manifest_of("a"), manifest_of("b")], ["a", "c"])
    assert [run.run_id for run in named.manifests] == ["a"]
    assert lines(named.findings) == [
        "error RK105 c manifests/c.json: the file says that it is run 'b', not run 'c'"
    ]


def test_a_copied_manifest_is_found_and_the_run_is_checked_once() -> None:
    named = rightly_named([manifest_of("a"), manifest_of("a")], ["a", "a-copy"])
    assert [run.run_id for run in named.manifests] == ["a"]
    assert lines(named.findings) == [
        "error RK105 a-copy manifests/a-copy.json: the file says that it is run 'a', not run 'a-copy'"
    ]
