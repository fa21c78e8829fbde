"""Trains every pocket run of the archive again and seals it anew, with the notes that people wrote.

    python benchmarks/pocket_archive.py train --out FOLDER [--at-once N]
    python benchmarks/pocket_archive.py seal --runs FOLDER

Any x86-64 machine with AVX2 may train them (see ``runkit.engine.arithmetic``). Waivers are left out when a
run is sealed anew: they accept what was found in the numbers of before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runkit.archive.reading import read_manifests
from runkit.archive.workspace import Workspace
from runkit.records.capture import CAPTURE_FILE, RunCapture
from runkit.records.manifest import Manifest
from runkit.workflows.preserve import PreserveRequest, note, preserve

ROOT = Path(__file__).resolve().parents[1]


def pocket_runs() -> list[Manifest]:
    """Return the archived runs of the embedded pair that ``runkit train`` made, the longest first."""
    manifests = read_manifests(Workspace(ROOT)).manifests
    found = [one for one in manifests if one.sealed.provenance.reader == "runkit"]
    return sorted(found, key=lambda one: -(one.sealed.duration_seconds or 0.0))


def train(out: Path, *, at_once: int) -> list[str]:
    """Train the runs that are not below *out* yet, and return the ids of those that failed."""
    out.mkdir(parents=True, exist_ok=True)

    def trained(manifest: Manifest) -> int:
        argv = manifest.sealed.command.argv
        assert argv is not None, "runkit train records its command"
        above = os.environ.get("PYTHONPATH", "")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{above}", "OMP_NUM_THREADS": "1"}
        log = (out / f"{manifest.run_id}.out").open("wb")
        with log:
            command = [sys.executable, "-m", *argv]
            return subprocess.run(command, cwd=out, env=environment, stdout=log, stderr=log).returncode

    chosen = [one for one in pocket_runs() if not (out / "runs" / one.run_id).exists()]
    with ThreadPoolExecutor(at_once) as pool:
        codes = list(pool.map(trained, chosen))
    return [one.run_id for one, code in zip(chosen, codes, strict=True) if code != 0]


def seal(runs: Path) -> None:
    """Put the runs below *runs* in the place of the archived ones of the same id."""
    workspace = Workspace(ROOT)
    for before in pocket_runs():
        run = runs / before.run_id
        if not run.is_dir():
            print(f"kept as it is, since it was not trained again: {before.run_id}")
            continue
        storage = {artifact.storage for artifact in before.sealed.artifacts}
        workspace.manifest_path(before.run_id).unlink()
        workspace.outcomes_path(before.run_id).unlink(missing_ok=True)
        shutil.rmtree(workspace.preserved_runs / before.run_id, ignore_errors=True)
        preserve(
            workspace,
            PreserveRequest(
                run,
                run_id=before.run_id,
                artifacts="copy" if "copy" in storage else "reference",
                artifacts_location=f"not kept; `{_command(run)}` writes the dumps and checkpoints with these "
                "digests again",
            ),
        )
        kept = before.notes.model_copy(update={"waivers": ()})
        note(workspace, before.run_id, change=lambda _notes, kept=kept: kept)  # type: ignore[misc]


def _command(run: Path) -> str:
    capture = RunCapture.parse((run / CAPTURE_FILE).read_bytes(), origin=CAPTURE_FILE)
    return " ".join(capture.command.argv or ())


def main(arguments: Sequence[str]) -> int:
    """Do what *arguments* ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    sealing = verbs.add_parser("seal")
    sealing.add_argument("--runs", type=Path, required=True)
    asked = parser.parse_args(arguments)
    if asked.verb == "seal":
        seal(asked.runs)
        return 0
    failed = train(asked.out.resolve(), at_once=asked.at_once)
    print("failed:", ", ".join(failed) or "none")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
