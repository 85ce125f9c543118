"""One posting for several nodes: one job each, pinned to it. Nodes that come later do not get one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobrunner import times
from jobrunner.errors import NodeNotFound
from jobrunner.jobs.context import JobContext
from jobrunner.model import Posting
from jobrunner.persistence.nodes import Node, list_nodes

ALL = "all"
LABEL = "label="


def on_nodes(context: JobContext, posting: Posting, targets: Sequence[str]) -> list[Posting]:
    """The posting, once for each of the living nodes that ``targets`` name, in the order of their names.

    :param targets: names of nodes; ``label=web`` or ``label=rack=3`` for all that have the label; ``all``

    A key for once-only posting holds for each node by itself. Raises NodeNotFound for a node that is not alive, and if
    no node has the label or none is alive.
    """
    alive = {node.name: node for node in living_nodes(context)}
    chosen: set[str] = set()
    for target in targets:
        chosen |= _chosen(target, alive)
    key = posting.idempotency_key
    return [
        replace(posting, node=name, idempotency_key=None if key is None else f"{key}@{name}")
        for name in sorted(chosen)
    ]


def living_nodes(context: JobContext) -> list[Node]:
    """The nodes whose conductors said something a moment ago, by name."""
    now_ms = times.now_ms()
    return [node for node in list_nodes(context.database) if node.is_alive(now_ms)]


def labels_of(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels in a node's report."""
    labels = report.get("labels")
    return tuple(str(label) for label in labels) if isinstance(labels, list) else ()


def _chosen(target: str, alive: Mapping[str, Node]) -> set[str]:
    if target in alive:  # also one that is called "all"
        return {target}
    if not alive:
        raise NodeNotFound("No conductor is alive.", hint="Start one on each node: jobrunner run")
    living = ", ".join(sorted(alive))
    if target == ALL:
        return set(alive)
    if not target.startswith(LABEL):
        raise NodeNotFound(
            f"No conductor is alive on a node {target!r}.", hint=f"These nodes are alive: {living}."
        )
    wanted = target.removeprefix(LABEL)
    found = {name for name, node in alive.items() if wanted in labels_of(node.report)}
    if not found:
        raise NodeNotFound(
            f"No living node has the label {wanted!r}.",
            hint=f"These nodes are alive: {living}. Labels are given by conductor.labels, or run --label.",
        )
    return found
