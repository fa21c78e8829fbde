"""The files that lm-evaluation-harness leaves in a folder, found by what is in them, as calls of the harness.

Names are a hint only: people rename results, ``--output_path file.json`` names them as it likes, and
version 0.3 has other names than 0.4. A results file is an object with ``results``, ``config`` and
``versions``; a file of samples has rows with ``doc_id`` and ``filtered_resps``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from runkit.errors import RunUnreadable
from runkit.ingest.dumps import json_object, storable

_TIME = r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d{1,6})?"
_RESULTS_NAME = re.compile(rf"results_.*{_TIME}\.json")
_SAMPLES_NAME = re.compile(rf"samples_(?P<task>.+)_{_TIME}\.jsonl")
_WRITE_OUT_NAME = re.compile(r"(?P<task>.+)_write_out_info\.json")
_LFS = b"version https://git-lfs.github.com/spec/"
_HEAD_BYTES = 65_536
_LARGEST_RESULTS_BYTES = 500_000_000
_DEPTH = 3
"""Folders in each other that are searched: the one given, that of a model, and one more."""
NO_FILTER = "none"
_NO_METRIC = frozenset(
    {
        *("doc_id", "doc", "target", "truth", "arguments", "resps", "filtered_resps", "filter", "metrics"),
        *("doc_hash", "prompt_hash", "target_hash", "request_hash", "metadata"),
    }
)
"""What a row holds beside the verdicts."""


@dataclass(frozen=True, slots=True)
class Row:
    """One document under one filter, and the harness's verdicts on it."""

    item: str
    filter: str | None
    """None where the row names none."""
    target: object
    responses: Sequence[object] | None
    verdicts: Mapping[str, object]
    """Metric to what the harness wrote, which is a number for some."""
    digest: bytes
    """Of the whole row: equal for the same row written twice."""


@dataclass(frozen=True)
class Samples:
    """A file of rows, or the rows inside a results file."""

    path: str
    rows: tuple[Row, ...]
    num_unreadable: int = 0


@dataclass(frozen=True)
class Results:
    """A results file."""

    path: str
    time: str | None
    document: Mapping[str, Any]

    @property
    def tasks(self) -> frozenset[str]:
        """Everything that has a configuration or a result: tasks, and groups of them."""
        return frozenset((*mapping(self.document.get("configs")), *mapping(self.document["results"])))


@dataclass(frozen=True)
class Call:
    """One call of the harness."""

    time: str | None
    results: Results | None
    samples: Mapping[str, Samples]
    """Task to its rows."""

    @property
    def name(self) -> str:
        """What to choose it by: its time, or the path of its results where no name holds a time."""
        return self.time or (self.results.path if self.results else "samples without a time")

    @property
    def document(self) -> Mapping[str, Any]:
        """The results file, empty when there is none."""
        return self.results.document if self.results else {}

    def section(self, key: str, task: str) -> Mapping[str, Any]:
        """Return what the results file says under *key* of *task*, empty when it says nothing."""
        return mapping(mapping(self.document.get(key)).get(task))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks, without groups, in order of their names."""
        named = {*mapping(self.document.get("configs")), *self.samples}
        if not mapping(self.document.get("configs")):
            named |= set(mapping(self.document.get("results")))
        return tuple(sorted(named - set(self.groups)))

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Groups to their members, in order of their names."""
        members = mapping(self.document.get("group_subtasks"))
        configured = mapping(self.document.get("configs"))
        found = {
            str(group): tuple(map(str, names))
            for group, names in members.items()
            if isinstance(names, list) and names and group not in configured
        }
        found |= {group: () for group in mapping(self.document.get("groups")) if group not in found}
        if configured:
            in_results = mapping(self.document.get("results"))
            found |= {group: () for group in in_results if group not in found and group not in configured}
        return dict(sorted((group, names) for group, names in found.items() if group not in self.samples))


@dataclass(frozen=True)
class Leftover:
    """A file that belongs to no call, or holds nothing that can be read."""

    path: str
    is_torn: bool
    why: str


@dataclass
class HarnessFiles:
    """All calls in a folder, and what belongs to none."""

    calls: list[Call] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)


