"""Whatever is done to the real runs, readers raise only what is documented, and claim no other number."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.errors import RunUnreadable
from runkit.ingest.dumps import read_dump
from runkit.ingest.readers import ingest
from runkit.ingest.trainlog import TrainLog, read_train_log
from runkit.records.manifest import RunFacts

pytestmark = pytest.mark.seed

NAMES = (
    "ablB_20251116_234242",
    "ablC_20251117_013909",
    "phase1_full_20251116_201212",
    "phase2_swap_20251118_192955",
    "phase2_swap_20251118_213543",
)


@pytest.fixture(scope="module")
def logs(seed_runs: Path) -> list[bytes]:
    return [next((seed_runs / name).glob("*/train.log")).read_bytes() for name in NAMES]


@pytest.fixture(scope="module")
def small_runs(seed_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seed runs with their whole logs, and dumps of six rows with short prompts: quick to read often."""
    folder = tmp_path_factory.mktemp("small")
    for name in NAMES:
        shutil.copytree(seed_runs / name, folder / name)
        for dump in (folder / name).glob("*/eval_samples_*.jsonl"):
            rows = [json.loads(line) for line in dump.read_text().splitlines()[:6]]
            short = [{**row, "question": row["question"][-80:], "gold_full_text": ""} for row in rows]
            dump.write_text("".join(json.dumps(row) + "\n" for row in short))
    return folder


def assert_claims_stand_in(text: str, log: TrainLog) -> None:
    """Assert that every number that *log* claims stands in the line of *text* that it names."""
    lines = text.split("\n")
    for evaluation in log.evaluations:
        line = lines[evaluation.line - 1]
        for system, fraction in evaluation.accuracies.items():
            assert re.search(rf"{system.title()}(-alone)? acc: {_spelled(line, fraction)}(?![0-9])", line)
        assert evaluation.label == "final" or f"Step {evaluation.label} |" in line
    for step, loss, number in zip(log.steps, log.losses, log.step_lines, strict=True):
        assert re.search(rf"Step 0*{step}/", lines[number - 1])
        logged = re.findall(r"\): ([-+.0-9eE]*[0-9.])(?=\s|$)", lines[number - 1])
        assert loss is None or loss in [float(text) for text in logged if _is_number(text)]
    for key, value in log.settings.items():
        assert f"{key}: {value}" in lines[log.setting_lines[key] - 1]
    if log.stopped_early_line is not None and log.stopped_early_step is not None:
        assert f"Stopping early at step {log.stopped_early_step}" in lines[log.stopped_early_line - 1]
    if log.world_size is not None:
        assert log.world_size_line is not None
        assert f"World size: {log.world_size}" in lines[log.world_size_line - 1]
    for line_number in (log.crash_line, log.interrupted_line, log.no_samples_line, log.last_step_line):
        assert line_number is None or 1 <= line_number <= log.num_lines
    assert 0 <= log.num_lines_understood <= log.num_lines


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _spelled(line: str, fraction: float) -> str:
    found = [text for text in re.findall(r"[0-9]+(?:\.[0-9]+)?", line, re.ASCII) if float(text) == fraction]
    assert found, f"{fraction} does not stand in {line!r}"
    return f"({'|'.join(map(re.escape, found))})"


def _cut_anywhere(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _cut_in_the_facts(content: bytes, rng: random.Random) -> bytes:
    places = [
        found.start()
        for found in re.finditer(rb"acc: |Loss \(avg|\[Early Stop\]|==== Config|Step \d", content)
    ]
    return content[: rng.choice(places or [0]) + rng.randrange(80)]


def _shuffled(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def _interleaved(content: bytes, rng: random.Random) -> bytes:
    """Let four ranks write at once: pieces of lines end up within other lines."""
    lines = content.split(b"\n")
    for _ in range(60):
        here, there = rng.randrange(len(lines)), rng.randrange(len(lines))
        cut = rng.randrange(len(lines[here]) + 1)
        lines[here] = lines[here][:cut] + lines[there] + lines[here][cut:]
    return b"\n".join(lines)


def _bytes_flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(200):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _digits_changed(content: bytes, rng: random.Random) -> bytes:
    return re.sub(
        rb"[0-9.]+",
        lambda found: (
            found[0]
            if rng.random() < 0.7
            else rng.choice(
                [
                    b"nan",
                    b"inf",
                    b"1e400",
                    b"-3",
                    b"1..2",
                    b"",
                    b"9" * 30,
                    b"1_0",
                    b"0.5.5",
                    b"2.5",
                    "٣".encode(),
                ]
            )
        ),
        content,
    )


def _other_line_ends(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b"\x85", b"\x00\n"]))


