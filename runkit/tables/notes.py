"""What stands below a table, as sentences: what n, interval, test, family, peak and evidence are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from runkit.records.cells import NO_DIGITS, ComparisonSource, PeakSource, ScoreSource
from runkit.stats.noise import NoiseFloor
from runkit.stats.rounding import plain_points, points, pvalue
from runkit.tables.baselines import FrozenComparison
from runkit.tables.comparing import SIGNIFICANT_BELOW, Family
from runkit.tables.guards import WaivedError
from runkit.tables.measured import Files

DASH_SENTENCE = (
    f"{NO_DIGITS}: off or not set in a column of a factor; elsewhere not measured, for the reason given."
)


def evidence_sentence(files: Sequence[Files]) -> str:
    """Return what the counts were compared with, without its full stop.

    Args:
        files: Of each run of the table.
    """
    head = "every count is recomputed from archived per-sample outcomes"
    again = "compared with the kept logs and dumps, which were read again for this table and say the same"
    elsewhere = (
        "not in the archive and not compared here; "
        "“runkit validate --references” reads files by reference again"
    )
    num, counts = len(files), Counter(files)
    if counts["reread"] == num:
        return f"{head}, {again}"
    parts = [f"the outcomes of {counts['reread']} of {num} runs were {again}"] if counts["reread"] else []
    if counts["reference"]:
        whose = "logs and dumps are" if counts["reference"] == num else _of(counts["reference"], num)
        parts.append(f"{whose} {elsewhere}")
    if counts["lost"]:
        parts.append(
            f"kept files of {counts['lost']} of {num} runs are gone, so that not all of these was compared"
        )
    return "; ".join([head, *parts])


def _of(count: int, num: int) -> str:
    return f"logs and dumps of {count} of {num} runs are"


def accuracy_sentence(scores: Sequence[ScoreSource], files: Sequence[Files]) -> str:
    """Return what an accuracy is, with n, split and evidence."""
    measured = sorted({(score.n, score.split) for score in scores})
    sizes = " and ".join(f"n = {n} items of the {split} split" for n, split in measured)
    evidence = evidence_sentence(files)
    return (
        f"Accuracy and invalid answers: bridged, final evaluation, {sizes}; an invalid answer counts as "
        "wrong. Brackets: Wilson 95% intervals. "
        f"{evidence[:1].upper()}{evidence[1:]}."
    )


def baseline_sentence(model: str | None, labels: Sequence[str]) -> str:
    """Return which model a baseline is, and of which rows when not of all (*labels* is empty for all)."""
    name = "A frozen model alone" if model is None else f"{model} alone, frozen"
    rows = ", ".join(f"“{label}”" for label in labels)
    return f"{name}; the baseline of {rows}." if labels else f"{name}; the same counts in all rows."


def other_models_sentence(names: Mapping[str, str | None]) -> str:
    """Return that a row bridges other models than the control.

    Args:
        names: ``source`` and ``target`` to the names of their models.
    """
    source, target = (names[role] or "not recorded" for role in ("source", "target"))
    return f"Other models than the control: source {source}, target {target}; no ablation of one factor."


def comparison_sentence(family: Family, control: str, labels: Mapping[str, str]) -> str:
    """Return what a difference and its p-value are, and which rows the adjustment covers.

    Args:
        labels: Run id to the label of its row.
    """
    head = (
        f"Δ: row minus “{control}” on the same items, in points, with Newcombe's paired 95% interval. "
        "p: exact McNemar test, two-sided, "
    )
    if not family.tested:
        return (
            head
            + "is given for no row, because no row is an ablation of the control with a final evaluation."
        )
    named = ", ".join(f"“{labels[run_id]}”" for run_id in family.tested)
    size = len(family.tested)
    return (
        head + f"Holm-adjusted over the family of {size} row{'s' if size > 1 else ''} tested here: {named}."
    )


def discordance_sentence(family: Family, labels: Mapping[str, str]) -> str:
    """Return how many items only the row and only the control got right, for each compared row."""
    counts = ", ".join(
        f"“{labels[run_id]}” {found.only_row}:{found.only_control}" for run_id, found in family.by_run.items()
    )
    return f"Items that only the row against only the control answered correctly: {counts}."


def power_sentence(family: Family) -> str | None:
    """Return which difference the tested rows could have shown; None when nothing is insignificant."""
    sizes = [
        found.minimum_detectable_fraction
        for found in (family.by_run[run_id] for run_id in family.tested)
        if not _is_significant(found) and found.minimum_detectable_fraction is not None
    ]
    if not sizes:
        return None
    low, high = plain_points(min(sizes)), plain_points(max(sizes))
    span = low if low == high else f"{low} to {high}"
    return (
        f"Where p is not below {SIGNIFICANT_BELOW}, a single test at this n and discordance finds a "
        f"difference with 80% power only from {span} points on."
    )


def frozen_sentence(comparison: FrozenComparison) -> str:
    """Return how each row differs from one frozen model alone, with its counts and adjusted p."""
    found = "; ".join(
        f"“{label}” {points(counts.only_first - counts.only_second, counts.n)} points, "
        f"{counts.only_first}:{counts.only_second}, p {_told(p)}"
        for label, counts, p in comparison.rows
    )
    size = len(comparison.rows)
    return (
        f"Against the {comparison.system} alone, on the items of each row (won:lost, exact McNemar, "
        f"Holm-adjusted over {size} row{'s' if size > 1 else ''}): {found}."
    )


def _told(p: float) -> str:
    shown = pvalue(p)
    return shown if shown.startswith("<") else f"= {shown}"


def warnings_sentence(codes: Sequence[str]) -> str:
    """Return which warnings about a run nobody has waived."""
    plural = "s" if len(codes) > 1 else ""
    return f"Open warning{plural}: {', '.join(codes)} (“runkit explain CODE” says what each one is)."


def waived_sentences(waived: Sequence[WaivedError], labels: Sequence[str] = ()) -> Iterator[str]:
    """Yield which errors of a run a person accepted, as they were found, each reason once.

    Args:
        labels: What the run is called in the table, where no mark at a row says it.
    """
    of = f" of {', '.join(f'“{label}”' for label in labels)}" if labels else ""
    by_reason: dict[str, list[str]] = {}
    for one in waived:
        found = f"{one.rule} at {one.place}: {one.message.rstrip('.')}"
        by_reason.setdefault(one.reason.rstrip("."), []).append(found)
    for reason, found_ones in by_reason.items():
        plural = "s" if len(found_ones) > 1 else ""
        yield f"Waived error{plural}{of}, {'; '.join(found_ones)}. Accepted because: {reason}."


def peak_sentence(peaks: Sequence[PeakSource]) -> str | None:
    """Return what a peak is and is not; None when no row has one."""
    if not peaks:
        return None
    splits = " and ".join(sorted({peak.split for peak in peaks}))
    return (
        f"Peak: the largest of K evaluations during training on the {splits} split, in %, after @ its step. "
        "It was selected on the items that it is measured on, so it is too high on average and is no result "
        "at a fixed step; after the arrow (corr.) is what such a choice scores on items that it was not made "
        "on, from 2,000 bootstrap resamples."
    )


def noise_sentence(scores: Sequence[ScoreSource], labels: Mapping[str, str]) -> str:
    """Return whether the evaluation noise of the rows was seeded."""
    unseeded = [labels[score.runs[0].run_id] for score in scores if score.noise_draw is None]
    if not unseeded:
        draws = sorted({score.noise_draw for score in scores if score.noise_draw is not None})
        return f"Evaluation noise was seeded (draw {', '.join(map(str, draws))})."
    if len(unseeded) == len(scores):
        return "Evaluation noise was not seeded."
    return "Evaluation noise was not seeded in " + ", ".join(f"“{label}”" for label in unseeded) + "."


def floor_sentence(noise: NoiseFloor | None) -> str | None:
    """Return how far equal configurations differ by chance; None without replicates."""
    if noise is None:
        return None
    return (
        f"Noise floor from {noise.num_runs} runs of one configuration: between two of them "
        f"{plain_points(noise.flip_rate)}% of the items change, and 95% of differences are below "
        f"{plain_points(noise.floor_fraction)} points."
    )


def bold_sentence(is_any_bold: bool, noise: NoiseFloor | None) -> str:
    """Return what bold means, or why nothing is bold."""
    demand = f"better than the control at a Holm-adjusted p below {SIGNIFICANT_BELOW}"
    if noise is not None:
        demand += " and by more than the noise floor"
    if is_any_bold:
        return f"Bold: the best bridged row, {demand}."
    return f"No row is bold: the best is not {demand}."


def replicate_sentence(control: str) -> str:
    """Return why a row is a replicate and no ablation."""
    return (
        f"Replicate of “{control}”: its effective configuration equals the control's (RK401), so the row "
        "measures noise, not an ablation, and has no place in the family of tests."
    )


def _is_significant(comparison: ComparisonSource) -> bool:
    return comparison.p_holm is not None and comparison.p_holm < SIGNIFICANT_BELOW


def seeds_sentence(seeds: Sequence[int], *, n: int, split: str, files: Sequence[Files]) -> str:
    """Return what a bridged accuracy over seeds is, and that nothing but the seed differs within a row."""
    return (
        f"Bridged rows: one run for each of {len(seeds)} training seeds ({', '.join(map(str, seeds))}), "
        "which differ in nothing else, by their effective configurations. Accuracy and invalid answers: mean "
        f"over the seeds, final evaluation, n = {n} items of the {split} split, the same for all; an invalid "
        f"answer counts as wrong; {evidence_sentence(files)}. Min, max: of one seed."
    )


def seeds_interval_sentence() -> str:
    """Return what the intervals of a table over seeds cover."""
    return (
        "Brackets: 95% t intervals for other seeds and other items (two-way crossed variance components, "
        "Satterthwaite's degrees of freedom); of the frozen models alone, which no seed changes, Wilson's."
    )


def seeds_comparison_sentence(control: str, family: Sequence[str]) -> str:
    """Return what a difference over seeds is, and which rows the adjustment covers."""
    named = ", ".join(f"“{label}”" for label in family)
    return (
        f"Δ: row minus “{control}”, seed by seed and item by item, in points. p: t test with the same "
        f"standard error, two-sided, Holm-adjusted over the family of {len(family)} tested here: {named}."
    )
