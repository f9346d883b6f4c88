"""Cycles, order and blame, against models that try everything."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.work.errors import Cycle
from vespera_agents.work.graph import find_cycle, root_blockers, topological_order

NODES = "abcdefg"
GRAPHS = st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=4), max_size=len(NODES))


def reachable(edges, start) -> set[str]:
    """Everything that `start` waits for, by asking until nothing is new."""
    found: set[str] = set()
    while (more := {on for node in (found | {start}) for on in edges.get(node, ())}) - found:
        found |= more
    return found


def acyclic(edges):
    """Keep the edges that go forward in the alphabet."""
    return {node: [on for on in ons if on > node] for node, ons in edges.items()}


@given(GRAPHS)
def test_a_cycle_is_found_exactly_when_a_node_reaches_itself_and_its_path_is_real(edges) -> None:
    if not any(node in reachable(edges, node) for node in edges):
        find_cycle(edges)
        return
    with pytest.raises(Cycle) as found:
        find_cycle(edges)
    path = found.value.path
    assert path[0] == path[-1]
    assert len(path) > 1
    assert all(on in edges[node] for node, on in pairwise(path))
    assert " -> ".join(path) in str(found.value)


@given(GRAPHS.map(acyclic), st.permutations(NODES), st.integers(0, len(NODES)))
def test_an_order_puts_every_node_behind_what_it_waits_for(edges, order, length) -> None:
    part = order[:length]
    result = topological_order(edges, part)
    assert sorted(result) == sorted(part)
    place = {node: index for index, node in enumerate(result)}
    for node in part:
        assert all(place[on] < place[node] for on in edges.get(node, ()) if on in place)


@given(st.permutations(NODES))
def test_without_edges_the_order_stays_as_given(order) -> None:
    assert topological_order({}, order) == list(order)


def test_a_node_that_two_others_wait_for_comes_before_both() -> None:
    assert topological_order({"a": ["b", "c"], "b": ["c"]}, ["a", "b", "c"]) == ["c", "b", "a"]


def test_a_chain_longer_than_the_recursion_limit_is_walked() -> None:
    names = [str(number) for number in range(5_000)]
    edges = {node: [on] for node, on in pairwise(names)}
    find_cycle(edges)
    assert topological_order(edges, names) == names[::-1]
    with pytest.raises(Cycle) as found:
        find_cycle({**edges, names[-1]: [names[0]]})
    assert len(found.value.path) == 5_001


@given(GRAPHS, st.sets(st.sampled_from(NODES)), st.sampled_from(NODES))
def test_the_blockers_are_the_broken_nodes_within_reach_each_once(edges, broken, node) -> None:
    found = root_blockers(edges, broken, node)
    assert sorted(found) == sorted((reachable(edges, node) & broken) - {node})


def test_blockers_come_nearest_first() -> None:
    edges = {"a": ["b", "c"], "b": ["d"], "c": [], "d": []}
    assert root_blockers(edges, {"d", "c"}, "a") == ["c", "d"]
