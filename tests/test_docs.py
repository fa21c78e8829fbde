"""What the documents show is what happens."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from runkit.errors import RunUnreadable
from runkit.ingest.source import FoundFacts, Source, read_with

DOCUMENT = Path(__file__).parents[1] / "docs" / "write-a-source.md"


def block(language: str) -> str:
    """Return the one block of the document in *language*."""
    [found] = re.findall(
        rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(found)


@pytest.fixture(scope="module")
def source() -> Source:
    module = ModuleType("scores_log")
    exec(compile(block("python"), str(DOCUMENT), "exec"), module.__dict__)
    made: Source = module.SOURCE
    return made


def found_in(source: Source, root: Path, text: str) -> FoundFacts:
    (root / "scores.log").write_text(text)
    [found] = read_with([source], root)
    return found


def test_the_example_of_a_source_has_at_most_35_lines_of_code() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 35


def test_the_example_of_a_source_reads_the_file_that_stands_beside_it(source: Source, tmp_path: Path) -> None:
    found = found_in(source, tmp_path, block("text"))
    assert found.parameters == {"lr": "0.01", "seed": "3"}
    [score] = found.scores
    assert (score.name, score.value, score.n, score.evidence) == ("squad/f1@final", 0.75, 2, "per_sample")
    assert (score.metric.direction, score.metric.unit) == ("higher", "fraction")
    assert found.notices == []


def test_the_example_of_a_source_tells_what_it_does_not_take(source: Source, tmp_path: Path) -> None:
    found = found_in(source, tmp_path, "# seed=3\nsquad f1 q1 0.5\nsquad f1 q1 1.0\nsquad f1\n")
    assert [(one.kind, one.line, one.message) for one in found.notices] == [
        ("unreadable", 3, "'squad f1 q1 1.0' is no new item"),
        ("unreadable", 4, "'squad f1' is no new item"),
    ]


def test_a_value_that_is_not_finite_is_counted_and_in_no_mean(source: Source, tmp_path: Path) -> None:
    found = found_in(source, tmp_path, "# seed=3\nsquad f1 q1 0.5\nsquad f1 q2 nan\nsquad f1 q3 1.0\n")
    [score] = found.scores
    assert (score.value, score.n, dict(score.missing_values)) == (0.75, 2, {"nan": "1"})
    assert [one.message for one in found.notices] == ["scores.log: f1 of 1 nan is no finite number"]


def test_a_source_that_stumbles_is_named_in_one_line(source: Source, tmp_path: Path) -> None:
    with pytest.raises(RunUnreadable) as caught:
        found_in(source, tmp_path, "# seed=3\nsquad f1 q1 high\n")
    assert str(caught.value) == (
        "the source scores-log cannot read scores.log, one line an item: could not convert string to float: "
        "'high'"
    )


def test_a_folder_without_the_file_is_no_run_of_the_example(source: Source, tmp_path: Path) -> None:
    assert read_with([source], tmp_path) == []


def test_the_entry_point_of_the_example_names_the_group_that_is_read() -> None:
    from runkit.ingest.sources import GROUP

    assert block("toml").startswith(f'[project.entry-points."{GROUP}"]\n')
    assert sys.modules.get("scores_log") is None
