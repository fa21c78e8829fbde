"""``summary.log`` in all the forms that the cluster wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.ingest.summary import EndTime, is_known_summary, read_end_time


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Mon Nov 17 01:39:08 PST 2025", EndTime("2025-11-17T01:39:08", "PST", 1)),
        ("Tue Nov 18 09:22:03 PM PST 2025", EndTime("2025-11-18T21:22:03", "PST", 1)),
        ("Tue Nov 18 12:05:00 AM PST 2025", EndTime("2025-11-18T00:05:00", "PST", 1)),
        ("Tue Nov 18 12:05:00 PM PST 2025", EndTime("2025-11-18T12:05:00", "PST", 1)),
        ("Fri Jan  2 04:04:05 AM CET 2026", EndTime("2026-01-02T04:04:05", "CET", 1)),
        ("Tue 18 Nov 2025 09:22:03 PM UTC", EndTime("2025-11-18T21:22:03", "UTC", 1)),
        ("2026-01-02T03:04:05+01:00", EndTime("2026-01-02T03:04:05+01:00", None, 1)),
        ("2026-01-02 03:04:05", EndTime("2026-01-02T03:04:05", None, 1)),
        ("Tue Nov 18 21:22:03 PM PST 2025", None),
        ("Tue Nov 31 09:22:03 PST 2025", None),
        ("Tue Foo 18 09:22:03 PST 2025", None),
        ("soon", None),
    ],
)
def test_an_end_time_is_read_in_each_known_form_and_no_other(written: str, expected: EndTime | None) -> None:
    assert read_end_time(f"End time: {written}\n") == expected


@pytest.mark.parametrize("num_lines", [0, 1, 2, 3])
def test_a_summary_may_have_any_of_its_three_lines(num_lines: int) -> None:
    lines = [
        "Run directory: runs/x\r",
        "End time: Mon Nov 17 01:39:08 PST 2025\r",
        "Logs: runs/x/train.log\r",
    ]
    end = read_end_time("\n".join(lines[:num_lines]))
    assert end == (EndTime("2025-11-17T01:39:08", "PST", 2) if num_lines >= 2 else None)


def test_a_summary_is_known_by_any_line_of_the_launch_script() -> None:
    assert is_known_summary("Run directory: runs/x\n")
    assert is_known_summary("Logs: runs/x/train.log\n")
    assert not is_known_summary("")
    assert not is_known_summary("all went well\n")


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    read_end_time(text)
    read_end_time(f"End time: {text}")
