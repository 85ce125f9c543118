"""Nodes: taking one out of service, and back."""

from __future__ import annotations

from jobrunner.errors import NodeNotFound
from jobrunner.jobs.context import JobContext
from jobrunner.names import may_be_stored
from jobrunner.persistence import nodes


def drain(context: JobContext, name: str) -> None:
    """Let a node take no more jobs, also after its restarts; those that it runs go on. Raises NodeNotFound."""
    _set_drained(context, name, True)


def undrain(context: JobContext, name: str) -> None:
    """Let it take jobs again; raises NodeNotFound."""
    _set_drained(context, name, False)


def _set_drained(context: JobContext, name: str, drained: bool) -> None:
    if not may_be_stored(name) or not nodes.set_drained(context.database, name, drained):
        known = ", ".join(node.name for node in nodes.list_nodes(context.database))
        raise NodeNotFound(
            f"There is no node {name!r}.",
            hint=f"Nodes are: {known}." if known else "No conductor has run yet; `jobrunner run` starts one.",
        )
