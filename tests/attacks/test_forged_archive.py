"""An archive that was rewritten and sealed anew: manifest, outcomes and digests agree, the dump does not."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runkit.archive.outcomes_file import outcomes_to_parquet
from runkit.archive.reading import read_manifest, read_outcomes
from runkit.archive.rereading_cache import VARIABLE
from runkit.archive.workspace import Workspace
from runkit.checks.evidence import fact_findings
from runkit.cli.app import app
from runkit.ingest.derive import derived_metrics
from runkit.ingest.dumps import scores
from runkit.ingest.rereading import read_again
from runkit.records.manifest import Evaluation, Manifest, RunFacts, SealedFacts
from runkit.records.outcomes import EvaluationOutcomes
from runkit.records.rereading import Rereading
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.run import RunRequest
from runkit.workflows.run import run as run_command

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = """format = 1
caption = "One run."
label = "tab:one"
control = "{run_id}"
rows = [{{ run = "{run_id}", label = "The run" }}]
factors = []
"""


def verb(workspace: Workspace, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def contradictions(workspace: Workspace, *options: str) -> list[tuple[str, str, str]]:
    """Return severity, place and message of each finding that kept files contradict sealed facts."""
    code, output = verb(workspace, "validate", "--format", "json", *options)
    found = [
        (one["severity"], one["place"], one["message"])
        for one in json.loads(output)["findings"]
        if one["rule"] == "RK110"
    ]
    assert code == 1 or all(severity == "info" for severity, _, _ in found)
    return found


def resealed(workspace: Workspace, run_id: str, **changes: Any) -> Manifest:
    """Write the manifest with *changes* of its sealed facts, under a seal that fits."""
    manifest = read_manifest(workspace, run_id)
    facts = SealedFacts.parse(manifest.sealed.model_copy(update=changes).to_json(), origin="the forgery")
    forged = Manifest.sealing(facts, manifest.notes)
    workspace.manifest_path(run_id).write_text(forged.to_json())
    return forged


def with_answers(evaluation: EvaluationOutcomes, system: str, num_correct: int) -> EvaluationOutcomes:
    """Return *evaluation* with *system* right on the first *num_correct* more items that it missed."""
    answers = list(evaluation.answers[system])
    missed = [index for index, hit in enumerate(evaluation.correct(system)) if not hit]
    for index in missed[:num_correct]:
        answers[index] = evaluation.golds[index]
    return EvaluationOutcomes(
        evaluation.label, evaluation.items, evaluation.golds, {**evaluation.answers, system: tuple(answers)}
    )


def forge(workspace: Workspace, run_id: str, *, label: str, system: str, more: int, in_log: bool) -> Manifest:
    """Let *system* have *more* correct answers, in outcomes, counts, log and metrics; seal anew."""
    sealed = read_manifest(workspace, run_id).sealed
    outcomes = dict(read_outcomes(workspace, read_manifest(workspace, run_id)))
    outcomes[label] = with_answers(outcomes[label], system, more)
    content, num_rows = outcomes_to_parquet(outcomes)
    workspace.outcomes_path(run_id).write_bytes(content)
    assert sealed.outcomes is not None
    digest = hashlib.sha256(content).hexdigest()

    def changed(evaluation: Evaluation) -> Evaluation:
        if evaluation.label != label:
            return evaluation
        systems = scores(outcomes[label])
        new = {score.system: score.accuracy_fraction for score in systems}
        logged = tuple(
            one.model_copy(update={"accuracy_fraction": round(new[one.system] or 0.0, 3)})
            for one in evaluation.logged
        )
        return evaluation.model_copy(
            update={"systems": systems, "logged": logged if in_log else evaluation.logged}
        )

    evaluations = tuple(map(changed, sealed.evaluations))
    changes: dict[str, Any] = {
        "evaluations": evaluations,
        "outcomes": sealed.outcomes.model_copy(update={"sha256": digest, "num_rows": num_rows}),
    }
    changes["metrics"] = derived_metrics(evaluations, had_samples=True)
    return resealed(workspace, run_id, **changes)


@pytest.fixture
def pocket(workspace: Workspace) -> Workspace:
    """A workspace with a copy of the run that the repository keeps."""
    for folder in (workspace.manifests, workspace.preserved_runs, workspace.paper_tables):
        folder.mkdir()
    for name in ("pocket.json", "pocket.outcomes.parquet"):
        shutil.copy(REPOSITORY / "manifests" / name, workspace.manifests / name)
    shutil.copytree(REPOSITORY / "preserved_runs" / "pocket", workspace.preserved_runs / "pocket")
    (workspace.paper_tables / "one.toml").write_text(TABLE.format(run_id="pocket"))
    return workspace


def final_correct(workspace: Workspace, run_id: str = "pocket") -> tuple[int, int]:
    evaluation = read_manifest(workspace, run_id).sealed.evaluation("final")
    score = evaluation.score("bridged") if evaluation is not None else None
    assert score is not None
    return score.correct, score.n


def test_no_verb_that_judges_or_prints_believes_a_forged_pocket_run(
    pocket: Workspace, tmp_path: Path
) -> None:
    true, n = final_correct(pocket)
    assert verb(pocket, "table")[0] == 0
    anchor = verb(pocket, "seal")[1].strip()
    assert contradictions(pocket) == []
    assert verb(pocket, "verify", "--expect", anchor)[0] == 0
    forge(pocket, "pocket", label="final", system="bridged", more=5, in_log=True)
    dump = "eval_samples_step_final.jsonl"

    found = {place: message for severity, place, message in contradictions(pocket) if severity == "error"}
    place = "sealed.evaluations.final.systems.bridged.correct"
    assert found[place].startswith(
        f"the sealed evaluations.final.systems.bridged.correct is {true + 5}, {dump} gives {true}; "
    )
    assert found["sealed.outcomes.final"].startswith(
        f"the outcomes of evaluation final are not those of {dump}: the answers of bridged differ (sha256 "
    )
    assert any(place.startswith("sealed.metrics.") for place in found)

    for words in (("table", "one"), ("table", "--check"), ("explain", "one", "The run", "accuracy")):
        code, output = verb(pocket, *words)
        assert code == 2
        assert "run pocket has an error finding, RK110 at sealed.evaluations.final" in output
        assert "waive it" not in output
    for words in (("readme",), ("readme", "--check")):
        code, output = verb(pocket, *words)
        assert code == 2 or "was never printed" in output
    assert "its kept files contradict it (RK110)" in verb(pocket, "readme")[1]

    # These read bytes and seals, which the forger made anew; only a digest that was kept elsewhere helps.
    assert verb(pocket, "verify")[0] == 0
    code, output = verb(pocket, "verify", "--expect", anchor)
    assert code == 1
    assert f"expected {anchor}: a run was edited, added or removed since" in output
    pack = tmp_path / "forged.tar.zst"
    assert verb(pocket, "pack", str(pack))[0] == 0
    received = Workspace(tmp_path / "received")
    received.root.mkdir()
    assert verb(received, "unpack", str(pack))[0] == 0
    assert place in {one for _, one, _ in contradictions(received)}
    assert n == 500


@pytest.mark.parametrize(
    "sabotage", ["answers", "status", "configuration", "started", "loss", "left out", "count"]
)
def test_every_kind_of_fact_is_compared(pocket: Workspace, sabotage: str) -> None:
    sealed = read_manifest(pocket, "pocket").sealed
    configuration = dict(sealed.configuration.effective)
    configuration.pop("seed", None) if "seed" in configuration else configuration.popitem()
    kept = tuple(one for one in sealed.evaluations if one.label != "final")
    changes: dict[str, Callable[[], Any]] = {
        "status": lambda: {"status": sealed.status.model_copy(update={"value": "early_stopped"})},
        "started": lambda: {"duration_seconds": 1.0},
        "loss": lambda: {"training": sealed.training.model_copy(update={"loss_values": tuple(
            value / 2 for value in sealed.training.loss_values)})},
        "left out": lambda: {"evaluations": kept},
        "configuration": lambda: {"configuration": _with_effective(sealed, configuration)},
        "count": lambda: {"software": sealed.software.model_copy(update={"python_version": "3.9.1"})},
    }  # fmt: skip
    if sabotage == "answers":  # the counts stay, the answers of two items change places
        outcomes = dict(read_outcomes(pocket, read_manifest(pocket, "pocket")))
        final = outcomes["final"]
        wrong = next(i for i, hit in enumerate(final.correct("bridged")) if not hit)
        right = next(i for i, hit in enumerate(final.correct("bridged")) if hit)
        answers = list(final.answers["bridged"])
        answers[wrong], answers[right] = final.golds[wrong], "0.5"
        outcomes["final"] = EvaluationOutcomes(
            "final", final.items, final.golds, {**final.answers, "bridged": tuple(answers)}
        )
        content, _ = outcomes_to_parquet(outcomes)
        pocket.outcomes_path("pocket").write_bytes(content)
        assert sealed.outcomes is not None
        digest = hashlib.sha256(content).hexdigest()
        resealed(pocket, "pocket", outcomes=sealed.outcomes.model_copy(update={"sha256": digest}))
    else:
        resealed(pocket, "pocket", **changes[sabotage]())
    fields = {
        "answers": "sealed.outcomes.final", "status": "sealed.status.value",
        "started": "sealed.duration_seconds",
        "loss": "sealed.training.loss_values", "left out": "sealed.evaluations.final",
        "configuration": "sealed.configuration.effective", "count": "sealed.software.python_version",
    }  # fmt: skip
    errors = [place for severity, place, _ in contradictions(pocket) if severity == "error"]
    assert any(place.startswith(fields[sabotage]) for place in errors), errors


def _with_effective(sealed: SealedFacts, effective: dict[str, Any]) -> Any:
    from runkit.records.record import canonical_digest

    return sealed.configuration.model_copy(
        update={"effective": effective, "effective_digest": canonical_digest(effective)}
    )


def test_a_fact_that_was_not_read_then_is_noted_and_no_contradiction(pocket: Workspace) -> None:
    sealed = read_manifest(pocket, "pocket").sealed
    resealed(pocket, "pocket", hardware=sealed.hardware.model_copy(update={"cpu_model": None}))
    ((severity, place, message),) = contradictions(pocket)
    assert (severity, place) == ("info", "sealed.hardware.cpu_model")
    assert message.startswith("the kept files say more than was sealed, which this version reads")


def test_a_secret_that_an_older_version_sealed_is_noted_and_not_shown(pocket: Workspace) -> None:
    manifest = read_manifest(pocket, "pocket")
    secret = {**manifest.sealed.configuration.logged, "hub.token": "hf_" + "x" * 30}
    older = resealed(
        pocket,
        "pocket",
        configuration=manifest.sealed.configuration.model_copy(update={"logged": secret}),
    )
    said = manifest.sealed.configuration.model_copy(update={"logged": {**secret, "hub.token": "[dropped]"}})
    document = manifest.sealed.model_copy(update={"configuration": said}).model_dump(mode="json")
    facts = RunFacts.from_mapping(
        {name: document[name] for name in RunFacts.model_fields if name in document}, origin="files"
    )
    (found,) = fact_findings(older, Rereading(facts), facts)
    assert (found.severity, found.place) == ("info", "sealed.configuration.logged.hub.token")
    assert "hf_x" not in found.message


def test_a_forged_command_run_is_found(workspace: Workspace) -> None:
    lines = [{"index": i, "gold_extracted": str(i), "bridged_extracted": str(i % 2)} for i in range(4)]
    rows = "".join(json.dumps(one) + "\n" for one in lines)
    script = (
        "import os; from pathlib import Path; folder = Path(os.environ['RUNKIT_RUN_DIRECTORY']);"
        f"(folder / 'eval_samples_step_final.jsonl').write_text({rows!r});"
        "print('[Final Eval] Bridged acc: 0.500')"
    )
    with Path("/dev/null").open("wb") as nowhere:
        run_command(workspace, RunRequest((sys.executable, "-c", script), run_id="mine"), output=nowhere)
    preserve(workspace, PreserveRequest(workspace.runs / "mine"))
    assert contradictions(workspace) == []
    forge(workspace, "mine", label="final", system="bridged", more=2, in_log=True)
    found = {place: message for _, place, message in contradictions(workspace)}
    assert found["sealed.evaluations.final.systems.bridged.correct"].startswith(
        "the sealed evaluations.final.systems.bridged.correct is 4, eval_samples_step_final.jsonl gives 2; "
    )


def test_files_by_reference_are_read_again_where_they_are_found(
    workspace: Workspace, cluster_run: Path
) -> None:
    request = PreserveRequest(cluster_run, artifacts="reference", artifacts_location="on tape")
    run_id = preserve(workspace, request).run_id
    forge(workspace, run_id, label="final", system="bridged", more=1, in_log=True)
    assert contradictions(workspace) == []
    assert "0 runs read again" in verb(workspace, "validate")[1]
    assert "1 run (files by reference, not at hand)" in verb(workspace, "validate")[1]
    place = "sealed.evaluations.final.systems.bridged.correct"
    assert place in {one for _, one, _ in contradictions(workspace, "--references", str(cluster_run.parent))}
    resealed(workspace, run_id, artifacts_location=str(cluster_run))
    assert place in {one for _, one, _ in contradictions(workspace)}


def test_a_dump_that_is_gone_does_not_hide_the_others(pocket: Workspace) -> None:
    (pocket.preserved_path("pocket") / "eval_samples_step_100.jsonl").unlink()
    assert contradictions(pocket) == []
    forge(pocket, "pocket", label="final", system="bridged", more=1, in_log=True)
    assert {place for _, place, _ in contradictions(pocket)} >= {"sealed.outcomes.final"}
    assert "1 run (files not as sealed)" in verb(pocket, "validate")[1]


def test_a_name_that_was_chosen_or_repaired_is_no_contradiction(
    workspace: Workspace, cluster_run: Path
) -> None:
    sealed = preserve(workspace, PreserveRequest(cluster_run, run_id="mine")).sealed
    assert sealed.directory_name == cluster_run.name
    assert contradictions(workspace) == []
    resealed(workspace, "mine", directory_name=None)  # as older manifests are
    assert contradictions(workspace) == []


def test_what_preserve_knows_and_the_copy_does_not_is_no_contradiction(
    workspace: Workspace, cluster_run: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"w" * 5000)
    (cluster_run / "inner" / "checkpoint.pt").symlink_to(weights)
    (cluster_run / "inner" / "best.pt").write_bytes(b"b" * 50_000)
    log = (cluster_run / "inner" / "train.log").open("a")
    log.write("half a li")
    log.flush()
    sealed = preserve(workspace, PreserveRequest(cluster_run, snapshot=True)).sealed
    log.close()
    assert sealed.snapshot is not None
    request = PreserveRequest(cluster_run, run_id="large", reference_over=10_000)
    assert {one.storage for one in preserve(workspace, request).sealed.artifacts} == {"copy", "reference"}
    assert contradictions(workspace) == []
    assert "2 runs read again" in verb(workspace, "validate")[1]


def test_kept_files_that_no_reader_understands_are_an_error(pocket: Workspace) -> None:
    path = pocket.preserved_path("pocket") / "config.json"
    path.chmod(0o644)
    path.write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    sealed = read_manifest(pocket, "pocket").sealed
    resealed(pocket, "pocket", artifacts=tuple(
        one.model_copy(update={"sha256": digest, "size_bytes": 2}) if one.path == "config.json" else one
        for one in sealed.artifacts
    ))  # fmt: skip
    ((severity, _, message),) = contradictions(pocket)
    assert severity == "error"
    assert message.startswith(
        "the kept files cannot be read again by this version: config.json of pocket lacks"
    )


def test_a_reader_that_is_not_installed_is_told_of_and_its_rows_are_refused(pocket: Workspace) -> None:
    sealed = read_manifest(pocket, "pocket").sealed
    resealed(pocket, "pocket", provenance=sealed.provenance.model_copy(update={"reader": "of-another-lab"}))
    assert contradictions(pocket) == []
    assert "1 run (the reader 'of-another-lab' is not installed)" in verb(pocket, "validate")[1]
    code, output = verb(pocket, "table", "one")
    assert code == 2
    assert (
        "its kept files cannot be read again, because the reader 'of-another-lab' is not installed" in output
    )


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 5000, b'{"key": 1}', None, "folder", "fifo"])
def test_a_hostile_cache_is_no_cache(
    pocket: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None
) -> None:
    import os

    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    assert contradictions(pocket) == []
    (entry,) = (tmp_path / "cache" / "rereadings").iterdir()
    original = entry.read_bytes()
    entry.unlink()
    if content == "folder":
        entry.mkdir()
    elif content == "fifo":
        os.mkfifo(entry)
    elif content is None:  # an entry of another key
        entry.write_bytes(original.replace(entry.name.encode(), b"0" * 64))
    else:
        assert isinstance(content, bytes)
        entry.write_bytes(content)
    assert contradictions(pocket) == []
    forge(pocket, "pocket", label="final", system="bridged", more=1, in_log=True)
    assert contradictions(pocket)


def test_the_cache_spares_reading_and_never_lies_in_the_archive(
    pocket: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    assert contradictions(pocket) == []
    (entry,) = (tmp_path / "cache" / "rereadings").iterdir()
    document = json.loads(entry.read_bytes())
    document["answer"]["facts"]["duration_seconds"] = 1.5
    entry.write_text(json.dumps(document))
    assert [place for _, place, _ in contradictions(pocket)] == ["sealed.duration_seconds"]  # it was read
    monkeypatch.setenv(VARIABLE, str(pocket.root / "cache"))
    assert contradictions(pocket) == []
    assert not (pocket.root / "cache").exists()


def test_worker_processes_read_what_one_process_reads(
    pocket: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runkit.archive.kept_files import kept_run
    from runkit.archive.observing import observe_runs
    from runkit.archive.rereading_cache import RereadingCache

    manifest = read_manifest(pocket, "pocket")
    kept = kept_run(pocket, manifest, observe_runs(pocket, [manifest])[0])
    alone = list(read_again([kept], cache=RereadingCache(None), jobs=1))
    monkeypatch.setattr("runkit.ingest.rereading._WORTH_PROCESSES_BYTES", 0)
    seen: list[tuple[int, int]] = []
    together = list(
        read_again([kept] * 5, cache=RereadingCache(None), jobs=2, progress=lambda *at: seen.append(at))
    )
    assert together == alone * 5
    assert seen == [(done, 5) for done in range(1, 6)]
