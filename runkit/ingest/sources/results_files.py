"""Files that lie in run directories anyway: a configuration, metrics over steps, results, predictions.

Each is read only where its meaning is plain. What is not is named: a file of which no number was read is a
notice that says how to have it read.
"""

from __future__ import annotations

import csv
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from runkit.ingest.source import FoundFacts
from runkit.records.items import ItemScores
from runkit.records.layout import LAYOUT_FILE, Layout
from runkit.records.measurement import TASK, Score, Series
from runkit.records.metrics import is_usual, metric_named, without_split
from runkit.records.settings import flattened

_CONFIGS = ("config", "params", "hparams", "hyperparameters", "args", "arguments", "settings")
_CONFIG_ENDINGS = (".yaml", ".yml", ".json", ".toml")
_RESULTS = (
    "results.json", "metrics.json", "scores.json", "eval_results.json", "test_results.json", "summary.json",
    "final_metrics.json", "evaluation.json",
)  # fmt: skip
_SERIES = ("metrics.jsonl", "metrics.csv", "history.csv", "log.csv", "progress.csv", "history.jsonl")
_ITEMS = ("predictions", "outputs", "samples", "per_sample", "items", "item_scores")
_ITEM_ENDINGS = (".jsonl", ".csv", ".parquet")

_ITEM_COLUMNS = ("id", "item", "item_id", "sample_id", "example_id", "doc_id", "qid", "idx", "index")
_ANSWER_COLUMNS = ("prediction", "pred", "predicted", "answer", "output")
_GOLD_COLUMNS = ("gold", "label", "target", "reference", "expected", "ground_truth")
_VERDICT_COLUMNS = ("correct", "is_correct")
_CLUSTER_COLUMNS = ("cluster", "group", "passage_id", "document_id")
_STEP_COLUMNS = ("step", "global_step", "iteration", "iter", "epoch")

_NUM_LOOKED_AT = 20
"""Rows by which it is told what the columns of a file of items are."""
_MOST_BYTES = 64 << 20
_MOST_ITEM_BYTES = 1 << 30
_MOST_VALUES = 100_000
"""Of a configuration; a few lines of YAML with aliases can stand for more than any memory holds."""
_MOST_DEPTH = 64
_SPELLED = re.compile(r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf(?:inity)?)\s*", re.I | re.A)
_WAY_OUT = "say how in runkit.toml, or with --metrics or --items of preserve"


class _ResultsFiles:
    name = "results-files"
    looks_for = (
        "config.{yaml,json,toml}, metrics.{jsonl,csv}, results.json or predictions.{jsonl,csv,parquet}"
    )

    def recognises(self, root: Path) -> bool:
        return any(True for _path in _known(root))

    def read(self, root: Path) -> FoundFacts:
        """Return what the files say whose meaning is plain; raises nothing, tells by notices."""
        found = FoundFacts(self.name)
        described = _described(root)
        for path in _known(root):
            if path.name in described:
                continue
            try:
                _read_one(found, path)
            except RecursionError:
                found.say("unreadable", f"{path.name} cannot be read: nested too deeply", path=path.name)
            except (OSError, ValueError, KeyError) as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                found.say("unreadable", f"{path.name} cannot be read: {reason}", path=path.name)
        return found


SOURCE = _ResultsFiles()


def _known(root: Path) -> Iterator[Path]:
    """Yield the files that are read, configurations first."""
    names = [f"{stem}{ending}" for stem in _CONFIGS for ending in _CONFIG_ENDINGS]
    names += [*_SERIES, *_RESULTS, *(f"{stem}{ending}" for stem in _ITEMS for ending in _ITEM_ENDINGS)]
    for name in names:
        path = root / name
        if path.is_file() and not (name == "config.json" and _is_engines_own(path)):
            yield path


def _described(root: Path) -> tuple[str, ...]:
    """Return the files that a person described, which are not guessed at."""
    path = root / LAYOUT_FILE
    if not path.is_file():
        return ()
    return Layout.parse_toml(path.read_text(encoding="utf-8", errors="replace"), origin=LAYOUT_FILE).paths


