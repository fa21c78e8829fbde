"""Options that more than one verb has, and the workspace they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runkit.archive.workspace import Workspace

WorkspaceFolder = Annotated[
    Path,
    typer.Option(
        "--workspace",
        envvar="RUNKIT_WORKSPACE",
        show_envvar=True,
        help="Folder with runs/, preserved_runs/, manifests/ and paper_tables/.",
    ),
]


def opened(folder: Path) -> Workspace:
    """Return the workspace at *folder*.

    Raises:
        UsageError: There is no such folder.
    """
    from runkit.archive.workspace import Workspace
    from runkit.errors import UsageError

    if not folder.is_dir():
        raise UsageError(
            f"there is no workspace {folder}; create the folder, or name another with --workspace"
        )
    return Workspace(folder)


References = Annotated[
    Path | None,
    typer.Option(help="Folder with the run directories of artifacts kept by reference.", metavar="DIR"),
]
