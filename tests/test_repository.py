"""The repository keeps its promises: its archive is whole, its generated files fresh, its paths its own."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from runkit.archive.reading import read_manifests
from runkit.archive.workspace import Workspace
from runkit.render.escaping import escaped_markdown

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = Workspace(ROOT)

CLUSTER_RUNS = {
    "ablB_20251116_234242",
    "ablC_20251117_013909",
    "phase1_full_20251116_201212",
    "phase2_swap_20251118_192955",
    "phase2_swap_20251118_213543",
}


def runkit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runkit", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


def findings(*arguments: str) -> Counter[tuple[str, str]]:
    done = runkit(*arguments, "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    return Counter((found["run_id"], found["rule"]) for found in json.loads(done.stdout)["findings"])


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_manifest_can_be_read_and_the_cluster_runs_are_among_them() -> None:
    folder = read_manifests(ARCHIVE)
    assert folder.unreadable == ()
    assert {manifest.run_id for manifest in folder.manifests} >= CLUSTER_RUNS
    own = [manifest for manifest in folder.manifests if manifest.sealed.provenance.reader == "runkit"]
    assert len(own) >= 3
    kept = {
        manifest.run_id
        for manifest in own
        if all(file.storage == "copy" for file in manifest.sealed.artifacts)
    }
    assert kept >= {"pocket", "pocket_mean_pool", "pocket_no_slots", "pocket_no_flow"}
    for manifest in own:  # what is not kept says which command writes it again
        assert manifest.run_id in kept or "`runkit train " in (manifest.sealed.artifacts_location or "")


def test_our_own_runs_are_whole_to_the_last_byte_and_without_a_warning() -> None:
    found = findings("validate")
    assert {key: count for key, count in found.items() if key[0] not in CLUSTER_RUNS} == {}


def test_the_findings_on_the_cluster_runs_are_these() -> None:
    found = {key: count for key, count in findings("validate").items() if key[1] != "RK410"}
    checkpoints = {(run_id, "RK107"): 1 for run_id in CLUSTER_RUNS}
    assert found == checkpoints | {
        ("phase1_full_20251116_201212", "RK108"): 1,
        ("phase2_swap_20251118_192955", "RK108"): 1,
        ("phase2_swap_20251118_192955", "RK206"): 2,
        ("phase2_swap_20251118_192955", "RK207"): 1,
        ("phase2_swap_20251118_213543", "RK207"): 1,
        ("phase2_swap_20251118_213543", "RK208"): 1,
        ("phase2_swap_20251118_213543", "RK301"): 1,
        ("phase2_swap_20251118_213543", "RK303"): 1,
        ("phase1_full_20251116_201212", "RK505"): 1,
        ("ablB_20251116_234242", "RK505"): 1,
        ("ablC_20251117_013909", "RK505"): 1,
        ("phase2_swap_20251118_192955", "RK505"): 1,
    }


def test_two_rows_of_the_cluster_ablation_are_no_ablations() -> None:
    found = findings("lineage")
    assert {key: count for key, count in found.items() if key[0] in CLUSTER_RUNS} == {
        ("ablB_20251116_234242", "RK401"): 1,
        ("ablC_20251117_013909", "RK401"): 1,
        ("ablB_20251116_234242", "RK501"): 1,
        ("ablC_20251117_013909", "RK501"): 1,
        ("ablB_20251116_234242", "RK406"): 1,
        ("ablC_20251117_013909", "RK406"): 2,
        ("ablB_20251116_234242", "RK409"): 1,
        ("phase2_swap_20251118_192955", "RK403"): 1,
        ("phase2_swap_20251118_192955", "RK407"): 1,
    }


@pytest.mark.seed
def test_the_referenced_files_are_the_ones_beside_the_checkout(seed_runs: Path) -> None:
    done = runkit("validate", "--references", str(seed_runs), "--format", "json", *sorted(CLUSTER_RUNS))
    summary = json.loads(done.stdout)
    assert {found["rule"] for found in summary["findings"]}.isdisjoint({"RK101", "RK102", "RK103", "RK104"})


@pytest.mark.parametrize("verb", ["table", "readme"])
def test_what_is_printed_from_the_archive_is_fresh(verb: str) -> None:
    done = runkit(verb, "--check")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("table", sorted(path.stem for path in (ROOT / "paper_tables").glob("*.toml")))
def test_no_note_of_a_table_has_a_backtick_which_latex_prints_as_a_quotation_mark(table: str) -> None:
    text = (ROOT / "paper_tables" / f"{table}.md").read_text(encoding="utf-8")
    notes = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(notes) >= 3
    assert [line for line in notes if "`" in line] == []


def test_the_readme_of_the_runs_leads_to_each_run_and_gives_each_reason_of_a_waiver() -> None:
    text = (ROOT / "preserved_runs" / "README.md").read_text(encoding="utf-8")
    manifests = read_manifests(ARCHIVE).manifests
    anchors = re.findall(r'<a id="run-([^"]+)"></a>', text)
    assert sorted(anchors) == sorted(manifest.run_id.lower() for manifest in manifests)
    assert set(re.findall(r"\]\(#run-([^)]+)\)", text)) <= set(anchors)
    for manifest in manifests:
        assert f"`{manifest.seal.digest}`" in text
        for waiver in manifest.notes.waivers:
            assert escaped_markdown(waiver.reason) in text


def test_the_readme_shows_the_help_and_the_table_of_today() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "README.md"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_large_and_no_text_names_a_path_of_one_machine() -> None:
    for path in tracked_files():
        content = path.read_bytes()
        assert len(content) < 10_000_000, path
        named = re.search(rb"(?<![\w.])/(?:work|root|home|users)/\w", content)
        assert named is None, (path, content[max(0, named.start() - 40) : named.end() + 40])


def test_every_link_of_the_readme_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text())
    assert [target for target in targets if not (ROOT / target).exists()] == []


LAB_WORDS = re.compile(r"\b(?:bridged|shuffled_source|dit_\w+)\b")
"""Words of one laboratory; source and target are everybody's, and are looked for as whole texts."""

STILL_BRIDGE = frozenset(
    {
        "checks/causes.py",
        "checks/checkpoints.py",
        "checks/claims.py",
        "checks/comparison.py",
        "checks/contrast.py",
        "checks/lineage.py",
        "checks/measurement.py",
        "checks/names.py",
        "checks/rulebook.py",
        "checks/statistics.py",
        "checks/suggest.py",
        "checks/unseeded.py",
        "cli/comparing.py",
        "cli/keeping.py",
        "cli/training.py",
        "records/format1.py",
        "records/manifest.py",
        "records/run_texts.py",
        "records/selector.py",
        "render/phrases.py",
        "tables/baselines.py",
        "tables/measured.py",
        "tables/notes.py",
    }
)
"""Modules that speak of bridge runs still, to be moved to scores; the list only becomes shorter."""


def test_no_further_room_learns_the_words_of_one_laboratory() -> None:
    found = set()
    for room in ("records", "stats", "checks", "tables", "render", "cli"):
        for path in sorted((ROOT / "runkit" / room).rglob("*.py")):
            texts = [
                node.value
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value
            ]
            if any(LAB_WORDS.search(text) or text in ("source", "target") for text in texts):
                found.add(path.relative_to(ROOT / "runkit").as_posix())
    assert found - {"records/protocols.py"} == STILL_BRIDGE