def _is_engines_own(path: Path) -> bool:
    return path.with_name("train.log").is_file() and b'"effective"' in path.read_bytes()[:_MOST_BYTES]


def _read_one(found: FoundFacts, path: Path) -> None:
    name = path.name
    is_items = path.stem in _ITEMS
    if path.stat().st_size > (_MOST_ITEM_BYTES if is_items else _MOST_BYTES):
        found.say("not_read", f"{name} is too large to be read as what its name says", path=name)
    elif is_items:
        read_items(found, path, name)
    elif name in _SERIES:
        read_series(found, path, name)
    elif name in _RESULTS:
        _read_results(found, path)
    else:
        document = document_in(path)
        if isinstance(document, Mapping) and document:
            _say_contradictions(found, document, name)
            found.params(document, path=name)
        else:
            found.say("not_read", f"{name} holds no settings", path=name)


def _say_contradictions(found: FoundFacts, document: Mapping[str, Any], name: str) -> None:
    """Say which settings another configuration of the run gives otherwise; the later file counts."""
    before = found.parameters
    differ = [key for key, value in flattened(document).items() if key in before and before[key] != value]
    if differ:
        message = (
            f"{name} gives {len(differ)} settings otherwise than another file ({_few(differ)}) and counts"
        )
        found.say("conflict", message, path=name)


def document_in(path: Path) -> Any:
    """Return what the YAML, JSON or TOML file at *path* says, without running anything.

    Raises:
        ValueError: It is none, or stands for more values than a configuration has.
        OSError: It cannot be read.
    """
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".toml":
        return _bounded(tomllib.loads(text))
    if path.suffix == ".json":
        return _bounded(json.loads(text, object_pairs_hook=_once_each))
    import yaml

    try:
        return _bounded(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"not plain YAML: {error}") from error


def _bounded(document: Any) -> Any:
    """Return *document* with sets as sorted lists, whose order no process changes.

    Raises:
        ValueError: Written out it has too many values, or is too deep.
    """
    num_values = 0

    def copied(value: Any, depth: int) -> Any:
        nonlocal num_values
        num_values += 1
        if num_values > _MOST_VALUES:
            raise ValueError(f"it stands for more than {_MOST_VALUES:,} values")
        if depth > _MOST_DEPTH:
            raise ValueError(f"nested more than {_MOST_DEPTH} deep")
        if isinstance(value, dict):
            return {key: copied(one, depth + 1) for key, one in value.items()}
        if isinstance(value, set | frozenset):
            value = sorted(value, key=str)
        if isinstance(value, list | tuple):
            return [copied(one, depth + 1) for one in value]
        return value

    return copied(document, 0)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = next((key for key, count in Counter(key for key, _ in pairs).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"the key {_short(twice)} stands twice in one object")
    return dict(pairs)


def _read_results(found: FoundFacts, path: Path) -> None:
    document = document_in(path)
    name = path.name
    numbers = list(_numbers(document, ())) if isinstance(document, Mapping) else []
    not_taken = []
    for keys, value in numbers:
        metric, split = without_split(keys[-1])
        if value is None or not is_usual(metric) or len(keys) > 3:
            not_taken.append(".".join(keys))
            continue
        task = "/".join(keys[:-1]) or TASK
        add_score(found, metric, value, path=name, task=task, split=split)
    if numbers and len(not_taken) == len(numbers):
        message = f"{name} holds {len(numbers)} numbers and none was read ({_few(not_taken)}); {_WAY_OUT}"
        found.say("not_read", message, path=name)
    elif not_taken:
        count = f"{len(not_taken)} of {len(numbers)} numbers were not read"
        message = f"{name}: {count} ({_few(not_taken)}); {_WAY_OUT}"
        found.say("not_read", message, path=name)
    elif not numbers:
        found.say("not_read", f"{name} holds no number that can be told; {_WAY_OUT}", path=name)


def add_score(
    found: FoundFacts,
    metric: str,
    value: float,
    *,
    path: str,
    line: int | None = None,
    task: str = TASK,
    split: str | None = None,
    higher_is_better: bool | None = None,
    unit: str | None = None,
) -> None:
    """Take one number of a file; one that is not finite is a score without a value."""
    value = as_float(value)
    is_finite = math.isfinite(value)
    known = metric_named(metric, "scalar", higher_is_better, unit, values=[value] if is_finite else ())
    found.files.add(path)
    found.scores.append(
        Score(
            metric=known,
            task=task,
            split=split,
            value=value if is_finite else None,
            evidence="logged" if is_finite else None,
            missing_because=None if is_finite else f"{path} says {value}",
            path=path,
            line=line,
        )
    )


def _numbers(
    document: Mapping[str, Any], prefix: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], float | None]]:
    """Yield the numbers below *document* with their keys; None for a usual metric that is no number."""
    for key, value in document.items():
        keys = (*prefix, str(key))
        if isinstance(value, Mapping):
            if len(keys) < 8:
                yield from _numbers(value, keys)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield keys, as_float(value)
        elif value is not None and is_usual(without_split(keys[-1])[0]):
            yield keys, float(value) if isinstance(value, str) and _SPELLED.fullmatch(value) else None


