"""One posting for several nodes: one job each, pinned to it. Nodes that come later do not get one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobrunner.errors import NodeNotFound
from jobrunner.jobs.context import JobContext
from jobrunner.model import Posting
from jobrunner.persistence.nodes import Away, Node, list_nodes, nodes_away

ALL = "all"
LABEL = "label="
SHOWN_NODES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class FannedOut:
    """A posting for each of several nodes, and what there is to say of the others."""

    postings: list[Posting]
    """In the order of their nodes' names."""
    left_out: dict[str, Away]
    """Nodes that a label or ``all`` meant, and that get no job since they take none now."""
    drained: list[str]
    """Nodes that were named and get a job, which waits until they take jobs again."""


@dataclass(frozen=True, slots=True)
class _Nodes:
    """The nodes that there are, and which of them take no jobs now."""

    known: Mapping[str, Node]
    away: Mapping[str, Away]

    @property
    def alive(self) -> list[str]:
        return [name for name in self.known if self.away.get(name) is not Away.GONE]

    def labelled(self, label: str) -> set[str]:
        return {name for name, node in self.known.items() if label in labels_of(node.report)}


def on_nodes(context: JobContext, posting: Posting, targets: Sequence[str]) -> FannedOut:
    """The posting, once for each of the nodes that ``targets`` name.

    :param targets: names of nodes; ``label=web`` or ``label=rack=3`` for all that have the label; ``all``

    Labels and ``all`` leave out nodes that are drained or gone. A key for once-only posting holds for each node by
    itself. Raises NodeNotFound for a named node that is gone, and for a label or ``all`` if no node is left.
    """
    nodes = _nodes(context)
    chosen: set[str] = set()
    left_out: dict[str, Away] = {}
    for target in targets:
        found = _meant(target, nodes)
        if _is_name(target, nodes):
            chosen |= found
            continue
        taking = found - set(nodes.away)
        if not taking:
            raise _nobody(target, found, nodes)
        chosen |= taking
        left_out |= {name: nodes.away[name] for name in sorted(found - taking)}
    return FannedOut(
        postings=[_pinned(posting, name) for name in sorted(chosen)],
        left_out={name: why for name, why in sorted(left_out.items()) if name not in chosen},
        drained=sorted(chosen & set(nodes.away)),
    )


def living_nodes(context: JobContext) -> list[Node]:
    """The nodes whose conductors said something a moment ago, by name, whether they are drained or not."""
    nodes = _nodes(context)
    return [nodes.known[name] for name in nodes.alive]


def labels_of(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels in a node's report."""
    labels = report.get("labels")
    return tuple(str(label) for label in labels) if isinstance(labels, list) else ()


def in_words(away: Mapping[str, Away]) -> str:
    """Nodes that take no jobs, each with the reason; of a great many only the first."""
    said = [f"{name} ({why})" for name, why in list(away.items())[:SHOWN_NODES]]
    more = len(away) - SHOWN_NODES
    return ", ".join(said) + (f" and {more:,} more" if more > 0 else "")


def _nodes(context: JobContext) -> _Nodes:
    """Two queries; who is alive is told by the database's clock, by which the nodes say so."""
    known = {node.name: node for node in list_nodes(context.database)}
    return _Nodes(known, nodes_away(context.database, list(known)))


def _pinned(posting: Posting, name: str) -> Posting:
    key = posting.idempotency_key
    return replace(posting, node=name, idempotency_key=None if key is None else f"{key}@{name}")


def _is_name(target: str, nodes: _Nodes) -> bool:
    """Whether one node is meant; also one that is called "all"."""
    return target in nodes.alive or not (target == ALL or target.startswith(LABEL))


def _meant(target: str, nodes: _Nodes) -> set[str]:
    if target in nodes.alive:
        return {target}
    if not nodes.alive:
        raise NodeNotFound("No conductor is alive.", hint="Start one on each node: jobrunner run")
    if target == ALL:
        return set(nodes.known)
    if target.startswith(LABEL):
        return nodes.labelled(target.removeprefix(LABEL))
    raise NodeNotFound(
        f"No conductor is alive on a node {target!r}.",
        hint=f"These nodes are alive: {', '.join(nodes.alive)}.",
    )


def _nobody(target: str, found: set[str], nodes: _Nodes) -> NodeNotFound:
    away = {name: nodes.away[name] for name in sorted(found)}
    whose = "" if target == ALL else f" that has the label {target.removeprefix(LABEL)!r}"
    if away:
        return NodeNotFound(
            f"No node{whose} takes jobs now: {in_words(away)}.",
            hint="`jobrunner node undrain NAME` lets a drained one take jobs again.",
        )
    return NodeNotFound(
        f"There is no node{whose}.",
        hint=f"These nodes are alive: {', '.join(nodes.alive)}. "
        "Labels are given by conductor.labels, or run --label.",
    )
