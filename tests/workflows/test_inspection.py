"""What the texts of the real runs say of them, against the oracle, and what people then note."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runkit.archive.reading import read_manifest
from runkit.archive.workspace import Workspace
from runkit.checks.causes import ProposedCause
from runkit.cli.app import app
from runkit.errors import RunUnreadable, UnknownName
from runkit.ingest.generations import read_generations
from runkit.workflows.inspection import causes, generations
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.validate import validate

CONTROL = "phase1_full_20251116_201212"
ABLATIONS = ("ablB_20251116_234242", "ablC_20251117_013909")
SWAP, CUT = "phase2_swap_20251118_192955", "phase2_swap_20251118_213543"


@pytest.fixture(scope="module")
def archive(seed_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("archive"))
    for name in (CONTROL, *ABLATIONS, SWAP, CUT):
        control = CONTROL if name in ABLATIONS else None
        preserve(
            workspace, PreserveRequest(seed_runs / name, ablates=control, factors=("x",) if control else ())
        )
    return workspace


def lines(proposed: tuple[ProposedCause, ...]) -> list[tuple[str, str, tuple[int | None, ...]]]:
    return [
        (one.code, one.confidence, tuple(proof.line for proof in one.evidence if proof.line))
        for one in proposed
    ]


@pytest.mark.seed
def test_the_proposed_causes_of_the_seed_runs_cite_the_right_lines(
    archive: Workspace, seed_oracle: dict[str, Any]
) -> None:
    final = {name: seed_oracle[name]["evals"]["final"]["log_line"] for name in (CONTROL, *ABLATIONS, SWAP)}
    block = {name: seed_oracle[name]["config_lines"][0] for name in ABLATIONS}
    assert lines(causes(archive, CONTROL)) == [("underperforms.target", "proven", (final[CONTROL],))]
    for name in ABLATIONS:
        assert lines(causes(archive, name)) == [
            ("noise.ablation_not_distinct", "proven", (block[name],)),
            ("underperforms.target", "proven", (final[name],)),
        ]
    assert lines(causes(archive, SWAP)) == [
        ("conditioning.duplicated_prompt", "likely", (72, 31, final[SWAP])),
        ("collapse.echo", "proven", (final[SWAP],)),
        ("underperforms.target", "proven", (final[SWAP],)),
        ("underperforms.source", "proven", (final[SWAP],)),
    ]
    cut, step_500 = seed_oracle[CUT]["status_evidence"]["line"], seed_oracle[CUT]["evals"]["500"]["log_line"]
    assert lines(causes(archive, CUT)) == [
        ("truncated.unknown", "proven", (cut,)),
        ("collapse.constant_output", "proven", (step_500,)),
        ("collapse.loop", "proven", (step_500,)),
        ("underperforms.target", "proven", (step_500,)),
        ("underperforms.source", "proven", (step_500,)),
    ]
    log = next((archive.preserved_runs / SWAP).glob("*/train.log")).read_text().split("\n")
    assert (log[71], log[30]) == ("dit_teacher: prompt", "eval_prompt_mode: soft_plus_text")


@pytest.mark.seed
@pytest.mark.parametrize("name", [CONTROL, *ABLATIONS, SWAP, CUT])
def test_counts_of_generations_are_the_oracles(
    archive: Workspace, seed_oracle: dict[str, Any], name: str
) -> None:
    report = generations(archive, name)
    assert report.num_without_texts == 0
    for one in report.systems:
        truth = seed_oracle[name]["evals"][one.label]["jsonl"]
        assert (one.n, one.correct, one.invalid) == (
            truth["n"],
            truth[one.system]["correct"],
            truth[one.system]["invalid"],
        )
        assert one.signs is not None
        assert sum(one.signs.invalid_forms.values()) == one.invalid
        if one.system == "bridged":
            assert one.distinct_answers == truth["bridged_distinct"]
            assert one.signs.invalid_forms["empty"] == truth["bridged_full_empty"]
            valid = [pair for pair in truth["bridged_most_common"] if pair[0] != "[invalid]"]
            assert sorted(share.num_outputs for share in one.most_common[: len(valid)]) == sorted(
                count for _answer, count in valid
            )


@pytest.mark.seed
def test_the_leakage_that_was_read_off_the_real_dumps_is_found(archive: Workspace) -> None:
    """At step 250 of phase 1, 56 of 200 first markers stand behind a question that the bridge wrote."""
    (found,) = [
        one for one in generations(archive, CONTROL, systems=["bridged"]).systems if one.label == "250"
    ]
    assert found.signs is not None
    assert found.signs.num_leaked + found.signs.num_restated == 56


@pytest.mark.seed
def test_the_collapse_at_step_500_is_one_answer_in_101_of_200(archive: Workspace) -> None:
    report = generations(archive, CUT, systems=["bridged"])
    last = report.systems[-1]
    assert (last.label, last.is_collapsed, last.most_common[0][:2]) == ("500", True, ("1000", 101))
    assert [one.is_collapsed for one in report.systems] == [False, False, True]


@pytest.mark.seed
@pytest.mark.parametrize("name", [CONTROL, *ABLATIONS, SWAP])
def test_equal_texts_of_final_and_earlier_outputs_are_the_oracles(
    archive: Workspace, seed_oracle: dict[str, Any], name: str
) -> None:
    manifest = read_manifest(archive, name)

    def texts(label: str) -> list[str]:
        evaluation = manifest.sealed.evaluation(label)
        assert evaluation is not None
        assert evaluation.dump is not None
        dump = (archive.preserved_runs / name / evaluation.dump).read_text()
        return [one.text for one in read_generations(dump)["bridged"]]

    for step in seed_oracle[name]["final_weights_evidence"].values():
        same = sum(here == there for here, there in zip(texts("final"), texts(step["step"]), strict=True))
        assert same == step["total"]


@pytest.mark.seed
def test_validate_finds_where_the_final_outputs_are_not_those_of_the_best_step(archive: Workspace) -> None:
    found = [one for one in validate(archive).findings if one.rule == "RK304"]
    assert [(one.run_id, one.severity) for one in found] == [(ABLATIONS[1], "warning"), (SWAP, "warning")]
    assert found[1].message == (
        "the final evaluation names no step, and 46 of its 200 outputs are word for word those of the "
        "last step "
        "1500, 5 those of the best step 750, which step 1500 ties later (p = 1e-11)"
    )


@pytest.fixture
def small(workspace: Workspace, cluster_run: Path) -> Workspace:
    log = cluster_run / "inner" / "train.log"
    text = log.read_text()
    log.write_text(text[: text.index("[Eval] Saved sample outputs to runs/x/eval_samples_step_final")])
    (cluster_run / "inner" / "eval_samples_step_final.jsonl").unlink()
    preserve(workspace, PreserveRequest(cluster_run, run_id="small"))
    return workspace


def said(workspace: Workspace, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--workspace", str(workspace.root)])
    return done.exit_code, done.output


def test_a_proposed_cause_is_confirmed_with_its_evidence_and_the_seal_stays(small: Workspace) -> None:
    before = read_manifest(small, "small")
    assert said(small, "show", "small", "--causes")[1].startswith(
        "noted     nothing yet\nproposed  truncated.unknown (proven): the log ends before the end of the run"
    )
    assert said(small, "note", "small", "--root-cause", "truncated.unknown")[0] == 0
    after = read_manifest(small, "small")
    assert after.sealed == before.sealed
    assert after.notes.root_cause is not None
    assert after.notes.root_cause.evidence == (before.sealed.status.evidence,)
    assert after.notes.root_cause.replaces is None
    assert "noted     truncated.unknown" in said(small, "show", "small", "--causes")[1]


def test_another_cause_needs_a_reason_and_keeps_what_it_replaces(small: Workspace) -> None:
    status, output = said(small, "note", "small", "--root-cause", "truncated.walltime")
    assert status == 2
    assert output == (
        "runkit: the record of small speaks for other causes (truncated.unknown); say why it is "
        "truncated.walltime, "
        "with --because\n"
    )
    because = "sacct says TIMEOUT"
    assert said(small, "note", "small", "--root-cause", "truncated.walltime", "--because", because)[0] == 0
    noted = read_manifest(small, "small").notes.root_cause
    assert noted is not None
    assert (noted.code, noted.sentence, noted.replaces, noted.evidence) == (
        "truncated.walltime",
        because,
        "truncated.unknown",
        (),
    )
    assert said(small, "note", "small", "--root-cause", "truncated.walltim")[0] == 2


def test_every_cause_has_a_page(small: Workspace) -> None:
    status, listing = said(small, "explain", "causes")
    assert status == 0
    assert "truncated.walltime: The scheduler ended the job at its time limit.\n" in listing
    page = said(small, "explain", "crash.oom")[1].split("\n")
    assert [line.split(":")[0] for line in page] == [
        "crash.oom",
        "  A GPU ran out of memory.",
        "  Proposed by",
        "  Way out",
        "",
    ]


def test_statistics_are_printed_for_people_and_for_programs(small: Workspace) -> None:
    status, output = said(small, "show", "small", "--generations", "--system", "bridged")
    assert status == 0
    assert output.splitlines()[0].split()[:6] == ["evaluation", "system", "n", "correct", "wrong", "invalid"]
    assert "bridged 0 -> 20: 3 won, 0 lost, 0 stayed correct, 1 became invalid" in output
    document = json.loads(said(small, "show", "small", "--generations", "--json")[1])
    assert [one["label"] for one in document["systems"] if one["system"] == "bridged"] == ["0", "20", "40"]
    assert json.loads(said(small, "show", "small", "--causes", "--json")[1])["proposed"][0]["evidence"] == [
        {"path": "inner/train.log", "line": read_line(small), "what": "last training step"}
    ]


def read_line(workspace: Workspace) -> int | None:
    evidence = read_manifest(workspace, "small").sealed.status.evidence
    return evidence.line if evidence else None


def test_texts_with_other_bytes_than_sealed_are_not_read(small: Workspace) -> None:
    dump = small.preserved_runs / "small" / "inner" / "eval_samples_step_20.jsonl"
    dump.chmod(0o644)
    dump.write_text(dump.read_text() + " ")
    with pytest.raises(RunUnreadable, match="has other bytes than the manifest of small seals"):
        generations(small, "small")


def test_dumps_by_reference_are_read_where_they_are_named_and_else_not(
    workspace: Workspace, cluster_run: Path, tmp_path: Path
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="small", artifacts="reference"))
    report = generations(workspace, "small")
    assert (report.num_without_texts, {one.signs for one in report.systems}) == (4, {None})
    assert causes(workspace, "small") == ()
    shutil.copytree(cluster_run, tmp_path / "elsewhere" / "small")
    assert generations(workspace, "small", references=tmp_path / "elsewhere").num_without_texts == 0
    with pytest.raises(
        UnknownName, match="there is no system in small called 'brigded'; did you mean 'bridged'"
    ):
        generations(workspace, "small", systems=["brigded"])
