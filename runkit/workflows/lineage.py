"""``lineage``: how runs are related and whether that is true; reads manifests, and outcomes where it must."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from runkit.archive.reading import read_manifests, read_outcomes, run_ids
from runkit.archive.workspace import Workspace
from runkit.checks.comparison import KeyDifference, effective_difference, is_noop
from runkit.checks.gather import FOR_RELATIONS, concluded, unwaived
from runkit.checks.integrity import rightly_named, unreadable_manifest
from runkit.checks.statistics import compared_runs
from runkit.checks.view import ArchiveView
from runkit.errors import RunUnreadable
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest, Relation, RelationKind, Status
from runkit.records.outcomes import RunOutcomes


@dataclass(frozen=True)
class LineageNode:
    """A run of the graph."""

    run_id: str
    title: str | None
    status: Status | None
    """Null for a run that is named by a relation and is not in the archive, or cannot be read."""


@dataclass(frozen=True)
class LineageEdge:
    """A declared relation, and what really differs."""

    run_id: str
    kind: RelationKind
    other_id: str
    factors: tuple[str, ...]
    """As declared."""
    differences: tuple[KeyDifference, ...]
    is_noop: bool
    """Whether both ran the same effective configuration."""


@dataclass(frozen=True)
class TreeLine:
    """One run in the tree of relations."""

    depth: int
    node: LineageNode
    edge: LineageEdge | None
    """The relation that hangs the run below the line above; null for a root."""
    other_edges: tuple[LineageEdge, ...]
    """Its other relations."""


@dataclass(frozen=True)
class LineageReport:
    """The graph of relations, and what is wrong with it."""

    nodes: tuple[LineageNode, ...]
    """Sorted by run id."""
    edges: tuple[LineageEdge, ...]
    """Sorted by run id, then in the order of the notes."""
    findings: tuple[Finding, ...]
    """Worst first."""
    num_runs: int
    num_compared: int
    """Runs whose per-sample outcomes were read for tests of significance."""

    def tree(self) -> Iterator[TreeLine]:
        """Yield every node once: runs without a relation as roots, others below the first one they name.

        Runs in a circle have no root; the first of them by name stands in for it.
        """
        children, own = self._hung()
        nodes = {node.run_id: node for node in self.nodes}
        shown: set[str] = set()
        roots = [run_id for run_id in nodes if not own.get(run_id)]
        for root in [*roots, *nodes]:
            waiting: list[tuple[int, str, LineageEdge | None]] = [(0, root, None)]
            while waiting:
                depth, run_id, edge = waiting.pop()
                if run_id in shown:
                    continue
                shown.add(run_id)
                others = tuple(one for one in own.get(run_id, ()) if one is not edge)
                yield TreeLine(depth, nodes[run_id], edge, others)
                waiting += [(depth + 1, child.run_id, child) for child in reversed(children.get(run_id, ()))]

    def _hung(self) -> tuple[dict[str, list[LineageEdge]], dict[str, list[LineageEdge]]]:
        """Return the edges below each run and the edges of each run."""
        children: dict[str, list[LineageEdge]] = defaultdict(list)
        own: dict[str, list[LineageEdge]] = defaultdict(list)
        for edge in self.edges:
            if not own[edge.run_id]:
                children[edge.other_id].append(edge)
            own[edge.run_id].append(edge)
        return children, own


def lineage(workspace: Workspace) -> LineageReport:
    """Return how the runs of the archive are related; a manifest that cannot be read is a finding."""
    files = run_ids(workspace)
    folder = read_manifests(workspace)
    unreadable = frozenset(bad.path.removesuffix(".json") for bad in folder.unreadable)
    named = rightly_named(folder.manifests, [name for name in files if name not in unreadable])
    misnamed = frozenset(finding.run_id for finding in named.findings)
    view = ArchiveView(named.manifests, unreadable_ids=unreadable | misnamed)
    outcomes = _compared_outcomes(workspace, view)
    bad = [unreadable_manifest(one.path, one.message) for one in folder.unreadable]
    return lineage_of(
        ArchiveView(named.manifests, outcomes=outcomes, unreadable_ids=unreadable | misnamed),
        before=(*bad, *named.findings),
    )


def lineage_of(archive: ArchiveView, *, before: tuple[Finding, ...] = ()) -> LineageReport:
    """Return how the runs of *archive* are related.

    Args:
        before: What was found already while the archive was read.
    """
    findings = [*before, *unwaived(archive, FOR_RELATIONS)]
    judged = frozenset[str]().union(*(family.rules for family in FOR_RELATIONS))
    edges = tuple(_edges(archive))
    return LineageReport(
        nodes=_nodes(archive, edges),
        edges=edges,
        findings=concluded(findings, archive.manifests, judged=judged),
        num_runs=len(archive.by_id) + len(archive.unreadable_ids),
        num_compared=len(archive.outcomes),
    )


def _compared_outcomes(workspace: Workspace, archive: ArchiveView) -> dict[str, RunOutcomes]:
    """Return the outcomes that tests need; a file that cannot be read is a finding of ``validate``."""
    outcomes = {}
    for run_id in compared_runs(archive):
        try:
            outcomes[run_id] = read_outcomes(workspace, archive.by_id[run_id])
        except RunUnreadable:
            continue
    return outcomes


def _edges(archive: ArchiveView) -> Iterator[LineageEdge]:
    for manifest in archive.by_id.values():
        for relation in manifest.notes.relations:
            yield _edge(manifest, relation, archive.by_id.get(relation.run_id))


def _edge(manifest: Manifest, relation: Relation, other: Manifest | None) -> LineageEdge:
    difference = effective_difference(manifest, other) if other is not None else None
    return LineageEdge(
        run_id=manifest.run_id,
        kind=relation.kind,
        other_id=relation.run_id,
        factors=relation.factors,
        differences=difference.changed if difference is not None else (),
        is_noop=other is not None
        and difference is not None
        and difference.is_empty
        and is_noop(manifest, other),
    )


def _nodes(archive: ArchiveView, edges: tuple[LineageEdge, ...]) -> tuple[LineageNode, ...]:
    ids = {*archive.by_id, *archive.unreadable_ids, *(edge.other_id for edge in edges)}
    return tuple(_node(run_id, archive.by_id.get(run_id)) for run_id in sorted(ids))


def _node(run_id: str, manifest: Manifest | None) -> LineageNode:
    if manifest is None:
        return LineageNode(run_id, None, None)
    return LineageNode(run_id, manifest.notes.title, manifest.sealed.status.value)
