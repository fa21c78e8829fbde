"""A bar on standard error while runs are read again; nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runkit.cli.output import beneath


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], object] | None]:
    """Give a function that shows how many of how many runs are done; None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=beneath(sys.stderr)), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
