"""The text files of a run directory, in the formats that outlive this program; it knows no tensor.

``train.log`` keeps the line formats of the runs that runkit was first made for, so that one reader reads
old and new. No line holds a clock, a host name or a path outside the run directory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from runkit.engine.checkpoint import write_whole
from runkit.errors import RunUnreadable, StorageFailed

_SPOKEN = {"source_alone": "Source-alone", "target_alone": "Target-alone", "bridged": "Bridged"}
_LOG, _METRICS = "train.log", "metrics.jsonl"
_DUMP = re.compile(r"eval_samples_step_(\d+|final)\.jsonl")


class Sizes(NamedTuple):
    """How far the files that grow had grown, in bytes."""

    log: int
    metrics: int


class RunFiles:
    """Appends to the log and the metrics and writes whole files, all inside one directory.

    Of several processes of a run one is the writer; in the others everything here does nothing.
    """

    def __init__(self, run_dir: Path, *, is_writer: bool = True) -> None:
        self.run_dir = run_dir
        self.is_writer = is_writer

    def log(self, line: str) -> None:
        """Append one line to ``train.log``, which is closed again when this returns."""
        self._append(_LOG, line + "\n")

    def log_config(self, flat: Mapping[str, object]) -> None:
        """Open the log with the effective configuration."""
        lines = [
            f"{key}: {json.dumps(value) if isinstance(value, str) else value}" for key, value in flat.items()
        ]
        self._append(_LOG, "\n".join(["==== Config ====", *lines, "", ""]))

    def metrics(self, row: Mapping[str, object]) -> None:
        """Append one row to ``metrics.jsonl``."""
        self._append(_METRICS, json.dumps(row) + "\n")

    def samples(self, step: str, rows: Iterable[Mapping[str, object]]) -> str:
        """Write one evaluation's dump and return its file name."""
        name = f"eval_samples_step_{step}.jsonl"
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._write(name, text)
        return name

    def config(self, content: Mapping[str, Any]) -> None:
        """Write ``config.json``."""
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        self._write("config.json", text)

    def summary(self, *, run_id: str, ended: datetime) -> None:
        """Write ``summary.log``, the last file of a run that came to its end."""
        text = f"Run directory: {run_id}\nEnd time: {ended.isoformat(timespec='seconds')}\nLogs: train.log\n"
        self._write("summary.log", text)

    def flushed(self) -> Sizes:
        """Return the sizes of the log and the metrics, once that much is safe on the disk."""
        return Sizes(self._flushed(_LOG), self._flushed(_METRICS))

    def assert_reaches(self, sizes: Sizes) -> None:
        """Do nothing if the log and the metrics are at least as long as *sizes*.

        Raises:
            RunUnreadable: Somebody shortened one of them.
        """
        for name, size in zip((_LOG, _METRICS), sizes, strict=True):
            path = self.run_dir / name
            found = path.stat().st_size if path.is_file() else 0
            if found < size:
                raise RunUnreadable(
                    f"{name} of {self.run_dir.name} has {found} bytes, and its saved state is of {size}: "
                    "somebody changed it, so the run cannot be resumed"
                )

    def cut_back(self, sizes: Sizes, *, step: int) -> None:
        """Remove what was written after *step*: ends of the growing files, dumps, what was half-written."""
        if not self.is_writer:
            return
        try:
            for name, size in zip((_LOG, _METRICS), sizes, strict=True):
                if (self.run_dir / name).is_file():
                    os.truncate(self.run_dir / name, size)
            for path in self.run_dir.iterdir():
                label = _DUMP.fullmatch(path.name)
                if label and (label[1] == "final" or int(label[1]) > step):
                    path.unlink()
            for path in [*self.run_dir.rglob(".*.tmp"), self.run_dir / "summary.log"]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"cannot cut back {self.run_dir.name}: {error.strerror}") from error

    def _flushed(self, name: str) -> int:
        if not (self.run_dir / name).is_file():
            return 0
        try:
            with (self.run_dir / name).open("rb") as opened:
                os.fsync(opened.fileno())
                return os.fstat(opened.fileno()).st_size
        except OSError as error:
            raise StorageFailed(f"cannot write {name}: {error.strerror}") from error

    def _write(self, name: str, text: str) -> None:
        if self.is_writer:
            write_whole(self.run_dir / name, text.encode())

    def _append(self, name: str, text: str) -> None:
        if not self.is_writer:
            return
        path = self.run_dir / name
        size = path.stat().st_size if path.is_file() else 0
        try:
            with path.open("a", encoding="utf-8") as opened:
                opened.write(text)
        except OSError as error:
            with suppress(OSError):
                os.truncate(path, size)
            raise StorageFailed(f"cannot write {name}: {error.strerror}") from error


def accuracy_line(accuracy_fractions: Mapping[str, float]) -> str:
    """Return ``Source-alone acc: 0.540 | Target-alone acc: 0.770 | …`` for the systems given."""
    return " | ".join(
        f"{_SPOKEN.get(system, system)} acc: {acc:.3f}" for system, acc in accuracy_fractions.items()
    )
