"""The Typer application: which verbs there are, and how errors and findings become an exit status."""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from runkit import __version__
from runkit.cli import auditing, checking, comparing, keeping, printing, running, storing, training
from runkit.cli.failing import tell_error
from runkit.cli.output import Output, guarded, keep_descriptors
from runkit.errors import RunkitError

EXIT_CLEAN = 0
EXIT_FINDINGS = 1
EXIT_ERROR = 2


class OneLineErrors(TyperGroup):
    """A group that turns each error into one line on stderr and exit status 2, for shell and tests alike."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line and exit; whatever happens, a crash is not taken for findings."""
        with guarded() as (out, _err):
            try:
                super().main(*args, **options)
                status = EXIT_CLEAN
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else EXIT_CLEAN
            except Exception as error:  # noqa: BLE001  # a defect is no finding, whichever it is
                if error is not out.failure:
                    tell_error(error)
                status = EXIT_ERROR
            was_stopped = out.failure is not None
            out.finish()
            status = _status_with_output(out, status, was_stopped=was_stopped)
        sys.exit(status)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; what runkit cannot go on from becomes one line."""
        try:
            return super().invoke(ctx)
        except (RunkitError, OSError, KeyboardInterrupt) as error:
            # What cannot be written is told in one place, when all is done.
            if not (isinstance(sys.stdout, Output) and error is sys.stdout.failure):
                tell_error(error)
            raise typer.Exit(EXIT_ERROR) from error


def _status_with_output(out: Output, status: int, *, was_stopped: bool) -> int:
    """Return the exit status, given what became of standard output.

    A reader that went away, as `head` does, has seen enough. A verb that hands on what another program prints
    has that program's status.
    """
    if out.failure is None:
        return status
    if out.failure.errno == errno.EPIPE:
        return EXIT_CLEAN if was_stopped and not out.is_passed_on else status
    reason = out.failure.strerror or out.failure
    print(f"runkit: cannot write to standard output: {reason}", file=sys.stderr)
    return status if out.is_passed_on else EXIT_ERROR


app = typer.Typer(
    cls=OneLineErrors,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A linter for experiment records, an archive that it can trust, and tables that print only what the "
    "archive proves.\n\nThe line: train, preserve, validate, lineage, table, readme. Exit status: 0 clean, "
    "1 findings, 2 could not do it.",
)


def _print_version(value: bool) -> None:
    if value:
        print(f"runkit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_print_version
    ),
) -> None:
    pass


for verbs in (training, running, keeping, comparing, checking, auditing, printing, storing):
    verbs.register(app)


_READ_AND_END = frozenset(
    {"diff", "explain", "lineage", "list", "schema", "seal", "show", "validate", "verify"}
)


def main() -> None:
    """Run the command line."""
    if set(sys.argv[1:2]) & _READ_AND_END:
        # These hold many records, which have no cycles, until they end; looking for cycles among those of
        # ten thousand runs takes longer than all the rest.
        gc.disable()
        # They also start no program of the user's, which would inherit this. Looking for plugins of pydantic
        # in the metadata of every installed package takes a twentieth of the time in which a verb starts.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    keep_descriptors()
    app()
