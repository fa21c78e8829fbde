"""The whole line for runs of any program: preserve, validate, lineage, diff, table and readme.

Binary, real and scalar metrics, higher or lower better, one system and three, one seed and three. Nothing is
told about the runs but what lies in their folders.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

import runkit
from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.workflows.lineage import suggested_relations
from runkit.workflows.preserve import PreserveRequest, preserve
from tests.render.test_tables_as_text import LatexFile, MarkdownFile

NUM_ITEMS = 40
SETTINGS = {"base": 0.1, "low": 0.01}


class Kind(NamedTuple):
    """How the runs of one experiment write what they measured."""

    write: Callable[[Path, random.Random, bool], None]
    """Into a run directory; with the draws of its seed, and whether it is the better setting."""
    measure: str
    """Selector of the column of the table."""


def answers(run: Path, draw: random.Random, is_better: bool) -> None:
    """Write answers beside the right ones, and no verdict."""
    golds, rows = random.Random("golds"), []
    for index in range(NUM_ITEMS):
        gold = str(golds.randrange(10, 99))
        is_right = draw.random() < (0.9 if is_better else 0.4)
        rows.append({"id": f"q{index}", "prediction": gold if is_right else "0", "gold": gold})
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def word_errors(run: Path, draw: random.Random, is_better: bool) -> None:
    """Write an error rate an item, where lower is better, for items that come in groups of four."""
    with (run / "per_sample.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "group", "wer"))
        for index in range(NUM_ITEMS):
            value = max(0.0, draw.gauss(0.2 if is_better else 0.5, 0.1))
            writer.writerow((f"clip{index}", f"speaker{index // 4}", round(value, 4)))


def one_number_lower(run: Path, draw: random.Random, is_better: bool) -> None:
    """Write one number a run, where lower is better."""
    value = round(draw.gauss(2.0 if is_better else 3.0, 0.1), 4)
    (run / "results.json").write_text(json.dumps({"housing": {"rmse": value}}))


def one_number_higher(run: Path, draw: random.Random, is_better: bool) -> None:
    """Write one number a run that is no fraction, where higher is better."""
    value = round(draw.gauss(31.4 if is_better else 28.0, 0.5), 2)
    (run / "results.json").write_text(json.dumps({"newstest": {"bleu": value}}))


def three_systems(run: Path, draw: random.Random, is_better: bool) -> None:
    """Write real scores of three systems with the functions of the package."""
    fixed = random.Random("references")
    for system, mean in (("small", 0.3), ("large", 0.6), ("model", 0.8 if is_better else 0.5)):
        use = draw if system == "model" else fixed
        values = {
            f"p{index}": round(min(1.0, max(0.0, use.gauss(mean, 0.1))), 4) for index in range(NUM_ITEMS)
        }
        runkit.items("f1", values, task="squad", split="dev", system=system)


KINDS = {
    "binary": Kind(answers, "exact_match"),
    "real_lower_in_clusters": Kind(word_errors, "wer"),
    "scalar_lower": Kind(one_number_lower, "housing/rmse"),
    "scalar_higher": Kind(one_number_higher, "newstest/bleu"),
    "real_three_systems": Kind(three_systems, "model:squad/f1"),
}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that we stand in."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(folder: Path, kind: Kind, setting: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder / "sweep" / f"{setting}-{seed}"
    run.mkdir(parents=True)
    monkeypatch.setenv("RUNKIT_RUN_DIRECTORY", str(run))
    config = {"optimizer": {"lr": SETTINGS[setting]}, "seed": seed, "output_dir": f"sweep/{setting}-{seed}"}
    (run / "config.json").write_text(json.dumps(config))
    kind.write(run, random.Random(f"{setting} {seed}"), setting == "low")


def told(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.output


def specification(kind: Kind, num_seeds: int) -> str:
    rows = []
    for label in SETTINGS:
        runs = ", ".join(f'"{label}-{seed}"' for seed in range(1, num_seeds + 1))
        rows.append(f'[[rows]]\nlabel = "{label}"\nruns = [{runs}]\n')
    head = 'format = 1\nkind = "measures"\ncaption = "Two settings."\nlabel = "tab:two"\ncontrol = "base"\n'
    return f'{head}[[measures]]\nmeasure = "{kind.measure}"\n{"".join(rows)}'


def suggestions(num_seeds: int) -> Iterator[str]:
    """Yield the relations that hold between the runs of a sweep."""
    for setting in SETTINGS:
        if setting == "low":
            yield "low-1 ablates base-1: optimizer.lr: 0.1 -> 0.01"
        for seed in range(2, num_seeds + 1):
            yield f"{setting}-{seed} replicates {setting}-1: only the seed differs (seed: 1 -> {seed})"


def without_digests(readme: str) -> str:
    """Return *readme* without digests and sizes: what the functions write says when, and by which process."""
    return re.sub(
        "[0-9a-f]{64}", "(digest)", re.sub(r"\([\d.]+ (?:B|KiB), sha256 [0-9a-f]{12}\)", "()", readme)
    )


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_any_experiment_goes_through_the_whole_line(
    name: str, num_seeds: int, sweep: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    kind = KINDS[name]
    for setting in SETTINGS:
        for seed in range(1, num_seeds + 1):
            run_of(sweep, kind, setting, seed, monkeypatch)
    monkeypatch.delenv("RUNKIT_RUN_DIRECTORY")
    num_runs = 2 * num_seeds
    assert f"{num_runs} preserved, 0 refused\n" in told("preserve", "sweep", "--each")

    assert ": 0 errors, 0 warnings, " in told("validate")
    proposed = told("lineage", "--suggest").splitlines()
    assert [line for line in proposed[:-1] if not line.startswith("  ")] == list(suggestions(num_seeds))
    for line in proposed:
        if line.startswith("  runkit note "):
            told(*line.split()[1:])
    assert told("lineage", "--suggest") == "0 relations proposed; nothing was noted\n"
    told("lineage", "--check")

    difference = told("diff", "low-1", "base-1")
    (sweep / "paper_tables").mkdir()
    (sweep / "paper_tables" / "two.toml").write_text(specification(kind, num_seeds))
    told("table")
    assert told("table", "--check") == "1 table checked: all as printed\n"
    told("readme")
    told("readme", "--check")
    assert ": 0 errors, 0 warnings, " in told("validate")

    printed = sweep / "paper_tables"
    assert (printed / "two.tex").read_text() == snapshot(extension_class=LatexFile, name="table")
    readme = without_digests((sweep / "preserved_runs" / "README.md").read_text())
    parts = (
        f"# diff low-1 base-1\n\n{difference[difference.index('scores:') :]}",
        f"# paper_tables/two.md\n\n{(printed / 'two.md').read_text()}",
        f"# preserved_runs/README.md\n\n{readme}",
    )
    assert "\n".join(parts) == snapshot(extension_class=MarkdownFile, name="line")


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        ('[[layouts]]\nconfig = ["config.py"]\n',
         "config.py is no JSON, YAML or TOML file; nothing of a run is executed to read it; write its "
         "settings as JSON, YAML or TOML"),
        ('[[layouts]]\nconfg = ["config.py"]\n',
         "runkit.toml, [[layouts]] is not a valid layout: there is no key 'confg'; did you mean 'config'"),
        ('[layouts]\nconfig = ["config.py"]\n',
         "runkit.toml, [[layouts]] should be a list of tables, each below a line [[layouts]]"),
        ("layouts = 3\n",
         "runkit.toml, [[layouts]] should be a list of tables, each below a line [[layouts]]"),
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_keeps_nothing(sweep: Path, layouts: str, message: str) -> None:
    run = sweep / "run"
    run.mkdir()
    (run / "config.py").write_text("import pathlib\npathlib.Path('executed').touch()\n")
    (sweep / "runkit.toml").write_text(layouts)
    assert told("preserve", "run", code=2) == f"runkit: {message}\n"
    assert not (sweep / "executed").exists()
    assert [path.name for path in sweep.rglob("run*.json")] == []
    assert not (sweep / "preserved_runs" / "run").exists()


def test_runs_that_measure_nothing_in_common_are_not_related(workspace: Workspace, tmp_path: Path) -> None:
    for name, rate, result in (("a", 1, {"accuracy": 0.5}), ("b", 2, {"wer": 0.2}), ("c", 3, {"wer": 0.3})):
        run = tmp_path / name
        run.mkdir()
        (run / "config.json").write_text(json.dumps({"rate": rate}))
        (run / "results.json").write_text(json.dumps(result))
        preserve(workspace, PreserveRequest(run))
    found = [(one.run_id, one.relation.kind, one.relation.run_id) for one in suggested_relations(workspace)]
    assert found == [("c", "ablates", "b")]
