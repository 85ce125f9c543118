"""Which conductors live, and do they go together?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobrunner import times
from jobrunner.jobs import look as looking
from jobrunner.jobs.health.finding import Finding, Reporter, Subject
from jobrunner.model import JobState
from jobrunner.persistence.nodes import Node

AREA = "nodes"

report = Reporter(AREA)


def look(subject: Subject) -> Iterator[Finding]:
    if not subject.has_tables:
        return
    context = subject.context
    known = looking.nodes_known(context)
    now_ms = times.now_ms()
    counts = looking.counts(context)
    waiting = counts.get(JobState.WAITING, 0) + counts.get(JobState.SUSPENDED, 0)
    yield from node_findings(known, now_ms=now_ms, waiting=waiting)


def node_findings(known: Sequence[Node], *, now_ms: int, waiting: int) -> Iterator[Finding]:
    """:param waiting: jobs that wait for a conductor"""
    alive = [node for node in known if node.is_alive(now_ms)]
    if alive and waiting and all(node.drained for node in alive):
        names = ", ".join(node.name for node in alive)
        yield report.warning(
            f"{_jobs(waiting)}, but all living conductors are drained: {names}.",
            "Let them take jobs again: jobrunner node undrain NAME",
        )
    elif alive:
        yield report.ok(f"Living conductors: {', '.join(node.name for node in alive)}.")
    elif waiting:
        yield report.warning(f"{_jobs(waiting)}, but no conductor lives.", "Start one: jobrunner run")
    else:
        yield report.ok("No conductor lives.", hint="Start one: jobrunner run")
    yield from _versions(alive)
    yield from _doubles(alive)


def _doubles(alive: Sequence[Node]) -> Iterator[Finding]:
    """Conductors notice by themselves when another one reports under their name."""
    for node in alive:
        rivals = node.report.get("rivals")
        if isinstance(rivals, list) and rivals:
            both = ", ".join([node.identity, *map(str, rivals)])
            yield report.warning(
                f"Two conductors run under the name {node.name}: {both}.",
                "Give each its own: jobrunner run --name NAME, or conductor.name.",
            )


def _versions(alive: Sequence[Node]) -> Iterator[Finding]:
    versions: dict[str, list[str]] = {}
    for node in alive:
        versions.setdefault(str(node.report.get("version", "unknown")), []).append(node.name)
    if len(versions) > 1:
        listed = "; ".join(f"{version} on {', '.join(names)}" for version, names in sorted(versions.items()))
        yield report.warning(
            f"Conductors run different versions of jobrunner: {listed}.",
            "That is fine for the time of an upgrade; finish it.",
        )


def _jobs(count: int) -> str:
    return "1 job waits" if count == 1 else f"{count} jobs wait"
