"""One digest of the archive: what it covers, and what a comparison with it can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.seal import seal


def verb(workspace: Workspace, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
    return result.exit_code, result.output.strip()


@pytest.fixture
def archive(workspace: Workspace, cluster_run: Path) -> Workspace:
    """A workspace with two runs."""
    for run_id in ("first", "second"):
        preserve(workspace, PreserveRequest(cluster_run, run_id=run_id))
    return workspace


def test_the_digest_is_of_facts_and_not_of_notes(archive: Workspace) -> None:
    code, digest = verb(archive, "seal")
    assert (code, digest.count("\n"), digest[:7], len(digest)) == (0, 0, "sha256:", 71)
    assert verb(archive, "note", "first", "--title", "renamed")[0] in {0, 2}
    path = archive.manifest_path("first")
    path.write_text(path.read_text().replace('"title": null', '"title": "renamed"'))
    assert verb(archive, "seal") == (0, digest)
    assert seal(archive, ("second", "first")).digest == digest
    assert seal(archive, ("second",)).digest != digest


def test_a_run_that_was_added_is_named(archive: Workspace, cluster_run: Path) -> None:
    digest = seal(archive).digest
    code, output = verb(archive, "verify", "--expect", digest)
    assert (code, output.endswith("digest as expected: all as sealed")) == (0, True)
    preserve(archive, PreserveRequest(cluster_run, run_id="third"))
    code, output = verb(archive, "verify", "--expect", digest.removeprefix("sha256:").upper())
    assert code == 1
    assert f"expected {digest}: without third it is as expected, so that run was added since" in output
    assert verb(archive, "verify", "first", "second", "--expect", digest)[0] == 0


@pytest.mark.parametrize("text", ["", "abc", "sha256:" + "0" * 63, "md5:" + "0" * 64, "0" * 65, "../x"])
def test_what_is_no_digest_is_one_clear_line(archive: Workspace, text: str) -> None:
    code, output = verb(archive, "verify", "--expect", text)
    assert code == 2
    assert output == (
        f"runkit: --expect {text!r} is no digest: expected sha256: and 64 hexadecimal digits, as "
        "`runkit seal` prints them"
    )


def test_a_bad_manifest_is_hidden_by_no_digest(archive: Workspace) -> None:
    digest = seal(archive, ("second",)).digest
    whole = seal(archive).digest
    archive.manifest_path("first").write_text("{")
    code, output = verb(archive, "seal")
    assert code == 2
    assert output.startswith("runkit: nothing was sealed: manifests/first.json is not a valid manifest")
    assert verb(archive, "seal", "second") == (0, digest)
    for expected in (digest, whole):
        code, output = verb(archive, "verify", "--expect", expected)
        assert code == 1
        assert "RK105" in output
        assert f"first cannot be read, so the digest cannot be what was expected, {expected}" in output


def test_facts_that_no_longer_fit_their_seal_are_not_sealed(archive: Workspace) -> None:
    digest = seal(archive).digest
    path = archive.manifest_path("first")
    path.write_text(path.read_text().replace("NVIDIA H100", "NVIDIA A100"))
    code, output = verb(archive, "seal")
    assert (code, "run first: the sealed facts have digest" in output) == (2, True)
    code, output = verb(archive, "verify", "--expect", digest)
    assert (code, "they were edited after they were sealed" in output) == (1, True)
    assert "a run was edited, added or removed since" in output
