"""What the archive costs, beside the floor of the disk and the tools of others, on the same files in one run.

Run it from a checkout::

    python benchmarks/archive.py [--folder DIR] [--rounds 3] [--dvc PATH/TO/dvc] [--large-mib 1024]

Each bar of the design is a row: what was expected, what came out. The ways that are compared alternate, so
that other work on the machine slows all of them; printed are medians, and the median of the rounds' ratios.
All times include the start of the program where a program is named.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NUM_SMALL, SMALL_BYTES = 10_000, 4096
VERBS = ("list", "validate", "verify", "lineage", "gc --dry-run", "explain RK401", "schema", "--help")


class Row(NamedTuple):
    """One line of the table of results."""

    what: str
    expected: str
    came_out: str


class Time(NamedTuple):
    """How long something took, waiting included, and what of it processors worked."""

    wall: float
    cpu: float


def seconds(way: Callable[[], object]) -> Time:
    """Return how long *way* takes, with all programs that it starts."""
    before, started = os.times(), time.perf_counter()
    way()
    wall, after = time.perf_counter() - started, os.times()
    return Time(wall, sum(after[:4]) - sum(before[:4]))


def median(times: list[Time]) -> str:
    """Return the medians, for the table."""
    wall, cpu = (statistics.median(found) for found in zip(*times, strict=True))
    return f"{wall:.2f} s ({cpu:.2f} s of work)"


def alternating(rounds: int, ways: dict[str, Callable[[], Time]]) -> dict[str, list[Time]]:
    """Return the seconds that each way says, round by round, the ways in turn."""
    times: dict[str, list[Time]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
    return times


def command(*words: str | Path, cwd: Path | None = None) -> None:
    """Run a program; stop when it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stderr}")


def runkit(*words: str | Path, workspace: Path | None = None) -> None:
    """Run runkit as a user does."""
    where = ["--workspace", workspace] if workspace is not None else []
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "runkit", *map(str, words), *map(str, where)],
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1) or done.stderr:
        raise SystemExit(f"runkit {' '.join(map(str, words))}: {done.returncode} {done.stderr}")


