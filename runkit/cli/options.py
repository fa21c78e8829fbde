"""Options that more than one verb has, and the workspace they name."""

from __future__ import annotations

import re
import sys
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


def tell(sentence: str) -> None:
    """Say on stderr what a person should know while a verb goes on."""
    print(f"runkit: {sentence}", file=sys.stderr, flush=True)


def size_bytes(text: str) -> int:
    """Return the number of bytes that *text* such as ``100MB`` or ``2GiB`` says.

    >>> size_bytes("1.5 kB"), size_bytes("2GiB"), size_bytes("7")
    (1500, 2147483648, 7)

    Raises:
        UsageError: It says no size.
    """
    from runkit.errors import UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"{text!r} is no size; write bytes, or a number with kB, MB, GB, KiB, MiB or GiB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix.lower() or " "))


References = Annotated[
    Path | None,
    typer.Option(help="Folder with the run directories of artifacts kept by reference.", metavar="DIR"),
]