def mapping(value: object) -> Mapping[str, Any]:
    """Return *value* if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def holds_harness_files(root: Path) -> bool:
    """Return whether *root* holds a results file or samples, torn ones and pointers of Git LFS included."""
    return any(
        _is_pointer_named_so(path) or _may_be_samples(path) or _may_be_results(path, is_strict=True)
        for _inside, path in _files(root)
    )


def harness_files(root: Path) -> HarnessFiles:
    """Return the calls of the harness in *root*, oldest first.

    Raises:
        RunUnreadable: A results file is torn, or a pointer of Git LFS.
    """
    found = HarnessFiles()
    results: list[Results] = []
    samples: list[tuple[str, Samples]] = []
    for inside, path in _files(root):
        if _is_pointer_named_so(path):
            found.leftovers.append(_pointer(inside, is_results=path.suffix == ".json"))
        elif _may_be_samples(path):
            samples.append((inside, _read_samples(inside, path)))
        elif _may_be_results(path, is_strict=False):
            one = _read_results(inside, path)
            results += [one] if one is not None else []
    found.calls += _joined(results, samples, found.leftovers)
    found.calls.sort(key=lambda call: (call.time or "", call.name))
    return found


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield JSON files below *root*, path inside and path; links and hidden folders are not followed."""
    for folder, folders, names in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = (
            sorted(name for name in folders if not name.startswith(".")) if depth + 1 < _DEPTH else []
        )
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith((".json", ".jsonl")) and not path.is_symlink() and path.is_file():
                yield path.relative_to(root).as_posix(), path


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return b""


def _is_pointer_named_so(path: Path) -> bool:
    is_named_so = _RESULTS_NAME.fullmatch(path.name) or _SAMPLES_NAME.fullmatch(path.name)
    return is_named_so is not None and _head(path).startswith(_LFS)


def _pointer(inside: str, *, is_results: bool) -> Leftover:
    if is_results:
        raise RunUnreadable(f"{inside} is a pointer of Git LFS and not the file; fetch it with git lfs pull")
    return Leftover(inside, True, "a pointer of Git LFS and not the file; fetch it with git lfs pull")


def _may_be_samples(path: Path) -> bool:
    if _SAMPLES_NAME.fullmatch(path.name) or (
        _WRITE_OUT_NAME.fullmatch(path.name) and _head(path).startswith(b"[")
    ):
        return True
    head = _head(path)
    return (
        path.suffix == ".jsonl"
        and b'"doc_id"' in head
        and (b'"arguments"' in head or b'"filtered_resps"' in head or b'"doc"' in head)
    )


def _may_be_results(path: Path, *, is_strict: bool) -> bool:
    """Return whether *path* looks like a results file; *is_strict* reads it whole to be sure."""
    head = _head(path)
    is_named_so = _RESULTS_NAME.fullmatch(path.name) is not None or path.name == "results.json"
    if path.suffix != ".json" or not (is_named_so or (head.startswith(b"{") and b'"results"' in head)):
        return False
    if not is_strict:
        return True
    try:
        return _is_results(json.loads(path.read_bytes(), parse_constant=str))
    except (OSError, ValueError, RecursionError):
        return _RESULTS_NAME.fullmatch(path.name) is not None


def _is_results(document: object) -> bool:
    found = mapping(document)
    results = found.get("results")
    return (
        isinstance(results, dict)
        and all(isinstance(one, dict) for one in results.values())
        and isinstance(found.get("config"), dict)
        and (isinstance(found.get("versions"), dict) or isinstance(found.get("configs"), dict))
    )


def _read_results(inside: str, path: Path) -> Results | None:
    """Return the results file *path*, or None when it is another program's."""
    try:
        if path.stat().st_size > _LARGEST_RESULTS_BYTES:
            raise RunUnreadable(f"{inside} is larger than any results file of the harness; take it out")
        found = json.loads(path.read_bytes().decode(errors="replace").removeprefix("\ufeff"))
        json.dumps(found)
    except OSError as error:
        raise RunUnreadable(f"{inside} cannot be read: {error.strerror}; check its permissions") from error
    except (ValueError, RecursionError) as error:
        if _RESULTS_NAME.fullmatch(path.name) is None:
            return None
        raise RunUnreadable(
            f"{inside} is not JSON: {error}; the harness may have been killed while it wrote it"
        ) from error
    return Results(inside, _time_in(path.name), found) if _is_results(found) else None


def _time_in(name: str) -> str | None:
    found = re.findall(_TIME, name)
    return found[-1] if found else None


def _read_samples(inside: str, path: Path) -> Samples:
    try:
        with path.open("rb") as stream:
            is_array = _head(path).startswith(b"[")
            texts: Iterable[str] = _elements(stream.read()) if is_array else _lines(stream)
            return _samples(inside, texts)
    except OSError as error:
        raise RunUnreadable(f"{inside} cannot be read: {error.strerror}; check its permissions") from error


