"""Finding the pieces of a run directory: its log and what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runkit.errors import RunUnreadable
from runkit.ingest.loglines import holds
from runkit.ingest.trainlog import TrainLog, read_train_log

LOG_NAME = "train.log"
_DUMP_NAME = re.compile(r"eval_samples_step_(?P<label>\d+|final)\.jsonl$")


@dataclass(frozen=True)
class RunFolder:
    """A run directory with its training log at depth 1 or 2."""

    root: Path
    log_folder: Path
    """The folder of the log, which also has the dumps."""

    @property
    def log_path(self) -> str:
        """Path of the log inside the run directory."""
        return self.inside(self.log_folder / LOG_NAME)

    def inside(self, path: Path) -> str:
        """Return *path* as it stands in the manifest: relative to the run directory, forward slashes."""
        return path.relative_to(self.root).as_posix()

    def dumps(self) -> dict[str, Path]:
        """Return the dumps by label, steps in order and ``final`` last."""
        found = {
            match["label"]: path
            for path in self.log_folder.iterdir()
            if (match := _DUMP_NAME.match(path.name)) and path.is_file()
        }
        return {label: found[label] for label in sorted(found, key=order_of_label)}

    def read_text(self, path: Path) -> str:
        """Return the text of *path*; undecodable bytes become replacement characters."""
        with self._readable(path):
            return path.read_bytes().decode(errors="replace")

    def read_log(self) -> TrainLog:
        """Return what the training log says."""
        path = self.log_folder / LOG_NAME
        with self._readable(path):
            return read_train_log(path)

    def log_holds(self, text: str) -> bool:
        """Return whether *text* stands in the training log."""
        path = self.log_folder / LOG_NAME
        with self._readable(path):
            return holds(path, text.encode())

    @contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunUnreadable(
                f"{self.inside(path)} cannot be read: {error.strerror}; check its permissions"
            ) from error


def open_run_folder(root: Path) -> RunFolder:
    """Return the run directory at *root*.

    Raises:
        RunUnreadable: There is no such folder, no training log in it, or more than one.
    """
    if not root.is_dir():
        raise RunUnreadable(f"there is no run directory {root}; name the folder that holds {LOG_NAME}")
    logs = [folder / LOG_NAME for folder in log_folders(root)]
    if not logs:
        raise RunUnreadable(
            f"{root} holds no {LOG_NAME}, neither directly nor one folder below; name the folder of one run"
        )
    if len(logs) > 1:
        names = ", ".join(path.relative_to(root).as_posix() for path in logs)
        raise RunUnreadable(f"{root} holds more than one run ({names}); name one of these folders")
    return RunFolder(root, logs[0].parent)


def log_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders with a training log: *root* itself, and those directly in it."""
    try:
        logs = (root / LOG_NAME, *sorted(root.glob(f"*/{LOG_NAME}")))
        return tuple(path.parent for path in logs if path.is_file())
    except OSError as error:
        raise RunUnreadable(f"{root} cannot be read: {error.strerror}; check its permissions") from error


def order_of_label(label: str) -> tuple[int, int]:
    """Return a sort key: steps by number, then ``final``."""
    return (1, 0) if label == "final" else (0, int(label))
