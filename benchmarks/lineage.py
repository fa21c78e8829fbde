"""Measures ``runkit lineage --check`` over many manifests, beside reading the same manifests in full.

Run it from a checkout::

    python benchmarks/lineage.py [--manifests 10000] [--rounds 3]

The manifests are copies of a preserved run of this repository, each with an id, a configuration, digests and
relations of its own: one control, a quarter of the others ablate it, a quarter follow the run before, a
quarter replicate the control with another seed, and a quarter stand alone. They are written to a temporary
folder and read once before anything is timed, so that the disk's cache is warm. The two ways alternate and
have to find the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runkit.archive.workspace import Workspace
from runkit.records.finding import Finding
from runkit.records.record import canonical_digest
from runkit.workflows.lineage import check_lineage

ROOT = Path(__file__).resolve().parents[1]


def write_archive(folder: Path, num: int) -> int:
    """Write *num* manifests below *folder* and return their size in bytes."""
    pattern = json.loads((ROOT / "manifests" / "pocket.json").read_text())
    (folder / "manifests").mkdir()
    size = 0
    for index in range(num):
        text = json.dumps(_manifest(pattern, index), indent=2)
        (folder / "manifests" / f"{_name(index)}.json").write_text(text)
        size += len(text)
    return size


def _name(index: int) -> str:
    return f"run_{index:05d}"


def _manifest(pattern: dict[str, Any], index: int) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(json.dumps(pattern))
    sealed, relations = manifest["sealed"], []
    sealed["run_id"] = _name(index)
    sealed["provenance"]["logged_run_directory"] = _name(index)
    effective = sealed["configuration"]["effective"]
    kind = index % 4
    if index and kind == 1:
        effective["bridge.width"] = 64 + index
        relations = [{"kind": "ablates", "run_id": _name(0), "factors": ["bridge.width"]}]
    elif index and kind == 2:
        effective["optim.learning_rate"] = 0.001 * index
        relations = [{"kind": "follows", "run_id": _name(index - 1), "factors": []}]
    elif index and kind == 3:
        effective["seed"] = 10_000 + index
        relations = [{"kind": "replicates", "run_id": _name(0), "factors": []}]
    elif index:
        effective["train.steps"] = 1_000 + index
    sealed["configuration"]["effective_digest"] = canonical_digest(effective)
    for artifact in sealed["artifacts"]:
        artifact["sha256"] = canonical_digest([index, artifact["path"]])
    sealed["training"]["loss_values"] = [loss + index for loss in sealed["training"]["loss_values"]]
    manifest["seal"]["digest"] = canonical_digest(sealed)
    manifest["notes"]["relations"] = relations
    return manifest


def seconds(way: Callable[[], object]) -> float:
    """Return how long *way* takes."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def command(folder: Path) -> None:
    """Run the gate as a user does, from the start of Python to its exit status."""
    words = [sys.executable, "-m", "runkit", "lineage", "--check", "--workspace", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)


def codes(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Return what was found, without the words."""
    return [(finding.run_id, finding.rule) for finding in findings]


def main() -> None:
    """Print one Markdown table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--manifests", type=int, default=10_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_archive(folder, given.manifests)
        workspace = Workspace(folder)
        fast, full = check_lineage(workspace), check_lineage(workspace, in_full=True)
        if codes(fast.findings) != codes(full.findings):
            raise SystemExit("the two ways find different things")
        ways = {
            "every field of every manifest": lambda: check_lineage(workspace, in_full=True),
            "what relations are judged by": lambda: check_lineage(workspace),
            "the command, with the start of Python": lambda: command(folder),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(given.rounds):
            for way, run in ways.items():
                times[way].append(seconds(run))
    base = times["every field of every manifest"]
    print(
        f"| {given.manifests} manifests, {size / 1e6:.0f} MB, {len(fast.findings)} findings "
        "| s, median | ratio |"
    )
    print("| --- | --: | --: |")
    for way, measured in times.items():
        ratio = statistics.median(first / one for first, one in zip(base, measured, strict=True))
        print(f"| {way} | {statistics.median(measured):.2f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
