"""Measures ``runkit preserve`` of a run with a large log, beside reading and hashing the same file.

Run it from a checkout::

    python benchmarks/logs.py [--mebibytes 200] [--rounds 3] [--folder DIR]

Three kinds of noise stand in a whole log: lines of a logger, lines of 2,000 short bars, and lines of 200 long
bars. The two ways alternate; printed are medians of the work (user and system time) and the largest memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BEFORE = b"==== Config ====\nlr: 0.1\ntrain_steps: 40\n\nWorld size: 1\n"
AFTER = (
    b"Step 40/40 | Loss (avg over last 20): 0.5\n"
    b"[Final Eval] Source-alone acc: 0.500 | Target-alone acc: 0.500 | Bridged acc: 1.000\n"
)
NOISE = {
    "lines of a logger": b"2026-01-02 03:04:05,678 - INFO - a.b - request handled".ljust(99, b".") + b"\n",
    "short bars": b"".join(b"\r%3d%%|####   | %4d/2000" % (part // 20, part) for part in range(2000)) + b"\n",
    "long bars": b"".join(
        b"\rEvaluating: %3d%%|%s| %d/200 [00:01<00:10, 3.21it/s, loss=0.5]"
        % (part // 2, (b"#" * 2 * part).ljust(400), part)
        for part in range(200)
    ) + b"\n",
}  # fmt: skip
FLOOR = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"


class Cost(NamedTuple):
    """What a program took."""

    seconds: float
    kibibytes: int


def cost(words: Sequence[str]) -> Cost:
    """Run a program and return its work and its largest memory."""
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss)


def write_run(run: Path, noise: bytes, mebibytes: int) -> Path:
    """Write a run whose log has *mebibytes* of *noise* after its settings, and return the log."""
    run.mkdir()
    log = run / "train.log"
    with log.open("wb") as file:
        file.write(BEFORE)
        for _ in range((mebibytes << 20) // len(noise)):
            file.write(noise)
        file.write(AFTER)
    return log


def main() -> None:
    """Print one line a kind of noise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mebibytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default: the system's")
    options = parser.parse_args()
    print("| noise | wanted | preserve, work | read and hash | ratio | memory | of it Python and packages |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, noise in NOISE.items():
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            log = write_run(Path(folder, "run"), noise, options.mebibytes)
            small = write_run(Path(folder, "small"), noise, 0)
            own, floor, empty = [], [], []
            for _ in range(options.rounds):
                floor.append(cost([sys.executable, "-c", FLOOR, str(log)]))
                for run, costs in ((log.parent, own), (small.parent, empty)):
                    workspace = Path(folder, "workspace")
                    workspace.mkdir()
                    words = ["-m", "runkit", "preserve", str(run), "--workspace", str(workspace)]
                    costs.append(cost([sys.executable, *words]))
                    shutil.rmtree(workspace)
        seconds, read = (statistics.median(one.seconds for one in costs) for costs in (own, floor))
        memory, start = (max(one.kibibytes for one in costs) / 1024 for costs in (own, empty))
        print(
            f"| {kind} | 10 s | {seconds:.1f} s | {read:.2f} s | {seconds / read:.0f} | {memory:.0f} MiB "
            f"| {start:.0f} MiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
