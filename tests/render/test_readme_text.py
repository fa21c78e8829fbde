"""What a run's section of the README says, and that a missing number is never a zero."""

from __future__ import annotations

import re

import pytest
from syrupy.assertion import SnapshotAssertion

from runkit.records.finding import Finding
from runkit.records.manifest import (
    Artifact,
    Command,
    Hardware,
    Manifest,
    Notes,
    Publishability,
    Relation,
    RootCause,
)
from runkit.render.artifacts import byte_size
from runkit.render.readme import LookedAt, readme_block
from runkit.render.run_section import run_section
from tests.render.test_tables_as_text import MarkdownFile
from tests.tables.building import ablation_archive, archived, edited, scattered

NOTES = Notes(
    title="Mean pooling",
    why="Find out whether pooling carries the result.",
    command_as_reported="bash run.sh --pool mean | tee `log`",
    went_wrong="It collapsed.",
    publishability=Publishability(verdict="negative_result", reason="worse than the control"),
    root_cause=RootCause(code="truncated.unknown", sentence="The job was killed."),
    claimed_status="early_stopped",
    relations=(Relation(kind="ablates", run_id="control", factors=("bridge.conditioning",)),),
)

LOOKED_AT = LookedAt(num_reread=2, num_by_reference=1, not_reread={"gone": "files not as sealed"})


@pytest.fixture(scope="module")
def cut_off() -> Manifest:
    run = ablation_archive()["cut_off"]
    return Manifest.sealing(run.manifest.sealed, NOTES)


def fact(manifest: Manifest, name: str) -> str:
    return next(found.text for found in run_section(manifest, ()).facts if found.name == name)


def changed(manifest: Manifest, **changes: object) -> Manifest:
    return Manifest.sealing(manifest.sealed.model_copy(update=changes), manifest.notes)


def test_the_whole_block_is_the_golden_file(cut_off: Manifest, snapshot: SnapshotAssertion) -> None:
    waived = Finding(
        "RK301", "error", "cut_off", "train.log:1274", "it ends at step 520.", "", "a known failure"
    )
    open_one = Finding(
        "RK107", "warning", "cut_off", "train.log:3185", "no checkpoint was kept.", "look for it"
    )
    block = readme_block(
        [cut_off, ablation_archive()["control"].manifest],
        {"cut_off": [waived, open_one]},
        looked_at=LOOKED_AT,
    )
    assert re.sub("[0-9a-f]{64}", "(digest)", block) == snapshot(extension_class=MarkdownFile)


def test_a_metric_that_was_not_measured_is_a_dash_with_the_reason(cut_off: Manifest) -> None:
    final = next(line for line in run_section(cut_off, ()).metrics if line.name == "Final bridged")
    assert (final.value, final.counts, final.interval, final.where) == (
        "–",
        "–",
        "–",
        "there is no such evaluation",
    )
    assert run_section(cut_off, ()).final == "–"


def test_a_peak_is_labelled_with_step_and_candidates(cut_off: Manifest) -> None:
    peak = next(line for line in run_section(cut_off, ()).metrics if line.name == "Peak bridged")
    assert (peak.value, peak.counts) == ("60.5%", "121/200")
    assert peak.where == "step 500, test split, largest of 3 evaluations, selected"


def test_a_reported_command_is_marked_as_such(cut_off: Manifest) -> None:
    assert fact(cut_off, "Command") == "`` bash run.sh --pool mean | tee `log` `` (as reported, not recorded)"


def test_a_recorded_command_is_quoted_for_a_shell(cut_off: Manifest) -> None:
    command = Command(
        argv=("runkit", "train", "a b"), launcher=None, world_size=1, environment={}, missing_because=None
    )
    assert fact(changed(cut_off, command=command), "Command") == "`runkit train 'a b'`"


def test_a_command_that_nobody_knows_says_why(cut_off: Manifest) -> None:
    nameless = Manifest.sealing(cut_off.sealed, Notes())
    assert fact(nameless, "Command") == "not recorded: the log does not give it"
    assert run_section(nameless, ()).title is None