def as_float(value: float) -> float:
    """Return *value*, where an integer too large for a float is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def rows_in(path: Path, *, as_text: bool = False) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the rows of a CSV, JSON Lines or Parquet file with their lines; None for one that is torn.

    Args:
        as_text: Leave the cells of CSV as they are spelled: the answer 05 is not 5, nor the item 007 item 7.
    Raises:
        ValueError: The file is none of these.
        OSError: It cannot be read.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    with path.open(
        encoding="utf-8-sig", errors="replace", newline="" if path.suffix == ".csv" else None
    ) as lines:
        if path.suffix in (".csv", ".tsv"):
            reader = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
            try:
                columns = Counter(reader.fieldnames or ())
                twice = next((key for key, count in columns.items() if count > 1), None)
                if twice is not None:
                    raise ValueError(f"it gives {_short(twice)} twice")
                for row in reader:
                    whole = None not in row and None not in row.values()
                    yield (
                        reader.line_num,
                        {key: value if as_text else _cell(value) for key, value in row.items()}
                        if whole
                        else None,
                    )
            except csv.Error as error:
                raise ValueError(f"not CSV: {error}") from error
            return
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            yield number, found if isinstance(found, dict) else None


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(10_000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise ValueError(f"not Parquet: {error}") from error


def _cell(text: str) -> Any:
    """Return the number that a cell of a CSV file spells, or its text."""
    return float(text) if _SPELLED.fullmatch(text) else text


def read_series(
    found: FoundFacts, path: Path, name: str, *, columns: Mapping[str, str] | None = None
) -> None:
    """Take the columns of *path*, a file with one row a step, as values over steps, and the last of each.

    Args:
        columns: Column to the metric that it is; None: all, and a score only of those of a usual name.
    Raises:
        ValueError: A column that is named is not there.
    """
    asked = columns
    by_column: dict[str, dict[int, float | None]] = {}
    num_torn, num_again, step_column = 0, 0, None
    for number, row in rows_in(path):
        if row is None:
            num_torn += 1
            continue
        step_column = step_column or next((one for one in _STEP_COLUMNS if one in row), None)
        at = row.get(step_column) if step_column else number
        if not isinstance(at, int | float) or isinstance(at, bool) or not 0 <= at < 1 << 53:
            num_torn += 1
            continue
        for key, value in row.items():
            if key not in _STEP_COLUMNS and isinstance(value, int | float) and not isinstance(value, bool):
                values = by_column.setdefault(key, {})
                number_at = _number(value)
                num_again += int(at) in values and values[int(at)] != number_at
                values[int(at)] = number_at
    if num_torn:
        found.say("unreadable", f"{name}: {num_torn} rows are torn or have no step", path=name)
    if num_again:
        message = f"{name} gives {num_again} values again at a whole step that has one; the later one counts"
        found.say("conflict", message, path=name)
    if not by_column:
        found.say("not_read", f"{name} holds no number; {_WAY_OUT}", path=name)
    for column in asked or ():
        if column not in by_column:
            raise ValueError(f"there is no column {column!r} with numbers; it has {_few(by_column)}")
    found.files.add(name)
    for key, values in by_column.items():
        if asked is not None and key not in asked:
            continue
        metric, split = (asked[key], None) if asked is not None else without_split(key)
        if asked is None and split is None and f"val_{key}" in by_column:
            split = "train"  # Keras writes the training's own numbers without a word before them
        known = [value for value in values.values() if value is not None]
        means = metric_named(metric, "scalar", values=known)
        steps = tuple(sorted(values))
        found.series.append(
            Series(
                split=split,
                metric=means,
                steps=steps,
                values=tuple(map(values.__getitem__, steps)),
                path=name,
            )
        )
        last = values[steps[-1]]
        if (asked is not None or is_usual(metric)) and split != "train":
            add_score(found, metric, math.nan if last is None else last, path=name, split=split)
        found.last_step = max(found.last_step or 0, steps[-1])


def read_items(
    found: FoundFacts,
    path: Path,
    name: str,
    *,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    task: str = TASK,
    split: str | None = None,
    higher_is_better: bool | None = None,
) -> None:
    """Take *path*, a file with one row an item, as item scores.

    Args:
        columns: What a column is (``item``, ``answer``, ``gold``, ``value``, ``cluster``) to its name; what
            is not said is told by the usual names.
    """
    rows = rows_in(path, as_text=True)
    head, num_torn = [], 0
    for _line, row in rows:
        if row is None:
            num_torn += 1
        else:
            head.append(row)
        if len(head) == _NUM_LOOKED_AT:
            break
    if not head:
        found.say("not_read", f"{name} has no readable row", path=name)
        return
    if len(head) == 1:
        raise ValueError("it has one row; a file with one row a run is no file of items, give it as metrics")
    said = dict(columns or {})
    item = said.get("item") or _column(head, _ITEM_COLUMNS)
    answer = said.get("answer") or _column(head, _ANSWER_COLUMNS)
    gold = said.get("gold") or _column(head, _GOLD_COLUMNS)
    cluster = said.get("cluster") or _column(head, _CLUSTER_COLUMNS)
    values = {said["value"]: metric or said["value"]} if "value" in said else _value_columns(head)
    for wanted in (item, answer, gold, cluster, *values):
        if wanted is not None and not any(wanted in row for row in head):
            known = ", ".join(sorted({key for row in head for key in row})[:20])
            raise ValueError(
                f"there is no column {wanted!r}; it has {known}; the first row is {_short(head[0])}"
            )
    # Only the columns that are taken are held, and equal cells once: a file may have millions of rows.
    taken: dict[str, list[Any]] = {
        one: [] for one in (item, answer, gold, cluster, *values) if one is not None
    }
    once: dict[Any, Any] = {}
    for row in chain(head, (row for _line, row in rows)):
        if row is None:
            num_torn += 1
            continue
        for column, cells in taken.items():
            cell = row.get(column)
            is_plain = type(cell) is str and column != item
            cells.append(once.setdefault(cell, cell) if is_plain else cell)
    if num_torn:
        found.say("unreadable", f"{name}: {num_torn} rows are torn", path=name)
    if item is None:
        found.say("not_read", f"{name} has no column of item ids ({_few(head[0])}); {_WAY_OUT}", path=name)
        return
    num_nameless = sum(cell in (None, "") for cell in taken[item])
    if num_nameless:
        message = f"{name} has {num_nameless:,} rows without an item id in {item}; no item was taken"
        found.say("conflict", message, path=name)
        return
    ids = tuple(map(str, taken[item]))
    if item not in (answer, gold, cluster, *values):
        del taken[item]
    if len(set(ids)) != len(ids):
        twice = next(one for one, count in Counter(ids).items() if count > 1)
        message = (
            f"{name} has {len(ids) - len(set(ids)):,} item ids twice, such as {_short(twice)}; no item was "
            "taken, since nobody can tell which row counts"
        )
        found.say("conflict", message, path=name)
        return
    columns_of: dict[str, Any] = {
        "clusters": _texts(taken, cluster), "answers": _texts(taken, answer), "golds": _texts(taken, gold),
    }  # fmt: skip
    if not values and answer is not None and gold is not None and _are_real(columns_of["golds"]):
        message = f"{name}: {gold} holds real numbers, for which equal answers are no score; {_WAY_OUT}"
        found.say("not_read", message, path=name)
        return
    if not values and answer is not None and gold is not None:
        pairs = zip(columns_of["answers"], columns_of["golds"], strict=True)
        right = tuple(float(one == other) for one, other in pairs)
        means = metric_named(metric or "exact_match", "binary", higher_is_better)
        items = ItemScores(means, ids, right, task=task, split=split, **columns_of)
        found.measured(items, path=name, evidence="recomputed", num_unreadable_rows=num_torn)
        return
    if not values:
        found.say("not_read", f"{name} has no column of scores ({_few(head[0])}); {_WAY_OUT}", path=name)
    for column, spoken in values.items():
        numbers = [_number(cell) for cell in taken[column]]
        finite = [value for value in numbers if value is not None]
        is_binary = bool(finite) and set(finite) <= {0.0, 1.0}
        means = metric_named(spoken, "binary" if is_binary else "real", higher_is_better, values=finite)
        items = ItemScores(means, ids, tuple(numbers), task=task, split=split, **columns_of)
        missing = _missing(taken[column])
        if missing:
            listed = ", ".join(f"{count} {what}" for what, count in missing.items())
            found.say("not_finite", f"{name}: {column} of {listed} is no finite number", path=name)
        found.measured(items, path=name, missing_values=missing, num_unreadable_rows=num_torn)


def _column(rows: list[dict[str, Any]], names: Iterable[str]) -> str | None:
    lowered = {key.lower(): key for key in rows[0]}
    return next((lowered[name] for name in names if name in lowered), None)


def _value_columns(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the columns that hold scores to their metrics: those of a usual name, and a verdict."""
    found = {key: key for key in rows[0] if is_usual(key)}
    verdict = _column(rows, _VERDICT_COLUMNS)
    if verdict is not None and not {"accuracy", "acc"} & {name.lower() for name in found.values()}:
        found[verdict] = "accuracy"
    return found


