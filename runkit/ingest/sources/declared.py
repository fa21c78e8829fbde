"""Files that a person described in words, with the description beside them in the run directory."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runkit.errors import RunUnreadable
from runkit.ingest.source import FoundFacts
from runkit.ingest.sources.results_files import add_score, as_float, document_in, read_items, read_series
from runkit.records.layout import LAYOUT_FILE, ItemsFile, Layout, ScoresFile
from runkit.records.manifest import Command
from runkit.records.metrics import is_usual, without_split
from runkit.records.settings import flattened


class _Declared:
    name = "declared"
    looks_for = f"{LAYOUT_FILE}, which says what the other files are"

    def recognises(self, root: Path) -> bool:
        return (root / LAYOUT_FILE).is_file()

    def read(self, root: Path) -> FoundFacts:
        """Return what the described files say.

        Raises:
            RecordInvalid: The description is not valid.
            RunUnreadable: A file, key or column that it names is not there.
        """
        layout = layout_in(root)
        found = FoundFacts(self.name, primary=layout.primary)
        found.files.add(LAYOUT_FILE)
        if layout.command is not None:
            found.command = _command(layout.command)
        for path in layout.config:
            document = _document(root, path)
            if not isinstance(document, Mapping):
                raise RunUnreadable(f"{path} holds no settings; expected keys with values")
            found.params(document, path=path)
        for scores in layout.metrics:
            _read_scores(found, root, scores)
        for items in layout.items:
            _read_items(found, root, items)
        return found


SOURCE = _Declared()


def layout_in(root: Path) -> Layout:
    """Return the description that lies in *root*; errors as of :meth:`Layout.parse_toml`."""
    text = (root / LAYOUT_FILE).read_text(encoding="utf-8", errors="replace")
    return Layout.parse_toml(text, origin=LAYOUT_FILE)


def _command(text: str) -> Command:
    try:
        argv = tuple(shlex.split(text))
    except ValueError as error:
        raise RunUnreadable(f"the command {text[:60]!r} cannot be read: {error}; mend its quotes") from error
    return Command(argv=argv, launcher=None, world_size=None, environment={}, missing_because=None)


def _existing(root: Path, inside: str) -> Path:
    path = root / inside
    if path.is_file() and path.resolve().is_relative_to(root.resolve()):
        return path
    known = sorted(one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file())[:10_000]
    nearest = difflib.get_close_matches(inside, known, n=1, cutoff=0.5)
    shown = f"did you mean {nearest[0]}" if nearest else f"it holds {', '.join(known[:8]) or 'no file'}"
    raise RunUnreadable(f"there is no file {inside} in the run directory; {shown}")


def _document(root: Path, inside: str) -> Any:
    path = _existing(root, inside)
    if path.suffix not in (".json", ".yaml", ".yml", ".toml"):
        way_out = "nothing of a run is executed to read it; write its settings as JSON, YAML or TOML"
        raise RunUnreadable(f"{inside} is no JSON, YAML or TOML file; {way_out}")
    try:
        return document_in(path)
    except (OSError, ValueError, RecursionError) as error:
        raise RunUnreadable(f"{inside} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _read_scores(found: FoundFacts, root: Path, scores: ScoresFile) -> None:
    path = _existing(root, scores.path)
    if path.suffix in (".csv", ".tsv", ".jsonl"):
        try:
            read_series(found, path, scores.path, columns=scores.scores or None)
        except (OSError, ValueError) as error:
            raise RunUnreadable(f"{scores.path}: {error}") from error
        return
    document = _document(root, scores.path)
    values = flattened(document) if isinstance(document, Mapping) else {}
    wanted = dict(scores.scores) or {key: _last(key) for key in values if is_usual(_last(key))}
    if not wanted:
        raise RunUnreadable(
            f"{scores.path} holds no number of a usual name; say which with scores = {{ key = 'metric' }}: "
            f"it has {', '.join(sorted(values)[:10]) or 'no key'}"
        )
    for key, metric in wanted.items():
        value = values.get(key)
        if key not in values or isinstance(value, bool) or not isinstance(value, int | float):
            said = _nearest(key, _numbers_in(values))
            if key in values:
                said = f"it is {str(value)[:60]!r}"
            raise RunUnreadable(f"{scores.path} has no number {key!r}; {said}")
        higher = None if scores.direction is None else scores.direction == "higher"
        add_score(
            found, metric, as_float(value), path=scores.path, task=scores.task, split=scores.split,
            higher_is_better=higher, unit=scores.unit,
        )  # fmt: skip


def _numbers_in(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _last(key: str) -> str:
    return without_split(key.rpartition(".")[2])[0]


def _nearest(key: str, values: Mapping[str, Any]) -> str:
    nearest = difflib.get_close_matches(key, list(values), n=1, cutoff=0.5)
    if nearest:
        return f"did you mean {nearest[0]!r}"
    return f"it has {', '.join(sorted(values)[:10]) or 'none'}"


def _read_items(found: FoundFacts, root: Path, items: ItemsFile) -> None:
    path = _existing(root, items.path)
    said = {
        name: column
        for name in ("item", "value", "answer", "gold", "cluster")
        if (column := getattr(items, name)) is not None
    }
    higher = None if items.direction is None else items.direction == "higher"
    try:
        read_items(
            found, path, items.path, columns=said, metric=items.metric, task=items.task, split=items.split,
            higher_is_better=higher,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise RunUnreadable(f"{items.path}: {error}") from error
