"""The verbs that run other programs and look at what runs: run, runs."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from runkit.cli.options import WorkspaceFolder, opened
from runkit.render.escaping import one_line


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*."""
    app.command()(run)
    app.command()(runs)


def run(
    command: Annotated[
        list[str] | None,
        typer.Argument(help="The program and its arguments, after --.", metavar="-- COMMAND"),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Name of the run; default: the program and the time.")
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option("--env", help="Another environment variable to write down.", metavar="NAME"),
    ] = None,
    max_code_mib: Annotated[
        int, typer.Option(help="Most MiB of changed and of untracked code to keep.", min=0)
    ] = 16,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Run any program and write down what it ran on.

    Its output goes to runs/RUN_ID/train.log as well; command, machine, packages and uncommitted code beside
    it. The exit status is the program's own; 128 and the number of the signal when a signal ended it. What
    cannot be recorded is told, and the program runs all the same. The same --run-id again is another start of
    the same run; a name that another run has gets a number.
    """
    from runkit.archive.watched_program import standard_output
    from runkit.archive.workspace import Workspace
    from runkit.errors import ProgramNotFound
    from runkit.workflows.run import RunRequest
    from runkit.workflows.run import run as run_program

    request = RunRequest(
        argv=tuple(command or ()),
        run_id=run_id,
        also_variables=tuple(variable or ()),
        max_code_bytes=max_code_mib << 20,
    )
    try:
        finished = run_program(Workspace(workspace), request, output=standard_output(), tell=_tell)
    except ProgramNotFound as error:
        _tell(str(error))
        raise typer.Exit(error.exit_status) from None
    code = finished.capture.software.code
    for what in code.left_out:
        _tell(f"NOT KEPT, so the code of this run cannot be put together again: {what}")
    if finished.capture.command.dropped:
        _tell(f"not written down, for they may be secrets: {', '.join(finished.capture.command.dropped)}")
    if finished.capture.end is not None and finished.capture.end.never_started is not None:
        _tell(f"{(command or [''])[0]!r}: {finished.capture.ending}")
    if finished.folder is not None:
        _tell(f"{finished.folder} has the run; next: runkit preserve {finished.folder}")
    if finished.exit_status:
        raise typer.Exit(finished.exit_status)


def runs(
    run_ids: Annotated[
        list[str] | None, typer.Argument(help="Runs under runs/; default: all.", metavar="RUN_ID")
    ] = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Say which runs go on, ended or were killed.

    Told by process, machine, heartbeat and log; never by what the run itself wrote last.
    """
    from runkit.workflows.run import runs_in

    seen = runs_in(opened(workspace), tuple(run_ids or ()))
    if not seen:
        print("no runs under runs/ yet; `runkit train` and `runkit run -- COMMAND` make them")
    for one in seen:
        print(one_line(f"{one.run_id}  {one.state.value}: {one.state.because}"))


def _tell(line: str) -> None:
    """Say something beside the program's output; nobody to hear it is no reason to end a program."""
    with suppress(OSError, ValueError):
        print(f"runkit: {one_line(line)}", file=sys.stderr, flush=True)