def _texts(taken: Mapping[str, list[Any]], column: str | None) -> tuple[str | None, ...] | None:
    if column is None:
        return None
    once: dict[Any, str] = {}
    return tuple(
        None if value is None else once.setdefault(str(value), str(value)) for value in taken[column]
    )


_ZERO, _ONE = 0.0, 1.0
"""Verdicts of millions of items are two objects."""


def _number(value: Any) -> float | None:
    if value is True or value is False:
        return _ONE if value else _ZERO
    if isinstance(value, str):
        if not _SPELLED.fullmatch(value):
            return {"true": 1.0, "false": 0.0, "correct": 1.0, "wrong": 0.0}.get(value.strip().lower())
        value = float(value)
    if not isinstance(value, int | float):
        return None
    number = as_float(value)
    return number if math.isfinite(number) else None


def _are_real(golds: tuple[str | None, ...]) -> bool:
    """Return whether all *golds* are numbers and most of them no integers."""
    known = [gold for gold in golds if gold is not None]
    if not all(map(_SPELLED.fullmatch, known)):
        return False
    return sum(not float(gold).is_integer() for gold in known) * 2 > len(known)


def _missing(values: Iterable[Any]) -> dict[str, str]:
    counted: dict[str, int] = {}
    for value in values:
        if _number(value) is None:
            what = "null" if value is None else _short(value)
            counted[what] = counted.get(what, 0) + 1
    most = sorted(counted.items(), key=lambda pair: -pair[1])[:10]
    return {what: str(count) for what, count in most}


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
