"""A specification is read strictly, and a slip of the pen is named."""

from __future__ import annotations

import pytest

from runkit.errors import RecordInvalid
from runkit.records.tablespec import TableSpec

TEXT = """
format = 1
caption = "C"
label = "tab:a"
control = "r1"
[[rows]]
run = "r1"
label = "Control"
[[rows]]
run = "r2"
label = "Other"
[[factors]]
key = "bridge.num_tokens"
label = "Tokens"
"""


def refusal(text: str) -> str:
    with pytest.raises(RecordInvalid) as caught:
        TableSpec.parse_toml(text, origin="paper_tables/a.toml")
    return str(caught.value)


def test_a_good_specification_is_read() -> None:
    spec = TableSpec.parse_toml(TEXT, origin="paper_tables/a.toml")
    assert [row.run for row in spec.rows] == ["r1", "r2"]
    assert (spec.caption_side, spec.columns, spec.factors[0].key) == ("above", "one", "bridge.num_tokens")


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("caption =", "captoin =", "there is no key 'captoin'; did you mean 'caption'"),
        ('run = "r2"', 'rum = "r2"', "there is no key 'rows.1.rum'; did you mean 'run'"),
        ('key = "bridge', 'kye = "bridge', "there is no key 'factors.0.kye'; did you mean 'key'"),
        ("format = 1", "format = 1\nzzz = 2", "there is no key 'zzz'; known: format, caption, label"),
    ],
)
def test_a_misspelled_key_names_the_nearest(good: str, bad: str, message: str) -> None:
    assert refusal(TEXT.replace(good, bad)).startswith(
        f"paper_tables/a.toml is not a valid table spec: {message}"
    )


def test_what_is_no_toml_is_refused_with_its_place() -> None:
    assert refusal("format = = 1").startswith("paper_tables/a.toml is not valid TOML: ")


def test_a_missing_key_is_named() -> None:
    assert "control: field required" in refusal(TEXT.replace('control = "r1"', ""))


@pytest.mark.parametrize("label", ["tab:{a}", "a b", "tab:ü", "\\\\x"])
def test_a_label_that_latex_cannot_refer_to_is_refused(label: str) -> None:
    assert "label: string should match pattern" in refusal(TEXT.replace("tab:a", label))


def test_the_same_run_twice_is_refused() -> None:
    assert "run 'r1' is given twice" in refusal(TEXT.replace('run = "r2"', 'run = "r1"'))


def test_rows_that_are_not_tables_are_refused() -> None:
    assert "rows" in refusal(TEXT.split("[[rows]]")[0] + "rows = 3\n")
