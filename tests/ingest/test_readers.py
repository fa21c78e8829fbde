"""Readers are registered by entry point, and a directory is known by what lies in it."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from runkit.errors import RunUnreadable, UnknownName, UsageError
from runkit.ingest.readers import BUILT_IN, ingest, reader_for, reader_names

ROOT = Path(__file__).resolve().parents[2]

FOREIGN = """
from runkit.ingest.cluster import READER as CLUSTER


class Reader:
    name = "my-layout"
    looks_for = "a file called mine"

    def can_read(self, root):
        return (root / "mine").is_file()

    def read(self, root, *, run_id, directory_name):
        return CLUSTER.read(root, run_id=run_id, directory_name=directory_name)


READER = Reader()
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that registers two readers, of which one cannot be loaded, as pip would install it."""
    site = tmp_path / "site"
    metadata = site / "my_layout-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "my_layout_reader.py").write_text(FOREIGN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-layout\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[runkit.readers]\nmy-layout = my_layout_reader:READER\nworn-out = my_layout_reader:GONE\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "my_layout_reader", raising=False)


def test_the_package_registers_the_readers_that_a_checkout_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["runkit.readers"] == BUILT_IN
    assert reader_names()[: len(BUILT_IN)] == tuple(BUILT_IN)
    for name, value in BUILT_IN.items():
        assert EntryPoint(name, value, "runkit.readers").load().name == name


@pytest.mark.usefixtures("installed")
def test_a_reader_of_another_package_reads_what_it_knows(cluster_run: Path) -> None:
    (cluster_run / "mine").touch()
    (cluster_run / "run.json").write_text("{}")  # now no reader of ours knows it
    assert reader_for(cluster_run, directory_name="x").name == "my-layout"
    assert ingest(cluster_run, run_id="x", directory_name="x").facts.status.value == "completed"


@pytest.mark.usefixtures("installed")
def test_two_readers_that_know_a_directory_are_a_question_and_not_a_guess(cluster_run: Path) -> None:
    (cluster_run / "mine").touch()
    with pytest.raises(UsageError) as caught:
        reader_for(cluster_run, directory_name="small")
    assert str(caught.value) == (
        "more than one reader knows small (bridge-cluster, my-layout); choose with --reader"
    )
    assert reader_for(cluster_run, directory_name="small", name="my-layout").name == "my-layout"


@pytest.mark.usefixtures("installed")
def test_a_reader_that_cannot_be_loaded_hides_no_other_one_and_is_named_when_nobody_knows(
    tmp_path: Path, cluster_run: Path
) -> None:
    assert reader_for(cluster_run, directory_name="small").name == "bridge-cluster"
    (tmp_path / "nothing").mkdir()
    with pytest.raises(
        RunUnreadable,
        match=r"no reader knows nothing.*my-layout looks for a file called mine; the reader worn-out of "
        r"my_layout_reader:GONE cannot be loaded: ",
    ):
        reader_for(tmp_path / "nothing", directory_name="nothing")


def test_an_unknown_reader_is_answered_with_the_nearest_one(cluster_run: Path) -> None:
    with pytest.raises(UnknownName, match=r"there is no reader 'comand'; did you mean 'command'"):
        ingest(cluster_run, run_id="x", directory_name="x", reader="comand")
