"""Compiles a flow as TaskFlow does, into one graph from the start.

TaskFlow makes a graph of every task and copies what it has so far each time it merges one more: a flow of n tasks costs
n squared, and one of a single task three graphs. What comes out here is the same, node by node and edge by edge
(taskflow.engines.action_engine.compiler tells why the graph looks as it does), in time that grows with the flow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from taskflow import task
from taskflow.engines.action_engine import compiler
from taskflow.flow import LINK_INVARIANT, LINK_RETRY, Flow
from taskflow.types import graph as graphs
from taskflow.types import tree

_ALWAYS = {LINK_INVARIANT: True}


@dataclass(frozen=True, slots=True)
class _Part:
    """What was compiled of one task or flow: what has nothing before it there, what has nothing after it, its node."""

    first: Any
    last: Any
    node: tree.Node


class JobCompiler(compiler.PatternCompiler):
    """Compiles one flow; raises TypeError for what is no flow, ValueError for what stands in it twice."""

    def _compile(self, item: Any, parent: Any = None) -> tuple[Any, Any]:
        graph = graphs.DiGraph(name=getattr(item, "name", ""))
        return graph, self._add(graph, item, parent).node

    def _add(self, graph: Any, item: Any, parent: Any) -> _Part:
        if isinstance(item, Flow):
            self._pre_item_compile(item)
            part = self._add_flow(graph, item, parent)
        elif isinstance(item, task.Task):
            self._pre_item_compile(item)
            part = self._add_node(graph, item, parent, kind=compiler.TASK)
        else:
            raise TypeError(f"{item!r} ({type(item)}) is neither a flow nor a task: it cannot be compiled")
        self._level -= 1
        return part

    def _add_node(self, graph: Any, item: Any, parent: Any, **attributes: Any) -> _Part:
        graph.add_node(item, **attributes)
        node = tree.Node(item, **attributes)
        if parent is not None:
            parent.add(node)
        return _Part(item, item, node)

    def _add_flow(self, graph: Any, flow: Any, parent: Any) -> _Part:
        start = len(graph)
        node = self._add_node(graph, flow, parent, kind=compiler.FLOW, noop=True).node
        if flow.retry is not None:
            node.add(tree.Node(flow.retry, kind=compiler.RETRY))
        parts = {child: self._add(graph, child, node) for child in flow}
        for before, after, attributes in flow.iter_links():
            _link(graph, [parts[before].last], [parts[after].first], attributes)
        if flow.retry is not None:
            self._add_retry(graph, flow, start)
        first = [part.first for part in parts.values() if not graph.pred[part.first]]
        if flow.retry is None:
            _link(graph, [flow], first, _ALWAYS)
        else:
            _link(graph, [flow.retry], first, {**_ALWAYS, LINK_RETRY: True})
        ends = [flow, *(part.last for part in parts.values())]
        if flow.retry is not None:
            ends.append(flow.retry)
        last = [end for end in ends if not graph.succ[end]]
        terminator = compiler.Terminator(flow)
        graph.add_node(terminator, kind=compiler.FLOW_END, noop=True)
        _link(graph, last, [terminator], _ALWAYS)
        return _Part(flow, terminator, node)

    def _add_retry(self, graph: Any, flow: Any, start: int) -> None:
        """Put a flow's retry right after its beginning; what has no retry of its own there is this one's."""
        # TaskFlow itself finds this only in flows side by side, and makes a circle of one within another.
        if flow.retry in graph:
            raise ValueError(f"The retry {flow.retry.name!r} stands in two flows: each needs one of its own")
        for inner in itertools.islice(graph.nodes, start + 1, None):
            graph.nodes[inner].setdefault(compiler.RETRY, flow.retry)
        graph.add_node(flow.retry, kind=compiler.RETRY)
        _link(graph, [flow], [flow.retry], _ALWAYS)


def _link(
    graph: Any, before: Iterable[Any], after: Iterable[Any], attributes: Mapping[str, Any] | None
) -> None:
    for one in before:
        for other in after:
            graph.add_edge(one, other, **(attributes or {}))
