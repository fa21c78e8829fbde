"""The graph of relations in formats of others: Mermaid, DOT, SVG and one HTML page; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runkit.render.escaping import dot_text, markup, mermaid_text

NODE_WIDTH, NODE_HEIGHT = 300, 44
GAP_X, GAP_Y, MARGIN = 20, 18, 24
LABEL_WIDTH = 420
_LONGEST = 40

_FILL = {
    "error": "#fdd8d8",
    "warning": "#fdf0c8",
    "info": "#e3eefb",
    "": "#f4f4f4",
}
"""Colour by the worst open finding; the word stands beside it, so that nobody needs the colour."""


@dataclass(frozen=True)
class GraphNode:
    """A run."""

    run_id: str
    status: str
    depth: int
    """Column: 0 for a run without a relation."""
    worst: str
    """Severity of its worst open finding, or nothing."""
    codes: tuple[str, ...]
    """Codes of its open errors and warnings, each once."""


@dataclass(frozen=True)
class GraphEdge:
    """A declared relation, from the later run to the one that it names."""

    run_id: str
    other_id: str
    label: str
    is_noop: bool


@dataclass(frozen=True)
class Graph:
    """What is drawn: nodes in the order of the tree."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]


def mermaid(graph: Graph) -> str:
    """Return *graph* as a Mermaid diagram."""
    nodes = sorted(graph.nodes, key=lambda node: node.run_id)
    names = {node.run_id: f"run{index}" for index, node in enumerate(nodes)}
    lines = ["graph TD"]
    lines += [f'  {names[node.run_id]}["{mermaid_text(node.run_id)}<br/>{node.status}"]' for node in nodes]
    for edge in graph.edges:
        label = edge.label + (" (no difference)" if edge.is_noop else "")
        lines.append(f'  {names[edge.other_id]} -->|"{mermaid_text(label)}"| {names[edge.run_id]}')
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """Return *graph* in the language of Graphviz."""
    lines = [
        "digraph lineage {",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif"];',
    ]
    for node in graph.nodes:
        text = "\n".join(part for part in (node.run_id, node.status, " ".join(node.codes)) if part)
        lines.append(f'  {dot_text(node.run_id)} [label={dot_text(text)}, fillcolor="{_FILL[node.worst]}"];')
    for edge in graph.edges:
        style = ', style=dashed, color="#b00020"' if edge.is_noop else ""
        label = edge.label + ("\nno difference" if edge.is_noop else "")
        names = f"{dot_text(edge.other_id)} -> {dot_text(edge.run_id)}"
        lines.append(f"  {names} [label={dot_text(label)}{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def svg(graph: Graph) -> str:
    """Return *graph* as a drawing: a column for each depth, a row for each run, in the order of the tree.

    The same graph gives the same bytes; nothing is loaded from anywhere.
    """
    places = _places(graph.nodes)
    width = 2 * MARGIN + max((x for x, _ in places.values()), default=0) + NODE_WIDTH + LABEL_WIDTH
    height = 2 * MARGIN + max((y for _, y in places.values()), default=0) + NODE_HEIGHT
    body = [
        *_edge_lines(graph.edges, places),
        *(_node_line(node, places[node.run_id]) for node in graph.nodes),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" role="img" '
        'aria-label="Relations between runs">'
    )
    marker = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, marker, ground, *body, "</svg>"]) + "\n"


def html(graph: Graph, findings: Sequence[tuple[str, str]]) -> str:
    """Return one page with the drawing and *findings*, pairs of heading and sentence; it loads nothing."""
    listed = "\n".join(
        f"<li><strong>{markup(head)}</strong> {markup(sentence)}</li>" for head, sentence in findings
    )
    below = f"<h2>Findings</h2>\n<ul>\n{listed}\n</ul>" if findings else "<p>Nothing found.</p>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Lineage</title>\n'
        "<style>body{font-family:sans-serif;margin:2rem;max-width:72rem}svg{max-width:100%;height:auto}"
        "li{margin:.4rem 0}</style></head>\n<body>\n<h1>Lineage</h1>\n"
        f"{svg(graph)}{below}\n</body></html>\n"
    )


def _places(nodes: Sequence[GraphNode]) -> dict[str, tuple[int, int]]:
    return {
        node.run_id: (
            MARGIN + node.depth * (NODE_WIDTH // 3 + GAP_X),
            MARGIN + row * (NODE_HEIGHT + GAP_Y),
        )
        for row, node in enumerate(nodes)
    }


def _edge_lines(edges: Sequence[GraphEdge], places: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for edge in edges:
        (from_x, from_y), (to_x, to_y) = places[edge.other_id], places[edge.run_id]
        start_x, start_y = from_x + 16, from_y + (NODE_HEIGHT if to_y >= from_y else 0)
        end_x, end_y = to_x, to_y + NODE_HEIGHT // 2
        path = f"M{start_x},{start_y} L{start_x},{end_y} L{end_x},{end_y}"
        if end_x <= start_x:
            path = f"M{start_x},{start_y} C{start_x - 40},{start_y} {end_x - 40},{end_y} {end_x},{end_y}"
        style = ' stroke-dasharray="5 4" stroke="#b00020"' if edge.is_noop else ' stroke="#555"'
        yield f'<path d="{path}" fill="none"{style} marker-end="url(#arrow)"/>'
        label = edge.label + (", no difference" if edge.is_noop else "")
        yield (
            f'<text x="{to_x + NODE_WIDTH + 8}" y="{end_y + 4}" fill="#333">'
            f"<title>{markup(label)}</title>{markup(_shortened(label, 60))}</text>"
        )


def _node_line(node: GraphNode, place: tuple[int, int]) -> str:
    x, y = place
    codes = f" · {' '.join(node.codes)}" if node.codes else ""
    name, below = markup(_shortened(node.run_id, _LONGEST)), markup(_shortened(node.status + codes, 48))
    return (
        f'<g><title>{markup(node.run_id)}</title><rect x="{x}" y="{y}" width="{NODE_WIDTH}" '
        f'height="{NODE_HEIGHT}" rx="6" fill="{_FILL[node.worst]}" stroke="#888"/>'
        f'<text x="{x + 10}" y="{y + 18}" font-weight="bold">{name}</text>'
        f'<text x="{x + 10}" y="{y + 35}" fill="#333">{below}</text></g>'
    )


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
