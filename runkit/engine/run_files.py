"""The text files of a run directory, in the formats that outlive this program; it knows no tensor.

``train.log`` keeps the line formats of the runs that runkit was first made for, so that one reader reads
old and new. No line holds a clock, a host name or a path outside the run directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runkit.engine.checkpoint import write_whole
from runkit.errors import StorageFailed

_SPOKEN = {"source_alone": "Source-alone", "target_alone": "Target-alone", "bridged": "Bridged"}


class RunFiles:
    """Appends to the log and the metrics and writes whole files, all inside one directory."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def log(self, line: str) -> None:
        """Append one line to ``train.log``, which is closed again when this returns."""
        self._append("train.log", line + "\n")

    def log_config(self, flat: Mapping[str, object]) -> None:
        """Open the log with the effective configuration."""
        lines = [
            f"{key}: {json.dumps(value) if isinstance(value, str) else value}" for key, value in flat.items()
        ]
        self._append("train.log", "\n".join(["==== Config ====", *lines, "", ""]))

    def metrics(self, row: Mapping[str, object]) -> None:
        """Append one row to ``metrics.jsonl``."""
        self._append("metrics.jsonl", json.dumps(row) + "\n")

    def samples(self, step: str, rows: Iterable[Mapping[str, object]]) -> str:
        """Write one evaluation's dump and return its file name."""
        name = f"eval_samples_step_{step}.jsonl"
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_whole(self.run_dir / name, text.encode())
        return name

    def config(self, content: Mapping[str, Any]) -> None:
        """Write ``config.json``."""
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(self.run_dir / "config.json", text.encode())

    def summary(self, *, run_id: str, ended: datetime) -> None:
        """Write ``summary.log``, the last file of a run that came to its end."""
        text = f"Run directory: {run_id}\nEnd time: {ended.isoformat(timespec='seconds')}\nLogs: train.log\n"
        write_whole(self.run_dir / "summary.log", text.encode())

    def _append(self, name: str, text: str) -> None:
        try:
            with (self.run_dir / name).open("a", encoding="utf-8") as opened:
                opened.write(text)
        except OSError as error:
            raise StorageFailed(f"cannot write {name}: {error.strerror}") from error


def accuracy_line(accuracy_fractions: Mapping[str, float]) -> str:
    """Return ``Source-alone acc: 0.540 | Target-alone acc: 0.770 | …`` for the systems given."""
    return " | ".join(
        f"{_SPOKEN.get(system, system)} acc: {acc:.3f}" for system, acc in accuracy_fractions.items()
    )