def a_run(folder: Path) -> Path:
    """Make the smallest whole run."""
    folder.mkdir(parents=True)
    (folder / "train.log").write_text(
        "==== Config ====\nsource_model: a\ntarget_model: b\ntrain_steps: 20\ndataset: gsm8k\n\n"
        "==== Reproducibility Settings ====\nStep 20/20 | Loss (avg over last 20): 1.0\n"
        "[Final Eval] Source-alone acc: 1.000 | Target-alone acc: 0.000 | Bridged acc: 1.000\n"
    )
    row = {"eval_step": "final", "index": 0, "question": "Q?", "gold_extracted": "7", "source_extracted": "7",
           "target_extracted": "1", "bridged_extracted": "7"}  # fmt: skip
    (folder / "eval_samples_step_final.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def many_small(folder: Path) -> Path:
    """Make a run with 10,000 different files of 4 KiB in 100 folders."""
    run = a_run(folder)
    for number in range(NUM_SMALL):
        path = run / f"part{number % 100}" / f"{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(SMALL_BYTES))
    return run


def one_large(folder: Path, mebibytes: int) -> Path:
    """Make a run with one checkpoint of random bytes."""
    run = a_run(folder)
    with (run / "checkpoint.pt").open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    return run


def floor_seconds(run: Path, target: Path) -> Time:
    """Return the time of one read, hash and copy of each file and one flush at the end: no tool does less."""

    def way() -> None:
        for path in run.rglob("*"):
            if path.is_file():
                copy = target / path.relative_to(run)
                copy.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with path.open("rb", buffering=0) as reader, copy.open("wb", buffering=0) as writer:
                    while chunk := reader.read(1 << 20):
                        digest.update(chunk)
                        writer.write(chunk)
        os.sync()

    found = seconds(way)
    shutil.rmtree(target)
    return found


class Contest:
    """The same files taken in by several tools."""

    def __init__(self, run: Path, scratch: Path, dvc: Path | None) -> None:
        self.run, self.scratch, self.dvc = run, scratch, dvc

    def preserve(self) -> Time:
        """Preserve the run into a new archive."""
        return self._runkit("preserve")

    def _runkit(self, *words: str) -> Time:
        workspace = self.scratch / "workspace"
        workspace.mkdir()
        os.sync()
        found = seconds(lambda: runkit(*words, self.run, "--run-id", "run", workspace=workspace))
        self.last = workspace
        shutil.rmtree(self.scratch / "kept", ignore_errors=True)
        workspace.rename(self.scratch / "kept")
        return found

    def verify(self) -> Time:
        """Hash what was preserved again."""
        return seconds(lambda: runkit("verify", workspace=self.scratch / "kept"))

    def floor(self) -> Time:
        """Read, hash, copy, flush."""
        os.sync()
        return floor_seconds(self.run, self.scratch / "floor")

    def copied(self) -> Time:
        """Copy with cp and flush."""
        os.sync()
        target = self.scratch / "cp"
        found = seconds(lambda: (command("cp", "-r", self.run, target), os.sync()))
        shutil.rmtree(target)
        return found

    def sha256sum(self) -> Time:
        """Hash with the shell's tool, in one process."""
        files = sorted(path for path in self.run.rglob("*") if path.is_file())
        listing = "\0".join(map(str, files))
        return seconds(
            lambda: subprocess.run(
                ["xargs", "-0", "sha256sum"], input=listing, text=True, stdout=subprocess.DEVNULL, check=True
            )
        )

    def dvc_add(self) -> Time:
        """Add the same files to a new DVC repository."""
        repository = self.scratch / "dvc"
        shutil.rmtree(repository, ignore_errors=True)
        repository.mkdir()
        shutil.copytree(self.run, repository / "run")
        command(str(self.dvc), "init", "--no-scm", "-q", cwd=repository)
        os.sync()
        return seconds(lambda: (command(str(self.dvc), "add", "-q", "run", cwd=repository), os.sync()))

    def dvc_status(self) -> Time:
        """Ask DVC whether anything changed; it trusts dates and sizes."""
        return seconds(lambda: command(str(self.dvc), "status", cwd=self.scratch / "dvc"))

    def ways(self) -> dict[str, Callable[[], Time]]:
        """Return all ways, those of DVC where it is installed."""
        own = {"floor": self.floor, "preserve": self.preserve, "verify": self.verify, "cp -r": self.copied,
               "sha256sum": self.sha256sum}  # fmt: skip
        return own | ({"dvc add": self.dvc_add, "dvc status": self.dvc_status} if self.dvc else {})


def contest_rows(name: str, contest: Contest, rounds: int, expected: dict[str, str]) -> Iterator[Row]:
    """Yield what each way took on these files."""
    times = alternating(rounds, contest.ways())
    pairs = list(zip(times["preserve"], times["floor"], strict=True))
    ratio = statistics.median(own.wall / floor.wall for own, floor in pairs)
    for way, found in times.items():
        shown = median(found) + (f", {ratio:.2f} times the floor" if way == "preserve" else "")
        yield Row(f"{name}: {way}", expected.get(way, ""), shown)


def startup_rows(scratch: Path, rounds: int) -> Iterator[Row]:
    """Yield how long each verb takes on an archive of one small run, and Python itself."""
    workspace = scratch / "one"
    workspace.mkdir()
    runkit("preserve", a_run(scratch / "one-run"), workspace=workspace)
    ways: dict[str, Callable[[], Time]] = {
        "python -c pass": lambda: seconds(lambda: command(sys.executable, "-c", "pass"))
    }
    for verb in VERBS:
        words = verb.split()
        here = None if words[0] in {"schema", "--help", "explain"} else workspace
        ways[verb] = lambda words=words, here=here: seconds(lambda: runkit(*words, workspace=here))
    for verb, found in alternating(rounds, ways).items():
        expected = "" if verb.startswith("python") else "0.25 s"
        yield Row(f"start-up: {verb}", expected, median(found))


def many_manifests(folder: Path, count: int, template: Path) -> Path:
    """Make an archive of *count* runs with the manifest *template*, related in a tree."""
    sys.path.insert(0, str(ROOT))
    from runkit.archive.workspace import Workspace
    from runkit.records.manifest import Manifest, Relation

    sample = Manifest.parse(template.read_bytes(), origin=str(template))
    workspace = Workspace(folder)
    workspace.manifests.mkdir(parents=True)
    workspace.preserved_runs.mkdir()
    for number in range(count):
        run_id = f"run{number:05}"
        facts = sample.sealed.model_copy(update={"run_id": run_id, "outcomes": None})
        relations = (Relation(kind="follows", run_id=f"run{number // 10:05}"),) if number else ()
        notes = sample.notes.model_copy(update={"relations": relations})
        workspace.manifest_path(run_id).write_text(Manifest.sealing(facts, notes).to_json())
    return workspace.root


def manifest_rows(scratch: Path, rounds: int, counts: tuple[int, int]) -> Iterator[Row]:
    """Yield how long many manifests take: small ones of a run with one evaluation, and those of `pocket`."""
    small = scratch / "one" / "manifests" / "one-run.json"
    pocket = ROOT / "manifests" / "pocket.json"
    for name, template, numbers in (("small", small, counts), ("pocket", pocket, counts[:1] * 2)):
        validated, related = (
            many_manifests(scratch / f"{name}-{verb}", number, template)
            for verb, number in zip(("validate", "lineage"), numbers, strict=True)
        )
        size = f"{template.stat().st_size / 1000:.1f} kB each"
        ways = {
            f"validate --no-rehash of {numbers[0]:,} manifests, {size}": (
                "validate",
                "--no-rehash",
                validated,
            ),
            f"lineage over {numbers[1]:,} runs, {size}": ("lineage", related),
        }
        times = alternating(
            rounds,
            {
                what: lambda words=words[:-1], here=words[-1]: seconds(lambda: runkit(*words, workspace=here))
                for what, words in ways.items()
            },
        )
        for (what, found), bar in zip(times.items(), ("2 s", "1.5 s"), strict=True):
            yield Row(what, bar if name == "small" else "", median(found))


def main() -> None:
    """Measure everything and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default: the system's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dvc", type=Path, default=None, help="the dvc program, installed apart")
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--manifests", type=int, nargs=2, default=(1000, 10_000))
    options = parser.parse_args()
    dvc = options.dvc
    if dvc is None or not dvc.is_file():
        print("DVC is not compared: no program given with --dvc" if dvc is None else f"there is no {dvc}")
        dvc = None
    elif dvc is not None:
        dvc = dvc.absolute()
        version = subprocess.run(
            [dvc, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
        print(f"DVC {version}")
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
          f"{platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        scratch = Path(folder)
        print("| what | bar | came out |\n| --- | --- | --- |")
        for row in all_rows(scratch, options, dvc):
            print(f"| {row.what} | {row.expected} | {row.came_out} |", flush=True)


def all_rows(scratch: Path, options: argparse.Namespace, dvc: Path | None) -> Iterator[Row]:
    """Yield every row."""
    yield from startup_rows(scratch, options.rounds)
    small = Contest(many_small(scratch / "small"), scratch, dvc)
    yield from contest_rows(f"{NUM_SMALL:,} files of 4 KiB", small, options.rounds, {"preserve": "8 s"})
    large = Contest(one_large(scratch / "large", options.large_mib), scratch, dvc)
    yield from contest_rows(
        f"one file of {options.large_mib} MiB", large, options.rounds, {"preserve": "1.3 times the floor"}
    )
    yield from manifest_rows(scratch, options.rounds, tuple(options.manifests))


if __name__ == "__main__":
    main()