def test_a_claim_about_the_end_that_the_log_refutes_is_shown(cut_off: Manifest) -> None:
    assert fact(cut_off, "Status").endswith("**reported as early stopped, which the log does not show**")


def test_what_went_wrong_has_the_root_cause_first(cut_off: Manifest) -> None:
    assert fact(cut_off, "What went wrong") == "`truncated.unknown` The job was killed. It collapsed."


def test_hardware_that_was_not_recorded_is_said_to_be_so(cut_off: Manifest) -> None:
    nothing = Hardware(gpus=(), cpu_model=None, num_cpus=None, memory_bytes=None, evidence=None)
    alone = changed(
        cut_off, hardware=nothing, command=cut_off.sealed.command.model_copy(update={"world_size": None})
    )
    assert fact(alone, "Hardware") == "not recorded"
    full = Hardware(gpus=(), cpu_model="Xeon", num_cpus=8, memory_bytes=2**34, evidence=None)
    assert fact(changed(cut_off, hardware=full), "Hardware") == "Xeon, 8 CPUs, 16.0 GiB memory, world size 4"


def test_a_collapse_names_the_answer(cut_off: Manifest) -> None:
    run = archived("collapsed", final=scattered(40, seed=1))
    (line,) = run_section(run.manifest, ()).evaluations
    assert line.favourite == "“1000” in 145 of 200"


def test_an_evaluation_without_outcomes_says_why(cut_off: Manifest) -> None:
    run = ablation_archive()["cut_off"]
    empty = run.manifest.sealed.evaluations[0].model_copy(
        update={"systems": (), "missing_because": "no samples"}
    )
    manifest = edited(run, evaluations=(empty,)).manifest
    assert run_section(manifest, ()).evaluations[0].favourite == "no samples"
    assert fact(manifest, "Invalid generations") == "not measured"


def test_dumps_are_one_line_and_missing_files_are_named(cut_off: Manifest) -> None:
    lines = run_section(cut_off, ()).artifacts
    assert lines[1].startswith("3 dumps `eval_samples_step_{0, 250, 500}.jsonl` (361.7 KiB together; digests")
    assert lines[-1] == "**missing** checkpoint `checkpoint.pt`: no checkpoint was kept (`train.log:3185`)"


def test_files_by_reference_say_so_and_where_they_are(cut_off: Manifest) -> None:
    files = tuple(
        Artifact(path=path, role="dump", size_bytes=2, sha256="0" * 64, storage="reference")
        for path in ("a.1", "a.12")
    )
    lines = run_section(changed(cut_off, artifacts=files, artifacts_location="the cluster"), ()).artifacts
    assert lines[:2] == (
        "2 dumps `a.{1, 12}` (4 B together, by reference; digests in the manifest)",
        "files by reference are at: the cluster",
    )
    single = run_section(changed(cut_off, artifacts=files[:1]), ()).artifacts[0]
    assert single == "dump `a.1` (2 B, sha256 000000000000, by reference)"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**50, "1024.0 TiB")]
)
def test_a_size_has_a_unit(size: int, text: str) -> None:
    assert byte_size(size) == text


def test_runs_are_in_the_order_of_their_start() -> None:
    manifests = [run.manifest for run in ablation_archive().values()]
    assert readme_block(manifests, {}, looked_at=LOOKED_AT) == readme_block(
        manifests[::-1], {}, looked_at=LOOKED_AT
    )


def test_a_number_that_was_only_logged_is_marked_and_has_no_counts(cut_off: Manifest) -> None:
    logged = [
        metric.model_copy(update={"value_fraction": 0.645, "correct": None, "n": None, "evidence": "logged",
                                  "missing_because": None})
        for metric in cut_off.sealed.metrics
    ]  # fmt: skip
    lines = run_section(changed(cut_off, metrics=tuple(logged)), ()).metrics
    assert {(line.counts, line.interval, line.evidence) for line in lines} == {("–", "–", "logged")}
    assert [line.value for line in lines[1:3]] == ["64.5%", "64.5 points"]
