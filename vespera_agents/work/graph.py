"""The dependency graph: cycles, order, and who is to blame for a task that cannot go on. Pure functions over mappings.

An edge `a: [b]` says that a waits for b. Nothing here knows rows or status names beyond the few it is given.
Neighbours: `drafts` checks breakdowns with it, `store/` checks new edges with it, reports order by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from vespera_agents.work.errors import Cycle

__all__ = ["find_cycle", "root_blockers", "topological_order"]


def find_cycle(edges: Mapping[str, Sequence[str]]) -> None:
    """Check that no node waits for itself, directly or through others.

    Raises:
        Cycle: with the path of the first circle found.
    """
    finished: set[str] = set()
    for start in edges:
        if start in finished:
            continue
        # An explicit stack, because a plan may chain more tasks than Python's recursion allows.
        path: list[str] = [start]
        on_path: set[str] = {start}
        pending: list[Iterator[str]] = [iter(edges[start])]
        while pending:
            following = next(pending[-1], None)
            if following is None:
                pending.pop()
                done = path.pop()
                on_path.discard(done)
                finished.add(done)
            elif following in on_path:
                raise Cycle([*path[path.index(following) :], following])
            elif following not in finished:
                path.append(following)
                on_path.add(following)
                pending.append(iter(edges.get(following, ())))


def topological_order(edges: Mapping[str, Collection[str]], order: Sequence[str]) -> list[str]:
    """Give the nodes of `order` so that each comes after what it waits for, otherwise in the given order.

    Nodes that wait for something outside `order` do not wait for it here. The graph must be free of cycles.
    """
    rank = {node: place for place, node in enumerate(order)}
    entered: set[str] = set()
    result: list[str] = []

    def enter(node: str) -> tuple[str, Iterator[str]]:
        entered.add(node)
        return node, iter(sorted((on for on in edges.get(node, ()) if on in rank), key=rank.__getitem__))

    for start in rank:
        stack = [] if start in entered else [enter(start)]
        while stack:
            node, missing = stack[-1]
            following = next((on for on in missing if on not in entered), None)
            if following is None:
                stack.pop()
                result.append(node)
            else:
                stack.append(enter(following))
    return result


def root_blockers(edges: Mapping[str, Collection[str]], broken: Collection[str], node: str) -> list[str]:
    """Give the broken nodes that hold `node` up, through however many others, in the order they are found.

    Args:
        edges: what each node waits for; for a container also what it contains.
        broken: the nodes that failed, were cancelled or are blocked.
        node: the node to explain.
    """
    seen = {node}
    queue = [node]
    found: list[str] = []
    for current in queue:
        for on in edges.get(current, ()):
            if on in seen:
                continue
            seen.add(on)
            queue.append(on)
            if on in broken:
                found.append(on)
    return found