def _said_twice(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))] + content


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _cut_anywhere, _cut_in_the_facts, _shuffled, _interleaved, _bytes_flipped, _digits_changed,
    _other_line_ends, _said_twice,
)  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_a_mutated_log_is_read_without_an_error_and_every_claim_stands_in_it(
    logs: list[bytes], mutate: Callable[[bytes, random.Random], bytes]
) -> None:
    rng = random.Random(f"trainlog {mutate.__name__}")
    for _ in range(4):
        content = mutate(rng.choice(logs), rng)
        if rng.random() < 0.3:
            content = rng.choice(MUTATIONS)(content or b"x", rng)
        text = content.decode(errors="replace").removeprefix("\ufeff")
        assert_claims_stand_in(text, read_train_log(text))


def test_a_log_that_is_cut_at_any_byte_of_its_last_facts_claims_no_shortened_number(
    logs: list[bytes],
) -> None:
    whole = [read_train_log(log.decode(errors="replace")) for log in logs]
    for content, full in zip(logs, whole, strict=True):
        known = {
            (one.label, system): value for one in full.evaluations for system, value in one.accuracies.items()
        }
        for place in range(len(content) - 150, len(content)):
            cut = read_train_log(content[:place].decode(errors="replace"))
            claimed = {
                (one.label, name): value for one in cut.evaluations for name, value in one.accuracies.items()
            }
            assert claimed.items() <= known.items()
            assert set(zip(cut.steps, cut.losses, strict=True)) <= {
                *zip(full.steps, full.losses, strict=True),
                *((step, None) for step in full.steps),
            }


def test_a_configuration_block_that_is_cut_at_any_byte_claims_no_shortened_setting(logs: list[bytes]) -> None:
    content = logs[2]
    settings = read_train_log(content.decode(errors="replace")).settings
    start = content.index(b"==== Config ====")
    for place in range(start, content.index(b"==== Reproducibility"), 3):
        cut = read_train_log(content[:place].decode(errors="replace")).settings
        assert cut.items() <= settings.items()


def assert_counts_are_those_of(folder: Path, facts: RunFacts) -> None:
    """Assert that every count is the one that a recount by hand gives, and every metric is supported."""
    for evaluation in facts.evaluations:
        if evaluation.dump is None:
            assert evaluation.systems == ()
            assert evaluation.missing_because is not None
            continue
        rows = []
        for line in (folder / evaluation.dump).read_bytes().decode(errors="replace").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("gold_extracted"), str):
                rows.append(row)
        for score in evaluation.systems:
            answers = [(row[f"{score.system}_extracted"], row["gold_extracted"]) for row in rows]
            assert score.n == len(rows)
            assert score.correct == sum(answer == gold for answer, gold in answers)
            assert score.invalid == sum(answer in {"[invalid]", "", None} for answer, _gold in answers)
    for metric in facts.metrics:
        assert (metric.value_fraction is None) == (metric.evidence is None)
        if metric.evidence == "recomputed" and metric.value_fraction is not None:
            assert metric.correct is not None
            assert metric.n


@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_run_directory_is_read_or_refused_with_the_documented_error(
    small_runs: Path, name: str, tmp_path: Path
) -> None:
    rng = random.Random(f"directory {name}")
    num_read = 0
    for number in range(8):
        folder = shutil.copytree(small_runs / name, tmp_path / str(number))
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            fate = rng.random()
            if fate < 0.12:
                path.unlink()
            elif fate < 0.4:
                path.write_bytes(rng.choice(MUTATIONS)(path.read_bytes() or b"x", rng))
        try:
            facts = ingest(folder, run_id="r", directory_name=name).facts
        except RunUnreadable:
            continue
        num_read += 1
        assert_counts_are_those_of(folder, facts)
    assert num_read >= 2


@given(st.data())
@settings(max_examples=60)
def test_a_mutated_dump_claims_no_other_answers_than_it_holds(small_runs: Path, data: st.DataObject) -> None:
    text = next((small_runs / NAMES[0]).glob("*/eval_samples_step_500.jsonl")).read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 400)))
    changed = text[:start] + data.draw(st.text(max_size=20)) + text[end:]
    dump = read_dump(changed, label="500")
    if dump.outcomes is not None:
        for answers in dump.outcomes.answers.values():
            assert all(
                answer is None or json.dumps(answer)[1:-1] in changed or answer in changed
                for answer in answers
            )
