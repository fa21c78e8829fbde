"""What several test files need: the seed runs when they are beside the checkout, and a small cluster run."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from runkit.archive.workspace import Workspace
from runkit.engine import arithmetic

# No deadline, because machines differ; the same examples every time, because main must not turn red by luck.
settings.register_profile("runkit", deadline=None, derandomize=True)
settings.load_profile("runkit")

arithmetic.settle("portable")  # before the first test that loads torch
# What runs of the suite read again is not kept for the next one; tests of the cache name a folder.
os.environ["RUNKIT_CACHE"] = ""

if shutil.which("nvidia-smi") is None:
    # Where there is no GPU, Triton's interpreter runs the kernels; it asks when triton is imported first.
    os.environ.setdefault("TRITON_INTERPRET", "1")

TAR_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11 knows filters from 3.11.4 on, and from 3.12 on warns where none is given."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


LONGEST_FIRST = (
    "engine/test_engine_pocket.py",
    "cli/test_launching.py",
    "workflows/test_demo.py",
    "cli/test_stopping.py",
    "archive/test_faults.py",
    "engine/test_engine_triton_attention.py",
    "engine/test_engine_world.py",
)
"""Files that take so long that a worker which began one of them last would work alone in the end."""

HAS_TORCH = find_spec("torch") is not None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Skip files that need the engine, with the reason, where torch is not installed."""
    report: pytest.CollectReport = yield  # type: ignore[misc,assignment]
    if report.failed and not HAS_TORCH and _WITHOUT_TORCH.search(str(report.longrepr)):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, NO_TORCH)
    return report  # type: ignore[return-value]


NO_TORCH = "Skipped: the engine is not installed; pip install 'runkit[engine]'"
_WITHOUT_TORCH = re.compile(
    "No module named '(torch|transformers|safetensors|tokenizers|accelerate|datasets|triton)[.\\w]*'"
)
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason=NO_TORCH.removeprefix("Skipped: "))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {Path(__file__).parent / name: at for at, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))
    for item in items:
        if not HAS_TORCH and Path(__file__).parent / "engine" in item.path.parents:
            item.add_marker(needs_torch)
    reason = "the seed runs are not beside the checkout (../shared/data/seed_runs.tar.xz)"
    if not (SHARED / "data" / "seed_runs.tar.xz").is_file():
        for item in items:
            if "seed" in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def seed_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the five seed runs, unpacked."""
    folder = tmp_path_factory.mktemp("seed")
    with tarfile.open(SHARED / "data" / "seed_runs.tar.xz") as archive:
        archive.extractall(folder, **TAR_FILTER)
    return folder


@pytest.fixture(scope="session")
def seed_oracle() -> dict[str, Any]:
    """Ground truth of the seed runs, by run id."""
    oracle: dict[str, Any] = json.loads((SHARED / "oracles" / "seed_runs.json").read_text())["runs"]
    return oracle


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    root = tmp_path / "workspace"
    root.mkdir()
    return Workspace(root)


SETTINGS = {
    "source_model": "org/Reader-7B",
    "target_model": "org/Writer-8B",
    "eval_prompt_mode": "soft_plus_text",
    "lr": "0.0001",
    "train_steps": "40",
    "per_device_batch": "2",
    "eval_every": "20",
    "eval_samples": "4",
    "log_dir": "runs/small_20260102_030405/inner",
    "save_path": "runs/small_20260102_030405/inner/checkpoint.pt",
    "dataset": "gsm8k",
    "decode_loss_weight": "0.0",
    "decode_interval": "200",
}

GOLDS = ("7", "12", "3", "40")


def dump_text(label: str, bridged: tuple[str, ...], golds: tuple[str, ...] = GOLDS) -> str:
    """Return a dump in which the source knows the first two answers and the target the last three."""
    source = (*golds[:2], "0", "[invalid]")
    target = ("1", *golds[1:])
    rows = [
        {
            "eval_step": label,
            "index": index,
            "question": f"Question {index}?",
            "gold_extracted": gold,
            "source_extracted": source[index],
            "target_extracted": target[index],
            "bridged_extracted": bridged[index],
        }
        for index, gold in enumerate(golds)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def accuracies(bridged: tuple[str, ...], golds: tuple[str, ...] = GOLDS) -> str:
    """Return the accuracies of such a dump as a log line gives them."""
    correct = sum(answer == gold for answer, gold in zip(bridged, golds, strict=True))
    return f"Source-alone acc: 0.500 | Target-alone acc: 0.750 | Bridged acc: {correct / len(golds):.3f}"


@pytest.fixture
def cluster_run(tmp_path: Path) -> Path:
    """A small whole run in the cluster's layout: 40 steps, evaluations at 0, 20, 40 and the final one."""
    root = tmp_path / "small_20260102_030405"
    inner = root / "inner"
    inner.mkdir(parents=True)
    answers = {
        "0": ("[invalid]", "0", "0", "0"),
        "20": ("7", "12", "3", "[invalid]"),
        "40": ("7", "12", "0", "40"),
        "final": ("7", "12", "0", "[invalid]"),
    }
    lines = ["  GPU 0: NVIDIA H100 80GB HBM3", "==== Config ===="]
    lines += [f"{key}: {value}" for key, value in SETTINGS.items()]
    lines += ["", "==== Reproducibility Settings ====", "World size: 1 (each rank samples different data)"]
    for label, bridged in answers.items():
        (inner / f"eval_samples_step_{label}.jsonl").write_text(dump_text(label, bridged))
        if label in {"20", "40"}:
            lines.append(f"Step {label}/40 | Loss (avg over last 20): 1.2500")
        lines.append(f"[Eval] Saved sample outputs to runs/x/eval_samples_step_{label}.jsonl")
        head = "[Final Eval]" if label == "final" else f"[Eval] Step {label} |"
        lines.append(f"{head} {accuracies(bridged)}")
    (inner / "train.log").write_text("\n".join(lines) + "\n")
    (root / "summary.log").write_text(
        "Run directory: runs/small_20260102_030405\nEnd time: Fri Jan  2 04:04:05 AM PST 2026\n"
    )
    return root
