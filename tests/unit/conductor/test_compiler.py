"""What is compiled is what TaskFlow's compiler makes of the same flow."""

from __future__ import annotations

from typing import Any

import pytest
from taskflow import retry
from taskflow.engines.action_engine.compiler import PatternCompiler, Terminator
from taskflow.patterns import linear_flow

from jobrunner.conductor.engine.compiler import JobCompiler
from tests.support.random_flows import RandomFlow
from tests.support.runs import Note


def named(node: Any) -> Any:
    """A node, the same in two compilations: each makes its own ends of flows."""
    return ("end of", node.flow) if isinstance(node, Terminator) else node


def graph_of(compilation: Any) -> tuple[Any, ...]:
    graph = compilation.execution_graph
    nodes = [(named(node), attributes) for node, attributes in graph.nodes(data=True)]
    edges = [(named(one), named(other), attributes) for one, other, attributes in graph.edges(data=True)]
    before = {named(node): {named(found) for found in graph.pred[node]} for node in graph}
    order = [named(node) for node in graph.topological_sort()]
    return graph.name, graph.frozen, nodes, edges, before, order


def tree_of(compilation: Any) -> list[Any]:
    return [
        (node.item, node.metadata, node.parent.item if node.parent else None)
        for node in compilation.hierarchy.dfs_iter(include_self=True)
    ]


@pytest.mark.parametrize("in_a_row", [True, False])
def test_the_graph_and_the_tree_are_those_of_taskflow(in_a_row: bool) -> None:
    sizes = []
    for seed in range(200):
        flow = RandomFlow(seed, in_a_row=in_a_row).flow
        ours, stock = JobCompiler(flow).compile(), PatternCompiler(flow).compile()
        assert graph_of(ours) == graph_of(stock), f"seed {seed}"
        assert tree_of(ours) == tree_of(stock), f"seed {seed}"
        sizes.append(len(ours.execution_graph))
    assert max(sizes) > 40


def test_one_task_alone_compiles() -> None:
    task = Note("alone", [])
    ours, stock = JobCompiler(task).compile(), PatternCompiler(task).compile()
    assert graph_of(ours) == graph_of(stock)
    assert tree_of(ours) == tree_of(stock)


def test_what_taskflow_refuses_is_refused() -> None:
    task, again = Note("a", []), retry.Times(2, "again")
    twice = linear_flow.Flow("outer").add(linear_flow.Flow("inner").add(task), task)
    retried = [linear_flow.Flow(name, again).add(Note(f"in-{name}", [])) for name in "bc"]
    shared = linear_flow.Flow("outer").add(*retried)
    for flow, error in [(twice, ValueError), (shared, ValueError), (object(), TypeError)]:
        for compiler in (PatternCompiler, JobCompiler):
            with pytest.raises(error):
                compiler(flow).compile()


def test_an_inner_flow_must_not_have_the_retry_of_the_outer_one() -> None:
    again = retry.Times(2, "again")
    flow = linear_flow.Flow("outer", again).add(linear_flow.Flow("inner", again).add(Note("a", [])))
    with pytest.raises(ValueError, match="'again' stands in two flows"):
        JobCompiler(flow).compile()
