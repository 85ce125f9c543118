"""A flow as a Mermaid flowchart, which GitHub and many wikis draw."""

from __future__ import annotations

from jobrunner.plugins.graph.drawing import JOINT, RETRY, Drawing, Group, Node


def to_mermaid(drawing: Drawing) -> str:
    """A top-down flowchart; inner flows are subgraphs, decided edges are dotted."""
    edges = (f"  {edge.source} {'-.->' if edge.decided else '-->'} {edge.target}" for edge in drawing.edges)
    return "\n".join(["flowchart TD", *_members(drawing.root, "  "), *edges]) + "\n"


def _members(group: Group, indent: str) -> list[str]:
    lines = []
    for member in group.members:
        if isinstance(member, Group):
            lines.append(f"{indent}subgraph {member.id}[{_quoted(f'{member.name} ({member.kind})')}]")
            lines += [*_members(member, indent + "  "), f"{indent}end"]
        else:
            lines.append(indent + _node(member))
    return lines


def _node(node: Node) -> str:
    if node.kind == JOINT:
        return f'{node.id}((" "))'
    label = _quoted(node.label)
    return f"{node.id}{{{{{label}}}}}" if node.kind == RETRY else f"{node.id}[{label}]"


def _quoted(text: str) -> str:
    # Mermaid has no backslash escapes: what could end the label, or be taken for markup, is written as a
    # code.
    special = {ord(character): f"#{ord(character)};" for character in '#"<>&`\\\n'}
    return '"' + text.translate(special) + '"'
