"""Which reader a run directory needs: ours, and those that installed packages register.

A package registers one under the entry point group ``runkit.readers``::

    [project.entry-points."runkit.readers"]
    my-layout = "my_package.reading:READER"

where ``READER`` is a :class:`~runkit.ingest.reader.Reader`.
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from runkit.errors import RunUnreadable, UnknownName, UsageError
from runkit.ingest.ingested import IngestedRun
from runkit.ingest.reader import Reader
from runkit.ingest.redaction import redacted

GROUP = "runkit.readers"

BUILT_IN = {
    "runkit": "runkit.ingest.own:READER",
    "bridge-cluster": "runkit.ingest.cluster:READER",
    "command": "runkit.ingest.command:READER",
    "files": "runkit.ingest.files:READER",
}
"""Our own readers, found in a checkout that is not installed too; ``pyproject.toml`` registers the same."""


class _Known(NamedTuple):
    readers: tuple[Reader, ...]
    broken: tuple[str, ...]
    """What could not be loaded, and why."""


def ingest(root: Path, *, run_id: str, directory_name: str, reader: str | None = None) -> IngestedRun:
    """Return the facts of the run directory at *root*, without what may be a secret.

    Args:
        run_id: The run's name in the archive.
        directory_name: Name of the original directory when *root* is a copy of it.
        reader: Name of the reader to use; None: the one that knows the directory.
    Raises:
        RunUnreadable: No reader knows the directory, or what it needs is torn.
        UnknownName: There is no reader of that name.
        UsageError: More than one reader knows the directory.
    """
    chosen = reader_for(root, directory_name=directory_name, name=reader)
    return redacted(chosen.read(root, run_id=run_id, directory_name=directory_name))


def reader_for(root: Path, *, directory_name: str, name: str | None = None) -> Reader:
    """Return the reader for the run directory at *root*; arguments and errors as in :func:`ingest`."""
    if not root.is_dir():
        raise RunUnreadable(f"there is no run directory {root}; name the folder of one run")
    known = _known()
    if name is not None:
        return _named(known, name)
    willing = [reader for reader in known.readers if reader.can_read(root)]
    if len(willing) > 1:
        names = ", ".join(reader.name for reader in willing)
        raise UsageError(f"more than one reader knows {directory_name} ({names}); choose with --reader")
    if not willing:
        broken = "".join(f"; {trouble}" for trouble in known.broken)
        others = [one for one in known.readers if one.name not in BUILT_IN]
        told = "".join(f"; {one.name} looks for {one.looks_for}" for one in others)
        raise RunUnreadable(f"no reader knows {directory_name}: {_way_out(root)}{told}{broken}")
    return willing[0]


_SETTINGS_NAME = re.compile(r"conf|cfg|param|arg|setting|option", re.IGNORECASE)
_ITEMS_NAME = re.compile(r"pred|output|sample|item|answer|generat|per_", re.IGNORECASE)
_SHOWN = 8


def _way_out(root: Path) -> str:
    """Return what lies in *root*, and what to type so that it is read."""
    files = (path for path in islice(root.rglob("*"), 10_000) if path.is_file())
    names = sorted(path.relative_to(root).as_posix() for path in files)
    if not names:
        return "it holds no file"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    seen = f"it holds {', '.join(names[:_SHOWN])}{more}"
    options: dict[str, str] = {}
    for name in names:
        suffix = PurePosixPath(name).suffix
        if suffix in (".json", ".yaml", ".yml", ".toml") and _SETTINGS_NAME.search(name):
            options.setdefault("--config", name)
        elif suffix in (".csv", ".jsonl", ".parquet") and _ITEMS_NAME.search(name):
            options.setdefault("--items", name)
        elif suffix in (".csv", ".jsonl", ".json", ".yaml", ".yml"):
            options.setdefault("--metrics", name)
    if not options:
        return f"{seen}, none of which holds settings or numbers in a form that is read"
    typed = " ".join(f"{option} {shlex.quote(name)}" for option, name in sorted(options.items()))
    return f"{seen}; say what they are, for example with {typed}"


def reader_names() -> tuple[str, ...]:
    """Return the names of all readers that can be loaded, ours first."""
    return tuple(reader.name for reader in _known().readers)


def _named(known: _Known, name: str) -> Reader:
    for reader in known.readers:
        if reader.name == name:
            return reader
    way_out = "; ".join(known.broken)
    raise UnknownName.among("reader", name, [reader.name for reader in known.readers], way_out=way_out)


def _known() -> _Known:
    readers, broken = [], []
    for entry in _entries():
        try:
            readers.append(_loaded(entry))
        except (ImportError, AttributeError, TypeError) as error:
            broken.append(f"the reader {entry.name} of {entry.value} cannot be loaded: {error}")
    return _Known(tuple(readers), tuple(broken))


def _entries() -> Iterator[EntryPoint]:
    for name, value in BUILT_IN.items():
        yield EntryPoint(name=name, value=value, group=GROUP)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name not in BUILT_IN:
            yield entry


def _loaded(entry: EntryPoint) -> Reader:
    reader = getattr(importlib.import_module(entry.module), entry.attr)
    for part in ("name", "looks_for", "can_read", "read"):
        if not hasattr(reader, part):
            raise TypeError(f"it has no {part!r}, which every reader has")
    loaded: Reader = reader
    return loaded
