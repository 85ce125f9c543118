"""A flow as a graph for Graphviz."""

from __future__ import annotations

from jobrunner.plugins.graph.drawing import JOINT, RETRY, Drawing, Edge, Group, Node


def to_dot(drawing: Drawing) -> str:
    """A digraph; inner flows are clusters, decided edges are dashed."""
    lines = [
        f"digraph {_quoted(drawing.root.name)} {{",
        "  rankdir=TB;",
        '  node [shape=box, style=rounded, fontname="sans-serif"];',
        '  edge [fontname="sans-serif"];',
        *_members(drawing.root, "  "),
        *(f"  {_edge(edge)}" for edge in drawing.edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _members(group: Group, indent: str) -> list[str]:
    lines = []
    for member in group.members:
        if isinstance(member, Group):
            label = _quoted(f"{member.name} ({member.kind})")
            lines += [f"{indent}subgraph cluster_{member.id} {{", f"{indent}  label={label};"]
            lines += [*_members(member, indent + "  "), f"{indent}}}"]
        else:
            lines.append(f"{indent}{_node(member)}")
    return lines


def _node(node: Node) -> str:
    if node.kind == JOINT:
        return f'{node.id} [shape=point, label=""];'
    look = ", shape=octagon" if node.kind == RETRY else ""
    return f"{node.id} [label={_quoted(node.label)}, tooltip={_quoted(node.data or node.name)}{look}];"


def _edge(edge: Edge) -> str:
    return f"{edge.source} -> {edge.target}{' [style=dashed]' if edge.decided else ''};"


def _quoted(text: str) -> str:
    # Graphviz knows one escape of its own, \", but reads \n, \l and \N in labels: so backslashes are doubled.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
