"""Sources: one file a producer, each of which reads its own files of a run directory and no others.

A package brings one of its own under the entry point group ``runkit.sources``::

    [project.entry-points."runkit.sources"]
    my-tool = "my_package.reading:SOURCE"

where ``SOURCE`` is a :class:`~runkit.ingest.source.Source`.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from runkit.errors import RunUnreadable
from runkit.ingest.source import Source

GROUP = "runkit.sources"

BUILT_IN = {
    "runkit-functions": "runkit.ingest.sources.recorded:SOURCE",
    "declared": "runkit.ingest.sources.declared:SOURCE",
    "lm-eval": "runkit.ingest.sources.lm_eval:SOURCE",
    "results-files": "runkit.ingest.sources.results_files:SOURCE",
}
"""In the order of trust: of two that say the same thing equally well, the first counts."""


@cache
def all_sources() -> tuple[Source, ...]:
    """Return our own sources and those of installed packages.

    Raises:
        RunUnreadable: One of a package cannot be loaded.
    """
    own = [EntryPoint(name=name, value=value, group=GROUP) for name, value in BUILT_IN.items()]
    others = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    return tuple(_loaded(entry) for entry in (*own, *others))


def _loaded(entry: EntryPoint) -> Source:
    try:
        source: Source = getattr(importlib.import_module(entry.module), entry.attr)
    except (ImportError, AttributeError) as error:
        raise RunUnreadable(
            f"the source {entry.name} of {entry.value} cannot be loaded: {error}; mend or uninstall it"
        ) from error
    return source
