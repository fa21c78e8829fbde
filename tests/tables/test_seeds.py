"""A table over seeds: what it prints, where each number comes from, and what it refuses to print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from runkit.checks.comparison import effective_difference
from runkit.errors import RecordInvalid, TableRefused, UnknownName
from runkit.records.cells import ChangesSource, SeedComparisonSource, SeedScoreSource, Table
from runkit.records.finding import Finding
from runkit.records.seedspec import SeedRow, SeedTableSpec, is_seed_spec
from runkit.render.latex import latex_table, standalone_document
from runkit.render.markdown import markdown_table
from runkit.stats.multiplicity import holm
from runkit.stats.seeds import difference_over_seeds
from runkit.tables.explaining import explain
from runkit.tables.measured import ArchivedRun
from runkit.tables.seed_rows import Change
from runkit.tables.seeds import seed_table
from runkit.tables.sidecar import sidecar
from tests.render.compiling import compile_document
from tests.tables.building import (
    CONTROL_SETTINGS,
    ITEMS,
    SOURCE,
    TARGET,
    N,
    archived,
    edited,
    scattered,
)
from tests.tables.seeding import SEEDS, SPEC, seed_archive, trained
from tests.tables.specs import cell_of, notes_of, row_of


def changes(run: ArchivedRun, other: ArchivedRun) -> list[Change]:
    difference = effective_difference(run.manifest, other.manifest)
    return [Change(one.key, one.value) for one in difference.changed]


def table_of(runs: Mapping[str, ArchivedRun], spec: SeedTableSpec = SPEC, **blocking: Finding) -> Table:
    return seed_table(spec, runs, changes=changes, blocking=blocking)


def refusal(runs: Mapping[str, ArchivedRun], spec: SeedTableSpec = SPEC, **blocking: Finding) -> str:
    with pytest.raises((TableRefused, UnknownName)) as caught:
        table_of(runs, spec, **blocking)
    return str(caught.value)


def with_rows(*rows: SeedRow) -> SeedTableSpec:
    return SPEC.model_copy(update={"rows": (SPEC.rows[0], *rows)})


@pytest.fixture(scope="module")
def runs() -> dict[str, ArchivedRun]:
    return seed_archive()


@pytest.fixture(scope="module")
def table(runs: dict[str, ArchivedRun]) -> Table:
    return table_of(runs)


def test_a_row_prints_mean_spread_and_difference_of_its_seeds(table: Table) -> None:
    texts = {row.label: [cell.text for cell in row.cells] for row in table.rows}
    assert texts == {
        "Source alone": ["", "54.0 [47.1, 60.8]", "", "−28.0 [−35.8, −20.2]", "<0.001", "0.0"],
        "Target alone": ["", "77.0 [70.7, 82.3]", "", "−5.0 [−12.0, 2.0]", "0.327", "0.0"],
        "Control": ["", "82.0 [79.0, 85.0]", "80.0, 84.0", "", "", "7.5"],
        "Mean pooling": [
            "conditioning = mean",
            "62.5 [58.7, 66.3]",
            "60.0, 65.0",
            "−19.5 [−22.9, −16.1]",
            "<0.001",
            "7.5",
        ],
        "No KL, no prompt": [
            "kl = false, prompt = false",
            "82.0 [78.9, 85.1]",
            "80.0, 84.0",
            "0.0 [−2.0, 2.0]",
            "1.000",
            "7.5",
        ],
    }


def test_the_difference_is_taken_seed_by_seed_whatever_the_order_of_the_runs(
    table: Table, runs: dict[str, ArchivedRun]
) -> None:
    source = cell_of(table, "Mean pooling", "difference").source
    assert isinstance(source, SeedComparisonSource)
    assert source.seeds == SEEDS
    assert (source.only_row, source.only_control) == ((4, 4, 4), (44, 43, 42))
    finals = {run_id: run.outcomes["final"].correct("bridged") for run_id, run in runs.items()}
    expected = difference_over_seeds(
        [finals[f"mean_{seed}"] for seed in SEEDS],
        [finals[f"control_{seed}"] for seed in SEEDS],
        are_seeds_shared=True,
    )
    assert source.interval_low == pytest.approx(expected.crossed_interval.low, abs=1e-9)
    assert source.crossed_standard_error == pytest.approx(expected.crossed_standard_error, abs=1e-9)
    assert source.p == pytest.approx(expected.crossed_p, abs=1e-9)


def test_the_frozen_models_are_compared_with_the_control_and_are_in_the_family(table: Table) -> None:
    labels = ("Source alone", "Target alone", "Mean pooling", "No KL, no prompt")
    sources = [cell_of(table, label, "p").source for label in labels]
    assert all(isinstance(source, SeedComparisonSource) and source.family == labels for source in sources)
    assert [source.p_holm for source in sources] == pytest.approx(holm([source.p for source in sources]))
    target = sources[1]
    assert (target.systems, {run.run_id for run in target.runs}) == (
        ("target", "bridged"),
        {f"control_{seed}" for seed in SEEDS},
    )


def test_every_number_has_a_source_with_the_seals_of_its_runs(
    table: Table, runs: dict[str, ArchivedRun]
) -> None:
    for row in table.rows:
        for cell in row.cells:
            assert (cell.source is None) == (not cell.lines)
            for run in cell.source.runs if cell.source is not None else ():
                assert run.manifest_digest == runs[run.run_id].manifest.seal.digest


def test_what_changed_is_read_from_the_configurations_and_not_from_the_label(table: Table) -> None:
    cell = cell_of(table, "No KL, no prompt", "changes")
    assert cell.text == "kl = false, prompt = false"
    assert isinstance(cell.source, ChangesSource)
    assert cell.source.changed == {"loss.kl": "false", "loss.prompt": "false"}
    assert cell_of(table, "Control", "changes").lines == ()


def test_two_sections_with_a_key_of_one_name_are_told_apart() -> None:
    runs = seed_archive()
    for index, seed in enumerate(SEEDS):
        final = scattered(150 + index, seed=seed)
        for name, settings in {
            "linear": {"bridge.kind": "linear"},
            "ridge": {"source_align.kind": "ridge", "loss.kl": False},
        }.items():
            runs[f"{name}_{seed}"] = trained(f"{name}_{seed}", seed, final, **settings)
    rows = [
        SeedRow(label=name, runs=tuple(f"{name}_{seed}" for seed in SEEDS)) for name in ("linear", "ridge")
    ]
    table = table_of(runs, with_rows(*rows))
    assert cell_of(table, "linear", "changes").text == "bridge.kind = linear"
    assert cell_of(table, "ridge", "changes").text == "kl = false, source_align.kind = ridge"
    alone = table_of(runs, with_rows(rows[0]))
    assert cell_of(alone, "linear", "changes").text == "kind = linear"


def test_a_cell_is_explained_seed_by_seed(table: Table) -> None:
    explained = explain(table, "Mean pooling", "difference").lines
    assert explained[1] == (
        "bridged, row minus control, seed by seed on the same 200 items: seed 1234: only row 4, only control "
        "44; seed 1: only row 4, only control 43; seed 2: only row 4, only control 42"
    )
    assert len(explained) == 6 + 2 * len(SEEDS)
    score = cell_of(table, "Mean pooling", "accuracy").source
    assert isinstance(score, SeedScoreSource)
    assert score.counts == (120, 125, 130)
    assert explain(table, "Mean pooling", "accuracy").lines[1] == (
        "bridged correct, of 200 items, evaluation 'final', test split: 120 with seed 1234, 125 with seed 1, "
        "130 with seed 2"
    )
    assert explain(table, "Mean pooling", "changes").lines[1] == (
        'effective configuration against the control\'s: bridge.conditioning = "mean"'
    )


def test_the_notes_say_what_was_averaged_tested_and_adjusted(table: Table) -> None:
    assert notes_of(table) == (
        "Bridged rows: one run for each of 3 training seeds (1234, 1, 2), which differ in nothing "
        "else, by their effective configurations. Accuracy and invalid answers: mean over the "
        "seeds, final evaluation, n = 200 items of the test split, the same for all; an invalid "
        "answer counts as wrong; every count is recomputed from archived per-sample outcomes; "
        "logs and dumps are not in the archive and not compared here; "
        "“runkit validate --references” reads files by reference again. Min, max: of one seed.\n"
        "Brackets: 95% t intervals for other seeds and other items (two-way crossed variance "
        "components, Satterthwaite's degrees of freedom); of the frozen models alone, which no seed "
        "changes, Wilson's.\n"
        "Δ: row minus “Control”, seed by seed and item by item, in points. p: t test with the same "
        "standard error, two-sided, Holm-adjusted over the family of 4 tested here: “Source alone”, "
        "“Target alone”, “Mean pooling”, “No KL, no prompt”."
    )


def test_the_table_prints_as_latex_and_markdown_with_the_same_digits(table: Table, tmp_path: Path) -> None:
    latex, markdown = latex_table(table, name="seeds"), markdown_table(table, name="seeds")
    for digits in (cell_of(table, "Mean pooling", "accuracy").text, "No KL, no"):
        assert digits.split()[0] in latex
        assert digits.split()[0] in markdown
    assert compile_document(standalone_document(latex), tmp_path).complaints == []


def test_the_sidecar_of_a_table_over_seeds_can_be_read_back(table: Table) -> None:
    cells = sidecar(table, name="seeds", spec_text=b"", files={})
    assert type(cells).parse(cells.to_json().encode(), origin="seeds.cells.json") == cells


def test_runs_that_differ_in_more_than_their_seed_are_no_row(runs: dict[str, ArchivedRun]) -> None:
    odd = trained("odd", 2, scattered(160, seed=2), **{"bridge.num_tokens": 16})
    row = SeedRow(label="Control", runs=("control_1234", "control_1", "odd"))
    assert refusal(runs | {"odd": odd}, SPEC.model_copy(update={"rows": (row,)})) == (
        "runs control_1234 and odd of row 'Control' differ in more than their seed: bridge.num_tokens; give "
        "each configuration a row of its own"
    )


def test_a_row_with_other_seeds_than_the_control_is_refused(runs: dict[str, ArchivedRun]) -> None:
    short = SeedRow(label="Mean pooling", runs=("mean_1234", "mean_1"))
    assert refusal(runs, with_rows(short)) == (
        "row 'Mean pooling' has the seeds 1, 1234, the control 'Control' 1, 2, 1234, so differences cannot "
        "be taken seed by seed; train the missing ones, or leave them out of all rows"
    )


def test_a_seed_that_stands_twice_in_a_row_is_refused(runs: dict[str, ArchivedRun]) -> None:
    twin = trained("twin", 1, scattered(160, seed=9), **{"bridge.conditioning": "mean"})
    row = SeedRow(label="Mean pooling", runs=("mean_1234", "mean_1", "twin"))
    assert refusal(runs | {"twin": twin}, with_rows(row)) == (
        "runs mean_1 and twin of row 'Mean pooling' both have seed 1; a seed counts once, so leave one out"
    )


def test_a_run_without_a_seed_is_refused(runs: dict[str, ArchivedRun]) -> None:
    unknown = archived("unknown", final=scattered(150, seed=3), split="test")
    row = SeedRow(label="Mean pooling", runs=("mean_1234", "unknown"))
    assert refusal(runs | {"unknown": unknown}, with_rows(row)) == (
        "run unknown does not record its training seed, so it is no row over seeds; leave it out"
    )


def test_a_row_with_the_control_s_configuration_is_refused(runs: dict[str, ArchivedRun]) -> None:
    again = {
        f"again_{seed}": trained(f"again_{seed}", seed, scattered(150, seed=50 + seed)) for seed in SEEDS
    }
    assert refusal(runs | again, with_rows(SeedRow(label="KL only", runs=tuple(again)))) == (
        "row 'KL only' has the control's configuration, so it is no ablation of it; leave it out"
    )


def test_a_run_on_other_items_is_refused(runs: dict[str, ArchivedRun]) -> None:
    other = archived(
        "mean_2",
        final=scattered(150, seed=3),
        settings={**CONTROL_SETTINGS, "seed": 2, "bridge.conditioning": "mean"},
        items=[f"other/{item}" for item in ITEMS],
        split="test",
    )
    assert refusal(runs | {"mean_2": other}) == (
        "run mean_2 was measured on other items than control_1234, so the two cannot be paired; evaluate "
        "both on the same items, or leave the row out"
    )


def test_a_run_that_did_not_finish_is_refused_with_its_cause(runs: dict[str, ArchivedRun]) -> None:
    settings = {**CONTROL_SETTINGS, "seed": 2, "bridge.conditioning": "mean"}
    cut = archived(
        "mean_2", final=None, curve=[scattered(100, seed=1)], settings=settings, status="truncated",
        reason="the log ends at step 520 of 2000",
    )  # fmt: skip
    assert refusal(runs | {"mean_2": cut}).startswith(
        "run mean_2 has no final score, truncated: the log ends at step 520 of 2000"
    )


def test_an_unknown_run_a_broken_seal_and_a_finding_are_refused(runs: dict[str, ArchivedRun]) -> None:
    row = SeedRow(label="Mean pooling", runs=("mean_1234", "mean_1", "mean_3"))
    assert refusal(runs, with_rows(row)).startswith("there is no preserved run 'mean_3'; did you mean 'mean_")
    broken = edited(runs["mean_1"], duration_seconds=1.0)
    broken = ArchivedRun(
        broken.manifest.model_copy(update={"seal": runs["mean_1"].manifest.seal}), broken.outcomes
    )
    assert refusal(runs | {"mean_1": broken}).startswith("run mean_1 has a broken seal (RK104)")
    wrong = Finding("RK201", "error", "mean_1", "train.log:7", "it is wrong.", "mend it.", None)
    assert refusal(runs, mean_1=wrong).startswith("run mean_1 has an error finding, RK201 at train.log:7")


def test_outcomes_that_count_differently_than_the_manifest_are_refused(runs: dict[str, ArchivedRun]) -> None:
    forged = ArchivedRun(runs["mean_1"].manifest, runs["mean_2"].outcomes)
    assert "the manifest says" in refusal(runs | {"mean_1": forged})


def test_frozen_models_that_measured_differently_are_shown_apart_and_not_tested(
    runs: dict[str, ArchivedRun],
) -> None:
    settings = {**CONTROL_SETTINGS, "seed": 2, "bridge.conditioning": "mean"}
    other = tuple(not hit if item == 0 else hit for item, hit in enumerate(TARGET))
    odd = archived("mean_2", final=scattered(150, seed=3), settings=settings, target=other, split="test")
    table = table_of(runs | {"mean_2": odd})
    assert [row.label for row in table.rows][:3] == ["Source alone", "Target (1)", "Target (2)"]
    assert row_of(table, "Target (1)").cells[3].lines == ()


TEXT = """
format = 1
kind = "seeds"
caption = "c"
label = "tab:s"
control = "A"
rows = [{ label = "A", runs = ["a", "b"] }]
"""


def test_a_specification_is_read_by_its_kind() -> None:
    assert is_seed_spec(TEXT, origin="s.toml")
    assert SeedTableSpec.parse_toml(TEXT, origin="s.toml").rows[0].runs == ("a", "b")
    assert not is_seed_spec(TEXT.replace('kind = "seeds"', ""), origin="s.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('label = "A"', 'lable = "A"', "there is no key 'rows.0.lable'; did you mean 'label'"),
        ('control = "A"', 'control = "B"', "the control 'B' is the label of no row"),
        ('["a", "b"]', '["a", "a"]', "run 'a' is given twice; a table names each of them once"),
        ('["a", "b"]', '["a"]', "rows.0.runs"),
        ("format = 1", "format =", "is not valid TOML"),
    ],
)
def test_a_bad_specification_is_refused_with_the_place(old: str, new: str, message: str) -> None:
    with pytest.raises(RecordInvalid) as caught:
        SeedTableSpec.parse_toml(TEXT.replace(old, new), origin="s.toml")
    assert "s.toml" in str(caught.value)
    assert message in str(caught.value)


def test_the_archive_of_these_tests_is_what_it_says(runs: dict[str, ArchivedRun]) -> None:
    assert {len(SOURCE), len(TARGET), *(len(run.outcomes["final"].items) for run in runs.values())} == {N}
    assert json.loads(runs["mean_1"].manifest.to_json())["sealed"]["configuration"]["effective"]["seed"] == 1
