"""What other repositories use of this one: the GitHub Action and the pre-commit hooks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from runkit.archive.workspace import Workspace
from runkit.workflows.preserve import PreserveRequest, preserve

ROOT = Path(__file__).resolve().parents[1]


def action() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return found


def validate_step() -> dict[str, Any]:
    (step,) = [step for step in action()["runs"]["steps"] if step.get("id") == "validate"]
    found: dict[str, Any] = step
    return found


def run_step(workspace: Path, tmp_path: Path, **inputs: str) -> tuple[int, str, str]:
    """Run the action's own script as GitHub does, with its defaults; return status, output and outputs."""
    defaults = {name: given["default"] for name, given in action()["inputs"].items()}
    values = {**defaults, "workspace": str(workspace), **inputs}
    environment = {
        name: re.sub(r"\$\{\{ inputs\.(\S+) \}\}", lambda found: values[found[1]], expression)
        for name, expression in validate_step()["env"].items()
    }
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    python = folder / "python"
    if not python.exists():
        python.symlink_to(sys.executable)
    outputs = tmp_path / "outputs"
    outputs.write_text("")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", validate_step()["run"]],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            **environment,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT) + os.pathsep + os.pathsep.join(path for path in sys.path if path),
            "GITHUB_OUTPUT": str(outputs),
        },
    )
    return done.returncode, done.stdout + done.stderr, outputs.read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="the action runs in bash")
def test_the_action_annotates_writes_its_files_and_fails_on_findings(
    workspace: Workspace, cluster_run: Path, tmp_path: Path
) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    sarif, junit = tmp_path / "runkit.sarif", tmp_path / "runkit.xml"
    status, output, outputs = run_step(workspace.root, tmp_path, sarif=str(sarif), junit=str(junit))
    assert (status, outputs) == (1, "status=1\n")  # the checkpoint was not kept: a warning
    assert output.startswith("::notice title=runkit::1 run, ")
    assert '"version": "2.1.0"' in sarif.read_text()
    assert "<testsuites" in junit.read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="the action runs in bash")
def test_the_action_says_when_there_is_nothing_to_validate(workspace: Workspace, tmp_path: Path) -> None:
    status, output, outputs = run_step(workspace.root, tmp_path, rehash="false")
    assert (status, outputs) == (2, "status=2\n")
    assert "there is no archive in" in output


def test_the_action_has_only_declared_inputs_and_described_ones() -> None:
    text = (ROOT / "action.yml").read_text()
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(action()["inputs"])
    assert all(given["description"] for given in action()["inputs"].values())
    assert "${{" not in validate_step()["run"]  # an input in a script would be run by the shell


def test_every_hook_is_a_verb_of_ours_that_looks_at_the_whole_archive() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["entry"] for hook in hooks] == [
        "runkit validate",
        "runkit lineage",
        "runkit table --check",
        "runkit readme --check",
    ]
    for hook in hooks:
        assert {"id", "name", "entry", "language", "files"} <= set(hook)
        assert hook["pass_filenames"] is False
        re.compile(hook["files"])
        verb = hook["entry"].split()[1:]
        shown = subprocess.run(
            [sys.executable, "-m", "runkit", *verb, "--help"], capture_output=True, check=False, cwd=ROOT
        )
        assert shown.returncode == 0


def installing() -> ModuleType:
    """The program behind ``make setup``, which is no part of the package."""
    spec = spec_from_file_location("installing", ROOT / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_installation_tells_how_far_it_is_and_not_where_from() -> None:
    said = (
        "Looking in indexes: https://me:secret@index.example/simple\n"
        "Processing /srv/wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl\n"
        "Collecting typing-extensions>=4.10 (from torch==2.13.0)\n"
    )
    program = installing()
    assert program.progress("", frozenset()) == "pip begins"
    assert program.progress(said, frozenset()) == "found 2 packages, the latest typing-extensions"
    done = said + "Installing collected packages: typing_extensions, zope.interface, torch\n"
    assert (
        program.progress(done, frozenset({"torch", "zope-interface", "pip"})) == "installed 2 of 3 packages"
    )
    assert (
        program.without_addresses(
            "ERROR: HTTP error 404 while getting https://me:secret@index.example/x.whl (from /srv/wheels/x)"
        )
        == "ERROR: HTTP error 404 while getting ... (from ..."
    )