def _lines(stream: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(stream):
        text = line.decode(errors="replace").strip()
        if text := text.removeprefix("\ufeff") if number == 0 else text:
            yield text


def _elements(content: bytes) -> Iterator[str]:
    """Yield each element of a JSON array as text, up to where it is torn."""
    text = content.decode(errors="replace").removeprefix("\ufeff")
    decoder = json.JSONDecoder(parse_float=str, parse_constant=str)
    at = text.index("[") + 1
    while match := re.compile(r"[\s,]*").match(text, at):
        at = match.end()
        if at >= len(text) or text[at] == "]":
            return
        try:
            _value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield text[at : at + 100]
            return
        yield text[at:end]
        at = end


def _samples(path: str, texts: Iterable[str]) -> Samples:
    rows, num_unreadable = [], 0
    for text in texts:
        row = json_object(text)
        if row is None or not _is_row(row):
            num_unreadable += 1
        else:
            rows.append(_row(row, text))
    return Samples(path, tuple(rows), num_unreadable)


def _is_row(row: Mapping[str, Any]) -> bool:
    return "doc_id" in row and (isinstance(row.get("filtered_resps"), list) or "truth" in row)


def _row(row: Mapping[str, Any], text: str) -> Row:
    named = row.get("metrics")
    names = map(str, named) if isinstance(named, list) else (key for key in row if key not in _NO_METRIC)
    responses = row.get("filtered_resps")
    return Row(
        item=storable(row["doc_id"]),
        filter=storable(row["filter"]) if row.get("filter") is not None else None,
        target=row.get("target", row.get("truth")),
        responses=responses if isinstance(responses, list) else None,
        verdicts={name: row[name] for name in names if name in row},
        digest=hashlib.sha256(text.encode(errors="surrogatepass")).digest(),
    )


def _joined(
    results: Sequence[Results], samples: Sequence[tuple[str, Samples]], leftovers: list[Leftover]
) -> Iterator[Call]:
    """Yield the calls that *results* and *samples* are of; what belongs to none is added to *leftovers*."""
    of_results: dict[str, dict[str, Samples]] = {one.path: _embedded(one) for one in results}
    alone: dict[str | None, dict[str, Samples]] = {}
    for inside, one in samples:
        name = inside.rpartition("/")[2]
        owner = _owner(inside, results)
        task = _task_of(name, owner.tasks if owner else frozenset())
        if not one.rows and _SAMPLES_NAME.fullmatch(name) is None:
            continue
        if task is None:
            leftovers.append(
                Leftover(inside, False, "rows of a task that neither name nor results file tell")
            )
        elif owner is None and results:
            leftovers.append(Leftover(inside, False, "samples that belong to none of the results files"))
        else:
            into = of_results[owner.path] if owner else alone.setdefault(_time_in(name), {})
            if task in into:
                leftovers.append(Leftover(inside, False, f"a second file of samples of {task}"))
            into.setdefault(task, one)
    for one_result in results:
        yield Call(one_result.time, one_result, of_results[one_result.path])
    for time, of_tasks in alone.items():
        yield Call(time, None, of_tasks)


def _embedded(results: Results) -> dict[str, Samples]:
    """Return the rows that a program wrote into the results file itself, as ``simple_evaluate`` returns."""
    found = {}
    for task, rows in mapping(results.document.get("samples")).items():
        if isinstance(rows, list) and rows:
            found[str(task)] = _samples(results.path, (json.dumps(row, sort_keys=True) for row in rows))
    return found


def _owner(inside: str, results: Sequence[Results]) -> Results | None:
    """Return the results file of the samples *inside*.

    The harness gives both the same time, so that other times are other calls; where a name holds none, the
    task decides, and then that there is only one.
    """
    folder, _slash, name = inside.rpartition("/")
    near = [one for one in results if one.path.rpartition("/")[0] == folder] or list(results)
    time = _time_in(name)
    fitting = [one for one in near if time is None or one.time in (None, time)]
    of_task = [one for one in fitting if _task_of(name, one.tasks) in one.tasks]
    for some in (of_task, fitting):
        if len(some) == 1:
            return some[0]
    return None


def _task_of(name: str, known: Iterable[str]) -> str | None:
    """Return the task that a file of samples called *name* is of, with the help of the tasks *known*."""
    found = _SAMPLES_NAME.fullmatch(name) or _WRITE_OUT_NAME.fullmatch(name)
    if found is not None:
        return found["task"]
    stem = name.rpartition(".")[0]
    fitting = [task for task in known if stem == task or stem.endswith(f"_{task}")]
    if fitting:
        return max(fitting, key=len)
    only = list(known)
    return only[0] if len(only) == 1 else None
