"""Where things lie: the fixed folders of a workspace, and no other place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runkit.errors import OutsideWorkspace, UsageError

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True)
class Workspace:
    """A folder with runs, their archive and the tables made from it."""

    root: Path

    @property
    def runs(self) -> Path:
        """Runs in progress or finished, as ``train`` writes them."""
        return self.root / "runs"

    @property
    def cache(self) -> Path:
        """What can be computed again: baselines and source states."""
        return self.root / "runs" / ".cache"

    @property
    def preserved_runs(self) -> Path:
        """Exact mirrors of preserved runs."""
        return self.root / "preserved_runs"

    @property
    def objects(self) -> Path:
        """Contents that preserved runs share; can be made again and deleted."""
        return self.preserved_runs / ".objects"

    @property
    def manifests(self) -> Path:
        """One manifest and one outcomes file a preserved run."""
        return self.root / "manifests"

    @property
    def paper_tables(self) -> Path:
        """Table specifications and what was printed from them."""
        return self.root / "paper_tables"

    def manifest_path(self, run_id: str) -> Path:
        """Return the path of a run's manifest."""
        return self.manifests / f"{checked_run_id(run_id)}.json"

    def outcomes_path(self, run_id: str) -> Path:
        """Return the path of a run's per-sample outcomes."""
        return self.manifests / f"{checked_run_id(run_id)}.outcomes.parquet"

    def preserved_path(self, run_id: str) -> Path:
        """Return the folder of a preserved run's files."""
        return self.preserved_runs / checked_run_id(run_id)

    def contained(self, path: Path) -> Path:
        """Return *path* resolved, if it lies inside the workspace.

        Raises:
            OutsideWorkspace: It leads out, directly or through a link.
        """
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as error:  # Python before 3.13 raises the latter for links in a circle
            raise OutsideWorkspace(f"{path} leads nowhere: it is a link in a circle; remove it") from error
        if not resolved.is_relative_to(self.root.resolve()):
            raise OutsideWorkspace(
                f"{path} lies outside the workspace {self.root}; name a path inside it, or choose another "
                "workspace with --workspace"
            )
        return resolved


def is_run_id(text: str) -> bool:
    """Return whether *text* can be the name of a run."""
    return _RUN_ID.fullmatch(text) is not None


def checked_run_id(run_id: str) -> str:
    """Return *run_id* if it is safe as a file name.

    Raises:
        OutsideWorkspace: It holds a path separator or a parent folder.
        UsageError: It holds other characters than letters, digits and ``. _ + -``, or is too long.
    """
    if "/" in run_id or "\\" in run_id or run_id in {".", ".."}:
        raise OutsideWorkspace(
            f"{run_id!r} is not a run id: it would lead out of the archive; use a plain name"
        )
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"{run_id!r} is not a run id: expected 1 to 128 letters, digits or . _ + -, "
            "the first a letter or digit"
        )
    return run_id
