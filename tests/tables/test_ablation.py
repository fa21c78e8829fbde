"""What an ablation table prints, what it marks, and what it refuses to print."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.errors import TableRefused, UnknownName
from runkit.records.cells import ComparisonSource, MissingSource, PeakSource, ScoreSource, Table
from runkit.records.finding import Finding
from runkit.records.tablespec import FactorColumn
from runkit.stats.paired import mcnemar_exact
from runkit.stats.peak import corrected_peak
from runkit.tables.ablation import ablation_table
from runkit.tables.explaining import explain
from runkit.tables.guards import blocks_a_table
from runkit.tables.measured import ArchivedRun
from tests.tables.building import (
    CONTROL_SETTINGS,
    SOURCE,
    TARGET,
    ablation_archive,
    archived,
    edited,
    flipped,
    scattered,
)
from tests.tables.specs import cell_of, notes_of, row_of, spec_of

REPLICATES = frozenset({"again", "once_more"})


def table_of(runs: Mapping[str, ArchivedRun], *rows: str, **changes: object) -> Table:
    return ablation_table(spec_of(*rows, **changes), runs, replicates=REPLICATES, blocking={})


@pytest.fixture(scope="module")
def runs() -> dict[str, ArchivedRun]:
    return ablation_archive()


@pytest.fixture(scope="module")
def table(runs: dict[str, ArchivedRun]) -> Table:
    return table_of(runs)


def refusal(runs: Mapping[str, ArchivedRun], *rows: str, **changes: object) -> str:
    with pytest.raises((TableRefused, UnknownName)) as caught:
        table_of(runs, *rows, **changes)
    return str(caught.value)


def finding(rule: str, run_id: str = "mean", severity: str = "error", waived: str | None = None) -> Finding:
    return Finding(rule, severity, run_id, "train.log:7", "it is wrong.", "mend it.", waived)  # type: ignore[arg-type]


def test_a_row_prints_what_its_counts_give(table: Table) -> None:
    assert [cell.text for cell in row_of(table, "16 tokens").cells] == [
        "cross", "16", "✓", "79.5 [73.4, 84.5]", "+15.0 [9.2, 20.7]", "<0.001", "7.5", "68.0→63.4 @1500 of 9",
    ]  # fmt: skip


def test_every_number_has_a_source_with_run_seal_and_evidence(
    table: Table, runs: dict[str, ArchivedRun]
) -> None:
    for row in table.rows:
        for cell in row.cells:
            if cell.lines:
                assert cell.source is not None
                for run in cell.source.runs:
                    assert run.manifest_digest == runs[run.run_id].manifest.seal.digest
                assert row.run_id is None or cell.source.runs[0].run_id == row.run_id


def test_an_accuracy_leads_to_its_counts_and_its_log_line(table: Table) -> None:
    source = cell_of(table, "All fixes (control)", "accuracy").source
    assert isinstance(source, ScoreSource)
    assert (source.count, source.n, source.evaluation, source.split) == (129, 200, "final", "test")
    assert (source.estimator, source.evidence_kind, source.evidence) == (
        "wilson-95",
        "recomputed",
        "train.log:3498",
    )


def test_a_difference_is_that_of_the_paired_items(table: Table) -> None:
    source = cell_of(table, "Mean pooling", "difference").source
    assert isinstance(source, ComparisonSource)
    assert (source.both, source.only_row, source.only_control, source.neither) == (104, 9, 25, 62)
    assert [run.run_id for run in source.runs] == ["mean", "control"]
    assert source.p_exact == mcnemar_exact(9, 25)


def test_the_family_holds_the_tested_ablations_and_nothing_else(table: Table) -> None:
    sources = [cell_of(table, label, "p").source for label in ("Mean pooling", "16 tokens", "No KL")]
    assert all(
        isinstance(found, ComparisonSource) and found.family == ("mean", "wide", "no_kl") for found in sources
    )
    middle = sources[0]
    assert isinstance(middle, ComparisonSource)
    assert middle.p_holm == pytest.approx(2 * middle.p_exact)
    assert (
        "Holm-adjusted over the family of 3 rows tested here: “Mean pooling”, “16 tokens”, “No KL”."
        in notes_of(table)
    )


def test_a_replicate_stands_in_its_own_block_and_is_not_tested(table: Table) -> None:
    block = table.blocks[-1]
    assert block.title == "Replicates of All fixes (control): noise"
    assert [row.run_id for row in block.rows] == ["again", "once_more"]
    for row in block.rows:
        cells = dict(zip([column.key for column in table.columns], row.cells, strict=True))
        source = cells["difference"].source
        assert isinstance(source, ComparisonSource)
        assert (source.p_holm, source.family, cells["p"].text) == (None, (), "")
        assert f"{row.marks[0]}: Replicate of “All fixes (control)”" in notes_of(table)


def test_replicates_measure_the_noise_floor(table: Table) -> None:
    assert "Noise floor from 3 runs of one configuration: between two of them 12.7% of the items" in notes_of(
        table
    )


def test_a_run_that_was_cut_off_has_dashes_with_the_cause_and_still_a_peak(table: Table) -> None:
    cells = {
        column: cell_of(table, "No prompt alignment", column)
        for column in ("accuracy", "difference", "invalid")
    }
    assert {cell.lines for cell in cells.values()} == {("–",)}
    assert all(isinstance(cell.source, MissingSource) for cell in cells.values())
    mark = cells["accuracy"].marks[0]
    reason = "Truncated: the log ends at step 520 of 2000 without a final evaluation (train.log:1274)."
    assert f"{mark}: {reason}" in notes_of(table)
    assert cell_of(table, "No prompt alignment", "peak").text == "60.5→59.6 @500 of 3"


def test_a_peak_carries_its_steps_and_the_number_it_was_chosen_from(runs: dict[str, ArchivedRun]) -> None:
    tied = archived(
        "tied", final=scattered(50, seed=3), curve=[scattered(58, seed=seed) for seed in range(4)]
    )
    cell = cell_of(table_of({**runs, "tied": tied}, "control", "tied"), "tied", "peak")
    assert cell.lines == ("29.0→25.7", "@0, 250, …", "of 4")
    assert isinstance(cell.source, PeakSource)
    assert (cell.source.steps, cell.source.num_candidates, cell.source.count) == ((0, 250, 500, 750), 4, 58)


def test_the_notes_say_what_a_peak_is(table: Table) -> None:
    assert "Peak: the largest of K evaluations during training on the test split" in notes_of(table)
    assert "is no result at a fixed step" in notes_of(table)


def test_only_a_significant_best_row_is_bold(table: Table, runs: dict[str, ArchivedRun]) -> None:
    assert [row.label for row in table.rows if any(cell.is_bold for cell in row.cells)] == ["16 tokens"]
    without = table_of(runs, "control", "mean", "no_kl")
    assert not any(cell.is_bold for row in without.rows for cell in row.cells)
    assert (
        "No row is bold: the best is not better than the control at a Holm-adjusted p below 0.05."
        in notes_of(without)
    )


def test_a_gain_inside_the_noise_floor_is_not_bold() -> None:
    final = scattered(100, seed=1)
    runs = {
        "control": archived("control", final=final),
        "again": archived("again", final=flipped(final, lost=60, won=60)),
        "wide": archived("wide", final=flipped(final, lost=0, won=12), settings={"x": 1}),
    }
    printed = ablation_table(
        spec_of("control", "again", "wide", factors=()), runs, replicates=frozenset({"again"}), blocking={}
    )
    source = cell_of(printed, "16 tokens", "p").source
    assert isinstance(source, ComparisonSource)
    assert source.p_holm is not None
    assert source.p_holm < 0.05
    assert not cell_of(printed, "16 tokens", "accuracy").is_bold
    assert (
        "No row is bold: the best is not better than the control at a Holm-adjusted p below 0.05 and by more"
        in (notes_of(printed))
    )


def test_shared_baselines_are_one_row_each(table: Table) -> None:
    baselines = table.blocks[0].rows
    assert [row.label for row in baselines] == ["Source alone", "Target alone"]
    source = cell_of(table, "Source alone", "accuracy").source
    assert isinstance(source, ScoreSource)
    assert len(source.runs) == 7


def test_baselines_that_differ_are_separate_rows_that_name_their_runs(runs: dict[str, ArchivedRun]) -> None:
    moved = archived(
        "moved", final=scattered(120, seed=5), source=flipped(SOURCE, lost=5, won=0), target=TARGET
    )
    printed = table_of({**runs, "moved": moved}, "control", "mean", "moved")
    assert [row.label for row in printed.blocks[0].rows] == ["Source (1)", "Source (2)", "Target alone"]
    assert cell_of(printed, "Source (2)", "accuracy").lines[0] == "51.5"
    assert "Mistral-7B-Instruct-v0.3 alone, frozen; the baseline of “moved”." in notes_of(printed)


def test_a_factor_that_a_run_does_not_have_is_a_dash(runs: dict[str, ArchivedRun]) -> None:
    settings = {key: value for key, value in CONTROL_SETTINGS.items() if key != "bridge.num_tokens"}
    bare = archived("bare", final=scattered(120, seed=5), settings=settings)
    cell = cell_of(table_of({**runs, "bare": bare}, "control", "bare"), "bare", "bridge.num_tokens")
    assert cell.text == "–"
    assert cell.source is not None
    assert cell.source.kind == "setting"
    assert not cell.source.is_set


def test_the_specification_can_rename_values(runs: dict[str, ArchivedRun]) -> None:
    factors = (FactorColumn(key="loss.kl", label="KL", names={"true": "yes", "false": "no"}),)
    printed = table_of(runs, "control", "no_kl", factors=factors)
    assert [cell_of(printed, label, "loss.kl").text for label in ("All fixes (control)", "No KL")] == [
        "yes",
        "no",
    ]


def test_noise_is_said_to_be_seeded_only_where_it_was(runs: dict[str, ArchivedRun]) -> None:
    seeded = archived("seeded", final=scattered(120, seed=5), noise_draw=0)
    assert "Evaluation noise was not seeded." in notes_of(table_of(runs))
    both = table_of({**runs, "seeded": seeded}, "control", "seeded")
    assert "Evaluation noise was not seeded in “All fixes (control)”." in notes_of(both)
    alone = ablation_table(
        spec_of("seeded", control="seeded"), {"seeded": seeded}, replicates=frozenset(), blocking={}
    )
    assert "Evaluation noise was seeded (draw 0)." in notes_of(alone)


def test_a_table_without_ablations_says_that_nothing_is_tested(runs: dict[str, ArchivedRun]) -> None:
    assert "is given for no row, because no row is an ablation" in notes_of(
        table_of(runs, "control", "again")
    )


def test_a_control_that_is_no_row_is_refused(runs: dict[str, ArchivedRun]) -> None:
    assert refusal(runs, "mean", "wide") == (
        "the control control is not among the rows; add a row for it, or name one of the rows as control"
    )


def test_an_unknown_run_is_refused_with_the_nearest_one(runs: dict[str, ArchivedRun]) -> None:
    assert refusal(runs, "control", "no_kI").startswith(
        "there is no preserved run 'no_kI'; did you mean 'no_kl'"
    )


def test_a_misspelled_factor_is_refused_with_the_nearest_key(runs: dict[str, ArchivedRun]) -> None:
    factors = (FactorColumn(key="bridge.num_token", label="Tokens"),)
    assert "did you mean 'bridge.num_tokens'" in refusal(runs, "control", "mean", factors=factors)


def test_a_run_on_other_items_is_refused(runs: dict[str, ArchivedRun]) -> None:
    items = tuple(f"other/{index}" for index in range(200))
    other = archived("other", final=scattered(120, seed=5), items=items)
    assert "run other was measured on other items than the control" in refusal(
        {**runs, "other": other}, "control", "other"
    )


def test_a_control_without_a_final_evaluation_is_refused(runs: dict[str, ArchivedRun]) -> None:
    assert "the control cut_off has no final evaluation" in refusal(
        runs, "cut_off", "mean", control="cut_off"
    )


def test_a_run_with_an_error_finding_is_refused_with_code_and_way_out(runs: dict[str, ArchivedRun]) -> None:
    with pytest.raises(TableRefused) as caught:
        ablation_table(spec_of(), runs, replicates=REPLICATES, blocking={"mean": finding("RK201")})
    assert str(caught.value) == (
        "run mean has an error finding, RK201 at train.log:7: it is wrong; mend it, waive it in the "
        "notes with a reason, or leave the row out"
    )


@pytest.mark.parametrize(
    ("found", "is_replicate", "blocks"),
    [
        (finding("RK201"), False, True),
        (finding("RK201", waived="known"), False, False),
        (finding("RK207", severity="warning"), False, False),
        (finding("RK401"), True, False),
        (finding("RK402"), True, False),
        (finding("RK402"), False, True),
        (finding("RK301"), False, False),
        (finding("RK304"), False, True),
    ],
)
def test_an_unwaived_error_blocks_unless_it_is_shown_instead(
    found: Finding, is_replicate: bool, blocks: bool
) -> None:
    assert blocks_a_table(found, is_replicate=is_replicate) == blocks


def test_an_edited_manifest_is_refused(runs: dict[str, ArchivedRun]) -> None:
    broken = runs["mean"].manifest.model_copy(update={"sealed": runs["wide"].manifest.sealed})
    changed = {**runs, "mean": ArchivedRun(broken, runs["mean"].outcomes)}
    assert "has a broken seal (RK104)" in refusal(changed)


def test_outcomes_that_count_differently_are_refused(runs: dict[str, ArchivedRun]) -> None:
    swapped = {**runs, "mean": ArchivedRun(runs["mean"].manifest, runs["wide"].outcomes)}
    assert (
        "the outcomes of evaluation 'final' have 159 correct of 200 for bridged, the manifest says 113 of 200"
        in (refusal(swapped))
    )
    missing = {**runs, "mean": ArchivedRun(runs["mean"].manifest, {})}
    assert "the per-sample outcomes of evaluation 'final' are not in the archive" in refusal(missing)


def test_a_peak_that_is_not_the_maximum_is_refused(runs: dict[str, ArchivedRun]) -> None:
    metrics = tuple(
        metric.model_copy(update={"correct": 150, "value_fraction": 0.75})
        if metric.name == "peak.bridged"
        else metric
        for metric in runs["mean"].manifest.sealed.metrics
    )
    changed = {**runs, "mean": edited(runs["mean"], metrics=metrics)}
    assert (
        "the manifest gives a peak of 150 of 200 at steps (1500,), its evaluations give 136 of 200"
        in refusal(changed)
    )


def test_a_peak_that_was_only_logged_is_a_dash(runs: dict[str, ArchivedRun]) -> None:
    metrics = tuple(
        metric.model_copy(update={"evidence": "logged"}) if metric.name == "peak.bridged" else metric
        for metric in runs["mean"].manifest.sealed.metrics
    )
    printed = table_of({**runs, "mean": edited(runs["mean"], metrics=metrics)}, "control", "mean")
    assert cell_of(printed, "Mean pooling", "peak").text == "–"
    assert "The peak is only logged, and cannot be recomputed." in notes_of(printed)


def test_the_same_archive_gives_the_same_table(runs: dict[str, ArchivedRun], table: Table) -> None:
    assert table_of(dict(reversed(runs.items()))) == table


def test_a_cell_is_explained_down_to_its_log_line(table: Table, runs: dict[str, ArchivedRun]) -> None:
    explained = explain(table, "16 tokens", "Accuracy")
    assert explained.lines == (
        "16 tokens, accuracy: 79.5 [73.4, 84.5]",
        "bridged correct: 159 of 200 items, evaluation 'final', test split, noise not seeded",
        "interval wilson-95: [0.733743, 0.845138]",
        "evidence: recomputed from per-sample outcomes; logged at train.log:3498",
        f"run wide, manifests/wide.json, seal sha256 {runs['wide'].manifest.seal.digest}",
    )


@pytest.mark.parametrize("column", ["bridge.conditioning", "accuracy", "difference", "p", "invalid", "peak"])
@pytest.mark.parametrize("row", ["control", "mean", "cut_off", "again", "Source alone"])
def test_every_cell_can_be_explained(table: Table, row: str, column: str) -> None:
    assert len(explain(table, row, column).lines) >= 2


def test_a_misspelled_row_or_column_names_the_nearest(table: Table) -> None:
    with pytest.raises(UnknownName, match="did you mean '16 tokens'"):
        explain(table, "16 token", "accuracy")
    with pytest.raises(UnknownName, match="did you mean 'accuracy'"):
        explain(table, "16 tokens", "acuracy")


def test_a_completed_run_without_a_measured_final_gives_the_reason_of_that_evaluation(
    runs: dict[str, ArchivedRun],
) -> None:
    run = runs["no_kl"]
    *others, final = run.manifest.sealed.evaluations
    empty = final.model_copy(update={"systems": (), "missing_because": "the dump has no rows."})
    printed = table_of({**runs, "no_kl": edited(run, evaluations=(*others, empty))}, "control", "no_kl")
    assert cell_of(printed, "No KL", "accuracy").text == "–"
    assert "The dump has no rows (train.log:3498)." in notes_of(printed)


def test_a_run_without_any_outcomes_has_neither_peak_nor_baseline(runs: dict[str, ArchivedRun]) -> None:
    bare = archived("bare", final=None, status="crashed", reason="out of memory")
    printed = table_of({**runs, "bare": bare}, "control", "bare")
    assert [cell.text for cell in row_of(printed, "bare").cells[3:]] == ["–", "–", "", "–", "–"]
    assert "Crashed: out of memory (train.log:1274)." in notes_of(printed)
    assert "There is no such evaluation." in notes_of(printed)
    assert len(printed.blocks[0].rows) == 2


def test_evaluations_on_different_items_have_no_common_peak(runs: dict[str, ArchivedRun]) -> None:
    run = runs["no_kl"]
    first, *others = run.manifest.sealed.evaluations
    other_items = first.model_copy(update={"items_sha256": "0" * 64})
    printed = table_of({**runs, "no_kl": edited(run, evaluations=(other_items, *others))}, "control", "no_kl")
    assert cell_of(printed, "No KL", "peak").text == "–"
    assert "different items, so they have no common peak" in notes_of(printed)


def test_without_a_log_line_the_dump_is_the_evidence(runs: dict[str, ArchivedRun]) -> None:
    run = runs["no_kl"]
    *others, final = run.manifest.sealed.evaluations
    unlogged = final.model_copy(update={"log_line": None})
    printed = table_of({**runs, "no_kl": edited(run, evaluations=(*others, unlogged))}, "control", "no_kl")
    source = cell_of(printed, "No KL", "accuracy").source
    assert isinstance(source, ScoreSource)
    assert source.evidence == "eval_samples_step_final.jsonl"


@given(
    st.integers(0, 200),
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.integers(0, 40),
)
@settings(max_examples=15, deadline=None)
def test_what_is_printed_follows_from_the_counts_alone(correct: int, seed: int, lost: int, won: int) -> None:
    final = scattered(correct, seed=seed)
    lost, won = min(lost, correct), min(won, 200 - correct)
    runs = {
        "control": archived("control", final=final, invalid=0),
        "wide": archived("wide", final=flipped(final, lost=lost, won=won), settings={"x": 1}, invalid=0),
    }
    printed = table_of(runs, "control", "wide", factors=())
    accuracies = [
        Fraction(cell_of(printed, label, "accuracy").lines[0])
        for label in ("All fixes (control)", "16 tokens")
    ]
    assert accuracies == [Fraction(correct, 2), Fraction(correct - lost + won, 2)]
    difference = cell_of(printed, "16 tokens", "difference").lines[0].replace("−", "-")
    assert Fraction(difference) == accuracies[1] - accuracies[0]


def test_a_row_with_other_models_than_the_control_says_so(runs: dict[str, ArchivedRun]) -> None:
    swapped = archived("swapped", final=scattered(52, seed=3), models=("org/B", "org/A"))
    nameless = edited(archived("nameless", final=scattered(52, seed=3)), models=())
    printed = table_of(
        {**runs, "swapped": swapped, "nameless": nameless}, "control", "mean", "swapped", "nameless"
    )
    assert row_of(printed, "Mean pooling").marks == ()
    for label, names in (
        ("swapped", "source B, target A"),
        ("nameless", "source not recorded, target not recorded"),
    ):
        (mark,) = row_of(printed, label).marks
        assert f"{mark}: Other models than the control: {names}; no ablation of one factor." in notes_of(
            printed
        )
    assert "A frozen model alone; the baseline of “nameless”." in notes_of(printed).replace(
        " alone, frozen", " alone"
    )


def test_a_peak_is_corrected_by_items_that_did_not_choose_it(runs: dict[str, ArchivedRun]) -> None:
    curve = [scattered(58, seed=seed) for seed in range(4)]
    tied = archived("tied", final=scattered(50, seed=3), curve=curve)
    source = cell_of(table_of({**runs, "tied": tied}, "control", "tied"), "tied", "peak").source
    assert isinstance(source, PeakSource)
    expected = corrected_peak(curve, seed=0)
    assert source.corrected_fraction == pytest.approx(expected.corrected_fraction, abs=1e-9)
    assert source.corrected_fraction < 58 / 200
    assert source.degradation_p == 1.0
    alone = archived("alone", final=scattered(50, seed=3), curve=curve[:1])
    once = cell_of(table_of({**runs, "alone": alone}, "control", "alone"), "alone", "peak")
    assert isinstance(once.source, PeakSource)
    assert (once.source.corrected_fraction, once.lines[0]) == (None, "29.0")


def test_each_row_is_tested_against_the_two_models_alone(table: Table) -> None:
    told = next(note.text for note in table.notes if note.text.startswith("Against the target alone"))
    assert "(won:lost, exact McNemar, Holm-adjusted over 6 rows)" in told
    assert told.count("p ") >= 6
    assert any(note.text.startswith("Against the source alone") for note in table.notes)


def test_open_warnings_are_marked_in_their_row(runs: dict[str, ArchivedRun]) -> None:
    warnings = {"mean": ("RK206", "RK409"), "control": ()}
    spec = spec_of("control", "mean")
    printed = ablation_table(spec, runs, replicates=REPLICATES, blocking={}, warnings=warnings)
    marked = {row.run_id: row.marks for row in printed.rows if row.run_id}
    assert marked["control"] == ()
    note = next(note for note in printed.notes if note.mark == marked["mean"][-1])
    assert note.text == "Open warnings: RK206, RK409 (“runkit explain CODE” says what each one is)."


def test_a_peak_is_explained_with_what_it_is_worth(table: Table) -> None:
    lines = explain(table, "16 tokens", "peak").lines
    assert any(
        line.startswith("chosen on resampled items and scored on the others: 0.63") and "p " in line
        for line in lines
    )
