"""``lineage``: how runs are related and whether that is true; reads manifests, and outcomes where it must."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runkit.archive.reading import read_items, read_manifests, read_outcomes, read_projections
from runkit.archive.workspace import Workspace
from runkit.checks.claims import claiming_runs
from runkit.checks.comparison import KeyDifference, effective_difference, is_noop
from runkit.checks.gather import FOR_RELATIONS, concluded, unwaived
from runkit.checks.integrity import rightly_named, unreadable_manifest
from runkit.checks.measured_claims import measured_runs
from runkit.checks.statistics import STATISTICS, compared_runs
from runkit.checks.suggest import Suggestion, suggestions
from runkit.checks.view import ArchiveView
from runkit.errors import RunUnreadable, UsageError
from runkit.records.finding import Finding
from runkit.records.items import RunItems
from runkit.records.manifest import Manifest, Relation, RelationKind, Status
from runkit.records.outcomes import RunOutcomes
from runkit.render.graph import Graph, GraphEdge, GraphNode, dot, html, mermaid, svg


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
    folder = read_manifests(workspace)
    unreadable = frozenset(bad.path.removesuffix(".json") for bad in folder.unreadable)
    named = rightly_named(folder.manifests, folder.file_ids)
    misnamed = frozenset(finding.run_id for finding in named.findings)
    view = ArchiveView(named.manifests, unreadable_ids=unreadable | misnamed)
    outcomes = _compared_outcomes(workspace, view)
    bad = [unreadable_manifest(one.path, one.message) for one in folder.unreadable]
    return lineage_of(
        ArchiveView(
            named.manifests,
            outcomes=outcomes,
            unreadable_ids=unreadable | misnamed,
            items=_read_items(workspace, view),
        ),
        before=(*bad, *named.findings),
    )


def suggested_relations(workspace: Workspace) -> tuple[Suggestion, ...]:
    """Return a relation for each run that has none, where its configuration bears one out; notes nothing."""
    return suggestions(ArchiveView(read_manifests(workspace).manifests))


def picture(report: LineageReport, output: str) -> str:
    """Return the graph of *report* as ``mermaid``, ``dot``, ``svg`` or ``html``.

    Raises:
        UsageError: *output* is none of them.
    """
    graph = _graph(report)
    drawn = {"mermaid": mermaid, "dot": dot, "svg": svg}
    if output in drawn:
        return drawn[output](graph)
    if output != "html":
        raise UsageError(f"a graph is drawn as mermaid, dot, svg or html, not as {output!r}")
    return html(graph, [(f"{one.rule} {one.severity}, {one.run_id}:", _told(one)) for one in report.findings])


def _told(finding: Finding) -> str:
    waived = "" if finding.waived_because is None else f" (waived because {finding.waived_because})"
    return f"{finding.message}{waived}"


def _graph(report: LineageReport) -> Graph:
    open_ones: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        if finding.waived_because is None:
            open_ones[finding.run_id].append(finding)
    nodes = [
        GraphNode(
            run_id=line.node.run_id,
            status=line.node.status or "not in the archive",
            depth=line.depth,
            worst=next((one.severity for one in open_ones[line.node.run_id]), ""),
            codes=tuple(sorted({one.rule for one in open_ones[line.node.run_id] if one.severity != "info"})),
        )
        for line in report.tree()
    ]
    edges = [
        GraphEdge(edge.run_id, edge.other_id, f"{edge.kind} {', '.join(edge.factors)}".strip(), edge.is_noop)
        for edge in report.edges
    ]
    return Graph(tuple(nodes), tuple(edges))


@dataclass(frozen=True)
class LineageCheck:
    """What the gate found, without the graph."""

    findings: tuple[Finding, ...]
    """Worst first."""
    num_runs: int
    num_relations: int


def check_lineage(workspace: Workspace, *, in_full: bool = False) -> LineageCheck:
    """Return what is wrong with the relations of the archive, fast enough to ask on every change.

    Outcomes are read only of runs whose notes claim something; that a difference is not significant (RK501)
    is a note, fails nothing, and is left to :func:`lineage`.

    Args:
        in_full: Read and check every field of every manifest.
    """
    folder = read_manifests(workspace) if in_full else read_projections(workspace)
    unreadable = frozenset(bad.path.removesuffix(".json") for bad in folder.unreadable)
    named = rightly_named(folder.manifests, folder.file_ids)
    hidden = unreadable | {finding.run_id for finding in named.findings}
    view = ArchiveView(named.manifests, unreadable_ids=hidden)
    outcomes = _read_outcomes(workspace, view, sorted(claiming_runs(view)))
    items = _read_items(workspace, view)
    view = ArchiveView(named.manifests, outcomes=outcomes, unreadable_ids=hidden, items=items)
    bad = [unreadable_manifest(one.path, one.message) for one in folder.unreadable]
    families = tuple(family for family in FOR_RELATIONS if family is not STATISTICS)
    judged = frozenset[str]().union(*(family.rules for family in families))
    findings = [*bad, *named.findings, *unwaived(view, families)]
    return LineageCheck(
        findings=concluded(findings, view.manifests, judged=judged),
        num_runs=len(view.by_id) + len(hidden),
        num_relations=sum(len(manifest.notes.relations) for manifest in view.manifests),
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
        num_compared=len(archive.outcomes) + len(archive.items),
    )


def _compared_outcomes(workspace: Workspace, archive: ArchiveView) -> dict[str, RunOutcomes]:
    return _read_outcomes(workspace, archive, compared_runs(archive))


def _read_outcomes(
    workspace: Workspace, archive: ArchiveView, chosen: Iterable[str]
) -> dict[str, RunOutcomes]:
    """Return the outcomes of the runs *chosen*; a file that cannot be read is a finding of ``validate``."""
    outcomes = {}
    for run_id in chosen:
        try:
            outcomes[run_id] = read_outcomes(workspace, archive.by_id[run_id])
        except RunUnreadable:
            continue
    return outcomes


def _read_items(workspace: Workspace, archive: ArchiveView) -> dict[str, RunItems]:
    """Return the item scores of the runs of format 2 that relations and claims are about."""
    items = {}
    for run_id in sorted(measured_runs(archive)):
        try:
            items[run_id] = read_items(workspace, archive.by_id[run_id])
        except RunUnreadable:
            continue
    return items


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
