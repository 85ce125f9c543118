"""How far a flow has come is found as by a search through all of it, and each edge is looked at once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import networkx as nx
import pytest

from jobrunner.conductor.engine.frontier import Frontier


class Walk:
    """A graph with what is done of it, and how many nodes were handed out by it."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.done: set[Any] = set()
        self.handed_out = 0
        self.frontier = Frontier(
            self._counted(graph.predecessors), self._counted(graph.successors), self.done.__contains__
        )

    def _counted(self, neighbours: Any) -> Any:
        def counting(node: Any) -> Iterable[Any]:
            found = list(neighbours(node))
            self.handed_out += len(found)
            return found

        return counting

    def finish(self, node: Any) -> list[Any]:
        """What may come next once this one is done."""
        self.done.add(node)
        after = dict.fromkeys(self.frontier.from_here(node, through=lambda _: True))
        return [found for found in after if found not in self.done and self.frontier.is_reached(found)]


def layers(number: int, width: int) -> Any:
    graph = nx.DiGraph()
    for layer in range(number):
        for place in range(width):
            graph.add_edge(("start", layer), (layer, place))
            graph.add_edge((layer, place), ("start", layer + 1))
    return graph


@pytest.mark.parametrize(
    "graph",
    [nx.path_graph(3000, create_using=nx.DiGraph), layers(40, 40), layers(1, 1500), nx.star_graph(1500)],
    ids=["linear", "layers", "wide", "star"],
)
def test_running_all_of_it_looks_at_each_edge_a_few_times(graph: Any) -> None:
    graph = graph if graph.is_directed() else nx.DiGraph((0, node) for node in graph if node)
    walk = Walk(graph)
    ready = [node for node in graph if not graph.pred[node]]
    while ready:
        ready += walk.finish(ready.pop())

    assert len(walk.done) == len(graph)
    assert walk.handed_out <= 4 * graph.number_of_edges()


@pytest.mark.parametrize("seed", range(40))
def test_it_says_what_a_search_through_all_of_it_says(seed: int) -> None:
    """Whatever is done and taken back, in whatever order."""
    chance = random.Random(seed)
    size = 25
    pairs = ((low, high) for high in range(size) for low in range(high) if chance.random() < 0.12)
    graph = nx.DiGraph(pairs)
    graph.add_nodes_from(range(size))
    walk = Walk(graph)
    for _ in range(200):
        node = chance.randrange(size)
        if node in walk.done and chance.random() < 0.3:
            walk.done.discard(node)
            walk.frontier.take_back(node)
        else:
            walk.done.add(node)
        asked = chance.randrange(size)
        assert walk.frontier.is_reached(asked) == (nx.ancestors(graph, asked) <= walk.done)


def test_what_is_ignored_while_its_successors_are_looked_at_lets_on_what_comes_after_it() -> None:
    """A decider may ignore an atom that was given, and one that was passed by before."""
    graph = nx.DiGraph([("a", "u"), ("a", "x"), ("x", "u"), ("u", "v")])
    walk = Walk(graph)
    walk.done.add("a")
    given = []
    for node in walk.frontier.from_here("a", through=lambda _: True):
        given.append(node)
        if node == "x":
            walk.done.update(("x", "u"))

    assert "v" in given
    assert walk.frontier.is_reached("v")
