"""What is drawn of a compiled flow: its tree of flows and atoms, and the order between the atoms.

TaskFlow's execution graph also has a node for each flow's begin and end. They are left out where the edges
around them can be drawn directly; between many atoms and many others they stay as a joint, which is easier to
read than all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobrunner.plugins.building import compile_flow

if TYPE_CHECKING:
    from taskflow.flow import Flow

TASK, RETRY, JOINT = "task", "retry", "joint"


@dataclass(frozen=True, kw_only=True)
class Node:
    """An atom, or a joint."""

    id: str
    kind: str
    name: str = ""
    detail: str = ""
    """Retries: the class that decides."""
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.name} ({self.detail})" if self.detail else self.name

    @property
    def data(self) -> str:
        """What goes in and what comes out: ``source, keep → archive``."""
        arrow = f"→ {', '.join(self.provides)}" if self.provides else ""
        return " ".join(part for part in (", ".join(self.requires), arrow) if part)


@dataclass(kw_only=True)
class Group:
    """A flow and what is in it, in order."""

    id: str
    name: str
    kind: str
    members: list[Group | Node] = field(default_factory=list)

    def nodes(self) -> Iterator[Node]:
        for member in self.members:
            if isinstance(member, Group):
                yield from member.nodes()
            else:
                yield member


@dataclass(frozen=True, kw_only=True)
class Edge:
    source: str
    target: str
    decided: bool = False
    """Whether a decider tells at run time if the target is visited."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    root: Group
    edges: tuple[Edge, ...]


def draw(flow: Flow) -> Drawing:
    """Compile the flow and take its picture; InvalidFlow if it does not compile."""
    compilation = compile_flow(flow)
    groups: dict[Any, Group] = {}
    ids: dict[Any, str] = {}
    root = _group(compilation.hierarchy, groups, ids)
    links = _contracted(compilation.execution_graph)
    for node in links:
        if node not in ids:  # a begin or an end that stays
            ids[node] = f"j{len(ids) + 1}"
            groups[getattr(node, "flow", node)].members.append(Node(id=ids[node], kind=JOINT))
    edges = (
        Edge(source=ids[source], target=ids[target], decided=decided)
        for source, targets in links.items()
        for target, decided in targets.items()
    )
    return Drawing(
        root=root, edges=tuple(sorted(edges, key=lambda edge: (_order(edge.source), _order(edge.target))))
    )


def _group(tree: Any, groups: dict[Any, Group], ids: dict[Any, str]) -> Group:
    group = Group(id=f"g{len(groups) + 1}", name=tree.item.name, kind=_flow_kind(tree.item))
    groups[tree.item] = group
    for child in tree:
        if child.metadata["kind"] in (TASK, RETRY):
            ids[child.item] = f"n{len(ids) + 1}"
            group.members.append(_atom(child.item, child.metadata["kind"], ids[child.item]))
        else:
            group.members.append(_group(child, groups, ids))
    return group


def _atom(atom: Any, kind: str, id: str) -> Node:
    return Node(
        id=id,
        kind=kind,
        name=atom.name,
        detail=type(atom).__name__ if kind == RETRY else "",
        requires=tuple(sorted(atom.requires)),
        provides=tuple(atom.provides),
    )


def _flow_kind(flow: Any) -> str:
    """``linear``, ``unordered`` or ``graph``, also of classes made from TaskFlow's."""
    for cls in type(flow).__mro__:
        if cls.__module__.startswith("taskflow.patterns."):
            return cls.__module__.rpartition(".")[2].removesuffix("_flow")
    return type(flow).__name__


def _contracted(graph: Any) -> dict[Any, dict[Any, bool]]:
    """Each atom and joint with its successors, and whether the way there is decided."""
    after: dict[Any, dict[Any, bool]] = {node: {} for node in graph.nodes}
    before: dict[Any, dict[Any, bool]] = {node: {} for node in graph.nodes}
    for source, target, data in graph.edges(data=True):
        after[source][target] = before[target][source] = data.get("decider") is not None
    for node in list(graph.topological_sort()):
        is_atom = graph.nodes[node]["kind"] in (TASK, RETRY)
        if is_atom or (len(before[node]) > 1 and len(after[node]) > 1):
            continue
        for source, first in before[node].items():
            del after[source][node]
            for target, second in after[node].items():
                both = first or second or after[source].get(target, False)
                after[source][target] = before[target][source] = both
        for target in after[node]:
            del before[target][node]
        del after[node], before[node]
    return after


def _order(id: str) -> tuple[int, str]:
    return int(id[1:]), id
