"""A flow as a tree for the terminal."""

from __future__ import annotations

from jobrunner.plugins.graph.drawing import JOINT, Drawing, Group, Node


def to_tree(drawing: Drawing) -> str:
    """One line for each flow and atom, with what an atom requires and provides."""
    return "\n".join([_title(drawing.root), *_branches(drawing.root, "")]) + "\n"


def _branches(group: Group, indent: str) -> list[str]:
    members = [member for member in group.members if isinstance(member, Group) or member.kind != JOINT]
    lines = []
    for member in members:
        last = member is members[-1]
        lines.append(f"{indent}{'└── ' if last else '├── '}{_title(member)}")
        if isinstance(member, Group):
            lines += _branches(member, indent + ("    " if last else "│   "))
    return lines


def _title(member: Group | Node) -> str:
    if isinstance(member, Group):
        return f"{member.name} ({member.kind} flow)"
    name = f"{member.name} (retry: {member.detail})" if member.detail else member.name
    return f"{name}: {member.data}" if member.data else name
