"""A table over seeds printed from an archive on the disk: fresh, explained, stale or sabotaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.errors import TableRefused
from runkit.workflows.table import check_tables, explain_cell, render_table, write_table
from tests.tables.archiving import write_archive, write_run
from tests.tables.building import scattered
from tests.tables.seeding import SPEC_TEXT, seed_archive, trained


@pytest.fixture
def printed(workspace: Workspace) -> Workspace:
    write_archive(workspace, seed_archive().values())
    (workspace.paper_tables / "seeds.toml").write_text(SPEC_TEXT)
    write_table(workspace, "seeds")
    return workspace


def test_a_table_over_seeds_is_fresh_and_prints_the_same_bytes_again(printed: Workspace) -> None:
    names = ("seeds.tex", "seeds.md", "seeds.cells.json")
    before = {name: (printed.paper_tables / name).read_bytes() for name in names}
    assert check_tables(printed) == ()
    write_table(printed, "seeds")
    assert {name: (printed.paper_tables / name).read_bytes() for name in names} == before


def test_what_changed_comes_from_the_archived_configurations(printed: Workspace) -> None:
    assert "| Mean pooling | conditioning = mean | 62.5 " in render_table(printed, "seeds").files["seeds.md"]


def test_a_digit_that_was_edited_by_hand_is_found(printed: Workspace) -> None:
    path = printed.paper_tables / "seeds.md"
    path.write_text(path.read_text().replace("62.5", "63.5"))
    assert [(found.rule, found.place) for found in check_tables(printed)] == [
        ("RK603", "paper_tables/seeds.md:10")
    ]


def test_a_cell_leads_to_the_seal_of_every_run(printed: Workspace) -> None:
    lines = explain_cell(printed, "seeds", "Mean pooling", "difference").lines
    named = [line.split(",")[0] for line in lines if line.startswith("run ")]
    runs = ("mean_1234", "mean_1", "mean_2", "control_1234", "control_1", "control_2")
    assert named == [f"run {run}" for run in runs]


def test_a_changed_outcomes_file_of_any_seed_is_refused(printed: Workspace) -> None:
    path = printed.outcomes_path("mean_2")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(TableRefused, match=r"^run mean_2: manifests/mean_2\.outcomes\.parquet does not have"):
        render_table(printed, "seeds")


def test_a_run_of_another_configuration_under_a_seed_s_name_is_refused(printed: Workspace) -> None:
    odd = trained("mean_2", 2, scattered(150, seed=1), **{"bridge.conditioning": "attn_pool"})
    write_run(printed, odd)
    with pytest.raises(TableRefused, match=r"in more than their seed: bridge\.conditioning; give each"):
        render_table(printed, "seeds")


def test_other_tables_load_no_numerical_library() -> None:
    code = "import sys, runkit.workflows.table; sys.exit('scipy' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
