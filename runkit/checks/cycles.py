"""Circles in a directed graph; knows nothing of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def cycles(edges: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return one cycle for each knot of nodes that reach each other, its smallest node first.

    Args:
        edges: Node to the nodes that it points to, all of which are keys.
    """
    return sorted(_cycle_in(knot, edges) for knot in _knots(edges))


def _knots(edges: Mapping[str, tuple[str, ...]]) -> Iterator[frozenset[str]]:
    """Yield the strongly connected components that hold a cycle, without recursion.

    Source:
        Kosaraju's algorithm in Aho, Hopcroft and Ullman (1983), Data Structures and Algorithms, section 6.7.
    """
    backward: dict[str, list[str]] = {node: [] for node in edges}
    for node, targets in edges.items():
        for target in targets:
            backward[target].append(node)
    assigned: set[str] = set()
    for root in reversed(_finishing_order(edges)):
        knot = _reached(root, backward, assigned)
        if knot and (len(knot) > 1 or root in edges[root]):
            yield knot


def _finishing_order(edges: Mapping[str, tuple[str, ...]]) -> list[str]:
    order: list[str] = []
    seen: set[str] = set()
    for root in sorted(edges):
        if root in seen:
            continue
        seen.add(root)
        trail = [(root, iter(edges[root]))]
        while trail:
            node, targets = trail[-1]
            unseen = next((target for target in targets if target not in seen), None)
            if unseen is None:
                order.append(node)
                trail.pop()
            else:
                seen.add(unseen)
                trail.append((unseen, iter(edges[unseen])))
    return order


def _reached(root: str, edges: Mapping[str, list[str]], assigned: set[str]) -> frozenset[str]:
    """Return what *root* reaches outside of *assigned*, and assign it."""
    waiting, reached = [root], set()
    while waiting:
        node = waiting.pop()
        if node not in assigned:
            assigned.add(node)
            reached.add(node)
            waiting += edges[node]
    return frozenset(reached)


def _cycle_in(knot: frozenset[str], edges: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return a shortest cycle through the smallest node of *knot*."""
    start = min(knot)
    came_from: dict[str, str] = {}
    waiting = [start]
    for node in waiting:
        for target in sorted(edges[node]):
            if target == start:
                return _trail(start, node, came_from)
            if target in knot and target not in came_from:
                came_from[target] = node
                waiting.append(target)
    raise AssertionError(f"{start} is in a knot and reaches itself")


def _trail(start: str, end: str, came_from: Mapping[str, str]) -> tuple[str, ...]:
    trail = [end]
    while trail[-1] != start:
        trail.append(came_from[trail[-1]])
    return tuple(reversed(trail))
