"""The Typer application: which verbs there are, and how errors and findings become an exit status."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from runkit import __version__
from runkit.cli import auditing, checking, comparing, keeping, printing, running, storing, training
from runkit.errors import RunkitError

EXIT_CLEAN = 0
EXIT_FINDINGS = 1
EXIT_ERROR = 2


class OneLineErrors(TyperGroup):
    """A group that turns each error into one line on stderr and exit status 2, for shell and tests alike."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; what runkit cannot go on from becomes one line."""
        try:
            return super().invoke(ctx)
        except RunkitError as error:
            self._stop(str(error))
        except BrokenPipeError:
            # The reader, `head` for example, has seen enough; what is left unsaid goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_CLEAN) from None
        except OSError as error:
            self._stop(_disk_trouble(error))
        except KeyboardInterrupt:
            self._stop("interrupted; what was finished is on disk, nothing is half-written")

    @staticmethod
    def _stop(line: str) -> None:
        print(f"runkit: {' '.join(line.splitlines())}", file=sys.stderr)
        raise typer.Exit(EXIT_ERROR)


def _disk_trouble(error: OSError) -> str:
    named = f"{error.filename}: " if error.filename else ""
    return f"{named}{error.strerror or error}"


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
    app()
