"""The verb ``audit``: formats, exit status, and the document that is made from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
TEXT = """\
## `phase1_full_20251116_201212`

Final bridged accuracy 0.655, peak 0.680 at step 1500. It scores 0.9 elsewhere.
"""


def audit(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *arguments, "--workspace", str(ROOT)])
    return done.exit_code, done.stdout


@pytest.fixture
def report(tmp_path: Path) -> str:
    path = tmp_path / "report.md"
    path.write_text(TEXT)
    return str(path)


def test_a_contradicted_claim_is_underlined_with_the_truth_and_its_evidence(report: str) -> None:
    code, shown = audit(report, "--only", "contradicted")
    assert code == 1
    assert shown == (
        f"{report}:3:24: contradicted RK601 final.bridged_accuracy of phase1_full_20251116_201212\n"
        "  3 | Final bridged accuracy 0.655, peak 0.680 at step 1500. It scores 0.9 elsewhere.\n"
        "    |                        ^^^^^\n"
        "  archive: 0.645 (129/200) in the final evaluation\n"
        "  evidence: phase1_all_fix/eval_samples_step_final.jsonl; phase1_all_fix/train.log:3498\n"
        "\n"
        f"{shown.splitlines()[-1]}\n"
    )
    assert re.fullmatch(
        r"\d claims, \d+ runs: 1 contradicted, 2 supported, 1 unverifiable", shown.splitlines()[-1]
    )


def test_a_document_without_a_contradiction_is_clean(tmp_path: Path) -> None:
    path = tmp_path / "clean.md"
    path.write_text(TEXT.replace("0.655", "0.645"))
    code, _ = audit(str(path))
    assert code == 0


def test_json_has_each_claim_with_run_quantity_truth_and_code(report: str) -> None:
    code, shown = audit(report, "--format", "json")
    told = json.loads(shown)
    assert code == 1
    first = told["claims"][0]
    assert (
        first["line"],
        first["column"],
        first["run_id"],
        first["quantity"],
        first["verdict"],
        first["code"],
    ) == (
        3,
        24,
        "phase1_full_20251116_201212",
        "final.bridged_accuracy",
        "contradicted",
        "RK601",
    )
    assert told["summary"]["num_contradicted"] == 1
    assert [(one["rule"], one["severity"]) for one in told["findings"]][:1] == [("RK601", "error")]
    assert {one["severity"] for one in told["findings"][1:]} <= {"info"}


def test_github_annotations_name_file_line_and_columns(report: str) -> None:
    _, shown = audit(report, "--format", "github", "--only", "contradicted")
    assert shown == (
        f"::error file={report},line=3,col=24,endLine=3,endColumn=29,title=RK601 final.bridged_accuracy::"
        "0.655: the archive says: 0.645 (129/200) in the final evaluation; "
        "phase1_all_fix/eval_samples_step_final.jsonl; phase1_all_fix/train.log:3498\n"
    )


def test_sarif_has_the_rule_the_level_and_the_region(report: str) -> None:
    _, shown = audit(report, "--format", "sarif", "--only", "contradicted")
    (run,) = json.loads(shown)["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["RK601", "RK602", "RK604"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("RK601", "error")
    assert result["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 3,
        "startColumn": 24,
        "endLine": 3,
        "endColumn": 29,
    }


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "is no file; name the Markdown, LaTeX or text files to audit"),
        (lambda path: path.mkdir(), "is a folder; name the Markdown, LaTeX or text files to audit"),
        (
            lambda path: path.write_bytes(b"ab\xff"),
            "is not UTF-8: byte 2 cannot be decoded; save it as UTF-8",
        ),
    ],
)
def test_a_document_that_cannot_be_read_is_one_line(
    tmp_path: Path, make: Callable[[Path], object], sentence: str
) -> None:
    path = tmp_path / "doc.md"
    make(path)
    done = subprocess.run(
        [sys.executable, "-m", "runkit", "audit", str(path), "--workspace", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"runkit: {path} {sentence}\n")


def test_the_case_study_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "docs/case-study.md"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_case_study_quotes_as_wrong_is_wrong_and_what_it_says_instead_is_not() -> None:
    lines = (ROOT / "docs" / "case-study-claims.md").read_text(encoding="utf-8").splitlines()
    _, shown = audit(str(ROOT / "docs" / "case-study-claims.md"), "--format", "json")
    wrong = {claim["line"] for claim in json.loads(shown)["claims"] if claim["verdict"] == "contradicted"}
    written = {number for number, line in enumerate(lines, start=1) if line.startswith("- Written: ")}
    instead = {number for number, line in enumerate(lines, start=1) if line.startswith("  - Instead: ")}
    assert written <= wrong
    assert not instead & wrong
    assert len(written) == len(instead) == 16
