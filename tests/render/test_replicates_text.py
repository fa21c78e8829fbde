"""Runs that repeat one configuration share a section, and nothing that their own ones would say is lost."""

from __future__ import annotations

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from runkit.checks.waivers import waiver_of
from runkit.records.finding import Finding
from runkit.records.manifest import Artifact, Command, Manifest, Notes, Publishability, Relation, Waiver
from runkit.records.replicates import ReplicateGroup
from runkit.render.escaping import escaped_markdown
from runkit.render.readme import LookedAt, readme_block
from runkit.render.replicate_section import replicate_section
from runkit.render.run_section import run_section
from tests.render.test_tables_as_text import MarkdownFile
from tests.tables.building import CONTROL_SETTINGS, ablation_archive, archived, edited, flipped, scattered

FINAL = scattered(129, seed=1)
CURVE = [scattered(count, seed=count) for count in (1, 104, 121)]
REASON = "Both answer every item in the only wording that is right."
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
NOTES = st.builds(
    Notes,
    title=TEXTS,
    why=TEXTS,
    went_wrong=st.none() | TEXTS,
    publishability=st.builds(
        Publishability, verdict=st.sampled_from(["supporting", "main_result"]), reason=TEXTS
    ),
    waivers=st.lists(
        st.builds(Waiver, rule=st.sampled_from(["RK406", "RK107"]), reason=TEXTS), max_size=3
    ).map(tuple),
)

LOOKED_AT = LookedAt(num_reread=2, num_by_reference=1, not_reread={"gone": "files not as sealed"})


def repeat(
    run_id: str, seed: int, *, notes: Notes | None = None, lost: int = 3, stops: bool = False
) -> Manifest:
    """Return a run with *seed*; one that stops has no third evaluation and no final one."""
    said = notes or Notes(
        title=f"The control, seed {seed}",
        why="Another training seed of control.",
        publishability=Publishability(verdict="supporting", reason="One seed of several."),
        relations=(Relation(kind="replicates", run_id="control"),),
    )
    run = archived(
        run_id,
        final=None if stops else flipped(FINAL, lost=lost, won=0),
        curve=CURVE[:2] if stops else CURVE,
        settings={**CONTROL_SETTINGS, "seed": seed},
        notes=said,
        **({"status": "truncated", "reason": "the log ends at step 250 of 2000"} if stops else {}),
    )
    argv = ("runkit", "train", "--set", f"seed={seed}")
    command = Command(argv=argv, launcher=None, world_size=1, environment={}, missing_because=None)
    return edited(run, command=command).manifest


def by_reference(manifest: Manifest) -> Manifest:
    files = tuple(file.model_copy(update={"storage": "reference"}) for file in manifest.sealed.artifacts)
    facts = manifest.sealed.model_copy(update={"artifacts": files, "artifacts_location": "the cluster"})
    return Manifest.sealing(facts, manifest.notes)


def group_of(*run_ids: str) -> ReplicateGroup:
    return ReplicateGroup(run_ids, ("seed",))


def waiving(manifest: Manifest, *others: str) -> Manifest:
    """Return *manifest* with a waiver for each of *others*, or one that names no finding."""
    waivers = tuple(waiver_of(waived(manifest.run_id, other), REASON) for other in others)
    notes = manifest.notes.model_copy(update={"waivers": waivers or (Waiver(rule="RK406", reason=REASON),)})
    return Manifest.sealing(manifest.sealed, notes)


def waived(run_id: str, other: str) -> Finding:
    return Finding(
        "RK406", "error", run_id, "eval_samples_step_500.jsonl", f"the same bytes as {other}.", "", REASON
    )


def rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the table whose header begins with *header*."""
    table = text.split(f"\n| {header} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def test_the_whole_section_is_the_golden_file(snapshot: SnapshotAssertion) -> None:
    runs = [
        repeat("control", 1234, notes=Notes(title="The control", why="What all others are compared with.")),
        waiving(by_reference(repeat("control_seed1", 1, lost=5)), "wide", "mean"),
        waiving(by_reference(repeat("control_seed2", 2, lost=0)), "wide"),
        repeat("control_seed10", 10, stops=True),
        ablation_archive()["mean"].manifest,
    ]
    findings = {
        "control_seed1": [waived("control_seed1", "wide"), waived("control_seed1", "mean")],
        "control_seed2": [waived("control_seed2", "wide")],
        "control_seed10": [
            Finding("RK301", "error", "control_seed10", "train.log:1274", "it ends at step 250.")
        ],
    }
    group = group_of("control", "control_seed1", "control_seed2", "control_seed10")
    block = readme_block(runs, findings, [group], looked_at=LOOKED_AT)
    assert re.sub("[0-9a-f]{64}", "(digest)", block) == snapshot(extension_class=MarkdownFile)


def test_runs_without_replicates_are_printed_as_ever() -> None:
    runs = [repeat("control", 1234), repeat("b", 1)]
    block = readme_block(runs, {}, looked_at=LOOKED_AT)
    assert "share a row above" not in block
    assert [line for line in block.split("\n") if line.startswith("## ")] == [
        "## `b`: The control, seed 1",
        "## `control`: The control, seed 1234",
    ]


def test_each_run_has_its_own_row_and_its_own_anchor() -> None:
    block = readme_block(
        [repeat("control", 1234), repeat("b", 1)], {}, [group_of("control", "b")], looked_at=LOOKED_AT
    )
    assert [row[:3] for row in rows(block, "Run | seed")] == [
        ["control", "1234", "63.0% (126/200)"],
        ['<a id="run-b"></a>b', "1", "63.0% (126/200)"],
    ]
    assert block.count('<a id="run-control"></a>') == 1


def test_one_text_of_all_runs_is_said_once_and_others_with_their_runs() -> None:
    runs = [repeat("control", 1234, notes=Notes(why="First.")), repeat("b", 1), repeat("c", 2)]
    section = replicate_section(group_of("control", "b", "c"), runs, [(), (), ()])
    said = {fact.name: [tuple(one) for one in fact.said] for fact in section.facts}
    assert said["Models"] == [
        ("", "source mistralai/Mistral-7B-Instruct-v0.3, target meta-llama/Llama-3.1-8B-Instruct")
    ]
    assert said["Why we ran it"] == [
        ("`control`", "First."),
        ("`b`, `c`", "Another training seed of control."),
    ]


def test_the_same_seed_again_is_said_to_be_the_same() -> None:
    runs = [repeat("control", 1), repeat("again", 1)]
    block = readme_block(runs, {}, [ReplicateGroup(("control", "again"), ())], looked_at=LOOKED_AT)
    assert "The same effective configuration with the same seed:" in block
    assert [row[0] for row in rows(block, "Run | Final")] == ["control", '<a id="run-again"></a>again']


def test_a_run_that_measured_on_other_items_has_rows_of_its_own() -> None:
    there = repeat("b", 1)
    metrics = tuple(metric.model_copy(update={"split": "dev"}) for metric in there.sealed.metrics)
    other = Manifest.sealing(there.sealed.model_copy(update={"metrics": metrics}), there.notes)
    section = replicate_section(group_of("control", "b"), [repeat("control", 1234), other], [(), ()])
    final = [line for line in section.metrics if line.before == ("Final bridged",)]
    value = "63.0% (126/200) [56.1, 69.4]"
    assert [(line.cells, line.after) for line in final] == [
        ((value, ""), ("test split", "recomputed")),
        (("", value), ("dev split", "recomputed")),
    ]


def test_files_that_are_not_all_kept_alike_are_told_apart() -> None:
    whole = repeat("control", 1234)
    files = tuple(
        file if file.role == "log" else file.model_copy(update={"storage": "reference"})
        for file in whole.sealed.artifacts
    )
    mixed = Manifest.sealing(whole.sealed.model_copy(update={"artifacts": files, "run_id": "b"}), whole.notes)
    section = replicate_section(group_of("control", "b"), [whole, mixed], [(), ()])
    assert [(line.before[0], line.cells) for line in section.files] == [
        ("kept", ("here", "in part")),
        ("log train.log", ("120.6 KiB, ddbb7f96765f", "120.6 KiB, ddbb7f96765f, here")),
        (
            "4 dumps eval_samples_step_{0, 250, 500, final}.jsonl together",
            ("482.2 KiB", "482.2 KiB, by reference"),
        ),
    ]


def test_a_dump_that_is_the_only_one_is_a_file_like_others() -> None:
    whole = repeat("control", 1234)
    one = (Artifact(path="a.jsonl", role="dump", size_bytes=2, sha256="0" * 64, storage="copy"),)
    runs = [
        Manifest.sealing(whole.sealed.model_copy(update={"artifacts": files, "run_id": run_id}), whole.notes)
        for run_id, files in (("control", one), ("b", ()))
    ]
    section = replicate_section(group_of("control", "b"), runs, [(), ()])
    assert [(line.before[0], line.cells) for line in section.files] == [
        ("kept", ("here", "–")),
        ("dump a.jsonl", ("2 B, 000000000000", "")),
    ]


def test_a_run_without_any_file_or_outcome_says_so() -> None:
    first, second = repeat("control", 1234), repeat("b", 1)
    empty = first.sealed.evaluations[0].model_copy(update={"systems": (), "missing_because": "no samples"})
    bare = [
        Manifest.sealing(run.sealed.model_copy(update={"artifacts": (), "evaluations": (empty,)}), run.notes)
        for run in (first, second)
    ]
    section = replicate_section(group_of("control", "b"), bare, [(), ()])
    assert section.files == ()
    assert [(line.before, line.cells) for line in section.evaluations] == [
        (("0",), ("– (no samples)", "– (no samples)"))
    ]
    block = readme_block(bare, {}, [group_of("control", "b")], looked_at=LOOKED_AT)
    assert "| File" not in block


def test_runs_that_measured_nothing_have_no_range() -> None:
    runs = [repeat("control", 1234, stops=True), repeat("b", 1, stops=True), repeat("c", 2)]
    assert replicate_section(group_of("control", "b"), runs[:2], [(), ()]).final == "–"
    assert replicate_section(group_of("control", "b", "c"), runs, [(), (), ()]).final == "63.0% in 1 of 3"


def test_a_waiver_without_a_finding_is_said_of_a_single_run_too() -> None:
    said = Finding(
        "RK109", "warning", "control", "notes.waivers.RK406", f"RK406 is waived ({REASON}) and is not found"
    )
    run = waiving(repeat("control", 1234))
    assert run_section(run, ()).findings == (
        f"**RK406** is waived without saying which finding, which waives none: {escaped_markdown(REASON)}",
    )
    assert len(run_section(run, [said]).findings) == 1
    run = waiving(run, "b")
    assert run_section(run, ()).findings == (
        "**RK406** `eval_samples_step_500.jsonl`: the same bytes as b. (so it was when it was waived; not "
        f"looked for here; waived: {escaped_markdown(REASON)})",
    )
    assert len(run_section(run, [waived("control", "b")]).findings) == 1


@given(st.lists(NOTES, min_size=2, max_size=4), st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None, max_examples=40)
def test_every_run_every_note_and_every_reason_is_in_the_text(
    notes: list[Notes], order: random.Random, are_grouped: bool
) -> None:
    runs = [repeat(f"run_{seed}", seed, notes=said, stops=seed == 1) for seed, said in enumerate(notes)]
    group = group_of(*(run.run_id for run in runs))
    findings = {
        run.run_id: [Finding(waiver.rule, "error", run.run_id, "here", "found.", "", waiver.reason)
                     for waiver in run.notes.waivers[:1]]
        for run in runs
    }  # fmt: skip
    block = readme_block(runs, findings, [group] if are_grouped else [], looked_at=LOOKED_AT)
    for run in runs:
        assert escaped_markdown(run.run_id) in block
        assert f'<a id="run-{run.run_id}"></a>' in block
        assert run.seal.digest in block
        told = run.notes
        texts = [
            told.title,
            told.why,
            told.went_wrong,
            told.publishability.reason,
            *(one.reason for one in told.waivers),
        ]
        for text in filter(None, texts):
            assert escaped_markdown(text) in block
    shuffled = order.sample(runs, len(runs))
    assert readme_block(shuffled, findings, [group] if are_grouped else [], looked_at=LOOKED_AT) == block


@given(st.lists(NOTES, min_size=2, max_size=4))
@settings(deadline=None, max_examples=30)
def test_nothing_that_a_single_section_says_is_lost(notes: list[Notes]) -> None:
    runs = [repeat(f"run_{seed}", seed, notes=said, stops=seed == 1) for seed, said in enumerate(notes)]
    block = readme_block(runs, {}, [group_of(*(run.run_id for run in runs))], looked_at=LOOKED_AT)
    for run in runs:
        alone = run_section(run, ())
        for fact in alone.facts:
            text = fact.text if fact.name != "Status" else fact.text.split(" (`")[0]
            assert text in block or fact.text == "none"
        for metric in alone.metrics:
            for part in (metric.name, metric.value, metric.counts, metric.interval, metric.evidence):
                assert escaped_markdown(part) in block
            assert metric.where == "" or all(
                escaped_markdown(part) in block for part in metric.where.split(", ")
            )
        for row in alone.evaluations:
            for part in (row.label, row.correct, row.favourite):
                assert escaped_markdown(part) in block
            assert escaped_markdown(row.invalid) in block or row.invalid.startswith("0.0%")
        for waiver in run.notes.waivers:
            assert escaped_markdown(waiver.reason) in block
