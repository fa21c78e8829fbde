"""The small archive written to a workspace, so that every file is what its manifest says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from runkit.archive.outcomes_file import outcomes_to_parquet
from runkit.archive.workspace import Workspace
from runkit.records.manifest import Artifact, Manifest, OutcomesReference
from runkit.tables.measured import ArchivedRun

SPEC = """format = 1
caption = "What each part of the bridge contributes."
label = "tab:ablation"
control = "control"
rows = [
  { run = "control", label = "All fixes" },
  { run = "mean", label = "Mean pooling" },
  { run = "wide", label = "16 tokens" },
  { run = "no_kl", label = "No KL" },
  { run = "cut_off", label = "No alignment" },
  { run = "again", label = "KL only" },
]
factors = [
  { key = "bridge.conditioning", label = "Cond." },
  { key = "bridge.num_tokens", label = "Tokens" },
]
"""


def write_archive(
    workspace: Workspace, runs: Iterable[ArchivedRun], *, checkpoints: Sequence[str] = ("last.pt",)
) -> None:
    """Write manifests, outcomes and files of *runs*, sealed again with the digests of what was written.

    Args:
        checkpoints: Names of the files of each run that are kept.
    """
    for folder in (workspace.manifests, workspace.preserved_runs, workspace.paper_tables):
        folder.mkdir(exist_ok=True)
    for run in runs:
        write_run(workspace, run, checkpoints=checkpoints)


def write_run(
    workspace: Workspace, run: ArchivedRun, *, checkpoints: Sequence[str] = ("last.pt",)
) -> Manifest:
    """Write one run and return its manifest as written."""
    kept = [
        Artifact(path=path, role="checkpoint", size_bytes=0, sha256="0" * 64, storage="copy")
        for path in checkpoints
    ]
    content, num_rows = outcomes_to_parquet(run.outcomes)
    path = workspace.outcomes_path(run.run_id)
    path.write_bytes(content)
    facts = run.manifest.sealed.model_copy(
        update={
            "outcomes": OutcomesReference(path=path.name, sha256=_sha256(content), num_rows=num_rows),
            "artifacts": tuple(
                _written(workspace, run, artifact) for artifact in (*run.manifest.sealed.artifacts, *kept)
            ),
        }
    )
    manifest = Manifest.sealing(facts, run.manifest.notes)
    workspace.manifest_path(run.run_id).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _written(workspace: Workspace, run: ArchivedRun, artifact: Artifact) -> Artifact:
    """Return *artifact* as kept: a checkpoint with made-up bytes; logs and dumps, which no log of a real run
    is behind, by reference.
    """
    content = f"{run.run_id} {artifact.path}\n".encode()
    is_here = artifact.role == "checkpoint"
    if is_here:
        path = workspace.preserved_path(run.run_id) / artifact.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    storage = "copy" if is_here else "reference"
    return artifact.model_copy(
        update={"size_bytes": len(content), "sha256": _sha256(content), "storage": storage}
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
