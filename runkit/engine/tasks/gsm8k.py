"""GSM8K: grade-school problems from the hub or from local JSONL, with eight worked examples before each.

The dev split is the last 500 problems of train; test is only ever tested. The worked examples are drawn
from the rest of train and taken out of it, so no problem of any split is ever its own example, and the
text before the question is the same for all items and all systems.

An answer is read from the text before the first stop string. *Strict* is the first ``#### n``, and it
decides; *flexible* is the last number, as lm-evaluation-harness reads it, and is only recorded.

Source:
    Cobbe et al. (2021), arXiv:2110.14168; lm-evaluation-harness, task gsm8k 3.0 (both extractions).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from runkit.engine.tasks.base import INVALID, Item, Split, Wording, before_stop
from runkit.errors import StorageFailed, UsageError

DEV_PROBLEMS = 500
"""So many problems at the end of train are held out for selection."""

STOPS = ("\nQ:", "Question:")
"""What a model writes when it goes on to a question of its own; the same for all systems."""

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_COUNTS: dict[Split, str] = {
    "train": "train.pool_items",
    "dev": "eval.dev_items",
    "test": "eval.test_items",
}


class Problem(NamedTuple):
    """A row of the data set."""

    question: str
    answer: str


@dataclass(frozen=True)
class GSM8K:
    """The task over one data set; rows are read when they are first needed."""

    dataset: str
    """A name on the hub or a local folder that ``datasets`` can load, with a configuration ``main``."""
    train_file: str
    """Local JSONL with the fields question and answer; empty for the data set."""
    test_file: str
    few_shot: int
    """Number of worked examples."""

    name = "gsm8k"
    stops = STOPS

    @cached_property
    def train_rows(self) -> tuple[Problem, ...]:
        """All of train: examples, training problems and dev."""
        rows = self._rows("train", self.train_file)
        needed = DEV_PROBLEMS + self.few_shot + 1
        if len(rows) < needed:
            raise UsageError(
                f"gsm8k needs at least {needed} problems in train ({DEV_PROBLEMS} of them for dev, "
                f"{self.few_shot} for examples), {self.train_file or self.dataset} has {len(rows)}"
            )
        return rows

    @cached_property
    def test_rows(self) -> tuple[Problem, ...]:
        """All of test."""
        return self._rows("test", self.test_file)

    def item(self, *, seed: int, split: Split, index: int) -> Item:
        """Return problem *index* of *split*, see :class:`runkit.engine.tasks.base.Task`.

        Raises:
            UsageError: The split has fewer problems.
        """
        rows = self._split(split, seed)
        if index >= len(rows):
            raise UsageError(
                f"gsm8k has {len(rows)} problems in {split}; {_COUNTS[split]} can be at most that"
            )
        row = rows[index]
        return Item(
            id=f"{split}-{index}", question=row.question, answer=f" {row.answer}", gold=gold(row.answer)
        )

    def wording(self, *, seed: int) -> Wording:
        """Return the worked examples drawn with *seed*, and how a question opens."""
        rows = self.train_rows
        shots = [rows[number] for number in self._example_numbers(seed)]
        text = "".join(f"Q: {shot.question}\nA: {shot.answer}\n\n" for shot in shots)
        return Wording(prefix=text, opening="Q: ")

    def extract(self, text: str) -> str:
        """Return the first ``#### n`` before a stop without commas and one trailing dot, or ``[invalid]``."""
        found = _STRICT.search(before_stop(text, STOPS))
        if found is None:
            return INVALID
        return found.group(1).replace(",", "").removesuffix(".") or INVALID

    def extract_flexibly(self, text: str) -> str:
        """Return the last number before a stop, without commas, dollar signs and one trailing dot."""
        found = _FLEXIBLE.findall(before_stop(text, STOPS))
        if not found:
            return INVALID
        long, digit = found[-1]
        return (long or digit).replace(",", "").replace("$", "").removesuffix(".") or INVALID

    def _split(self, split: Split, seed: int) -> Sequence[Problem]:
        if split == "test":
            return self.test_rows
        if split == "dev":
            return self.train_rows[-DEV_PROBLEMS:]
        return self._training(seed)

    def _training(self, seed: int) -> Sequence[Problem]:
        kept = self.__dict__.setdefault("_training_by_seed", {})
        if seed not in kept:
            taken = set(self._example_numbers(seed))
            rest = self.train_rows[:-DEV_PROBLEMS]
            kept[seed] = tuple(row for number, row in enumerate(rest) if number not in taken)
        rows: Sequence[Problem] = kept[seed]
        return rows

    def _example_numbers(self, seed: int) -> list[int]:
        """Return the row numbers of the examples, which are never dev rows."""
        numbers = range(len(self.train_rows) - DEV_PROBLEMS)
        return random.Random(f"gsm8k|examples|{seed}").sample(numbers, self.few_shot)

    def _rows(self, split: str, file: str) -> tuple[Problem, ...]:
        rows = _from_file(Path(file)) if file else _from_dataset(self.dataset, split)
        return _problems(rows, origin=Path(file).name if file else f"{self.dataset} {split}")


def gold(answer: str) -> str:
    """Return what stands after ``####`` in a reference answer, without commas."""
    return answer.rpartition("####")[2].strip().replace(",", "")


def _problems(rows: Iterable[Any], *, origin: str) -> tuple[Problem, ...]:
    problems = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise UsageError(f"{origin}, row {number}: should be an object with question and answer")
        for field in ("question", "answer"):
            if not isinstance(row.get(field), str):
                raise UsageError(
                    f"{origin}, row {number}: gsm8k needs the text fields question and answer, "
                    f"found {', '.join(sorted(map(str, row))) or 'no field'}"
                )
        if "####" not in row["answer"]:
            raise UsageError(f"{origin}, row {number}: the answer should end in '#### ' and a number")
        problems.append(Problem(row["question"], row["answer"]))
    return tuple(problems)


def _from_file(path: Path) -> list[Any]:
    try:
        lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise StorageFailed(f"cannot read the problems in {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name} is not UTF-8 text") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise UsageError(f"{path.name}, row {number}: is not JSON: {error}") from error
    return rows


def _from_dataset(dataset: str, split: str) -> Iterable[Any]:
    way_out = "give local JSONL with task.train_file and task.test_file"
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            f"{dataset} needs the package datasets: pip install datasets, or {way_out}"
        ) from error
    try:
        datasets.disable_progress_bars()
        rows: Iterable[Any] = datasets.load_dataset(dataset, "main", split=split)
        return rows
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"the data set {dataset} ({split}) cannot be loaded: {reason}; {way_out}") from error
