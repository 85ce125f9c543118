"""What people want of a conductor: of the jobs that it runs, and of its node. One query, since it is asked so often."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from jobrunner.model import CancelMode, JobState
from jobrunner.persistence.permits.configured import NODE, configured_of
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs, nodes, semaphores
from jobrunner.policies import ANY_NUMBER


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What is wished of running jobs, by id, and of the node."""

    cancel: dict[str, CancelMode] = field(default_factory=dict)
    suspend: set[str] = field(default_factory=set)
    """Without those that are to be cancelled."""
    drained: bool = False
    """The node takes no more jobs."""
    limit: int | None = None
    """So many jobs may run on the node at once."""


def wishes(database: Database, owners: Sequence[str], *, node: str | None = None) -> Wishes:
    """What somebody wishes of the jobs of these owners, and of the node; one query by index."""
    if not owners and node is None:
        return Wishes()
    of_jobs: dict[str, Any] = {"owners": list(owners)} if owners else {}
    of_node = {} if node is None else {"node": node, "semaphore": f"{NODE}{node}"}
    with database.read() as connection:
        rows = connection.execute(_statement(bool(of_jobs), bool(of_node)), {**of_jobs, **of_node}).all()
    wished = [row for row in rows if row.id is not None]
    said = [str(row.cancel) for row in rows if row.id is None]
    return Wishes(
        cancel={row.id: CancelMode(row.cancel) for row in wished if row.cancel in _MODES},
        suspend={row.id for row in wished if row.cancel not in _MODES},
        drained=DRAINED in said,
        limit=next((_limit(text) for text in said if text != DRAINED), None),
    )


_MODES = frozenset(mode.value for mode in CancelMode)


@functools.cache
def _statement(of_jobs: bool, of_node: bool) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """Made once: an idle conductor asks this more often than anything else."""
    parts = [*([_of_jobs()] if of_jobs else []), *(_of_node() if of_node else [])]
    return sa.union_all(*parts) if len(parts) > 1 else parts[0]


def _of_jobs() -> sa.Select[Any]:
    return sa.select(jobs.c.id, jobs.c.cancel).where(
        jobs.c.owner.in_(sa.bindparam("owners", expanding=True)),
        jobs.c.state == JobState.RUNNING.value,
        sa.or_(jobs.c.cancel.in_(sorted(_MODES)), jobs.c.held == 1),
    )


def _of_node() -> list[sa.Select[Any]]:
    """Rows without an id: one if the node is drained, one with its limit, if it has one."""
    nobody: sa.ColumnElement[Any] = sa.null().label("id")
    drained = sa.select(nobody, sa.literal(DRAINED).label("cancel")).where(
        nodes.c.name == sa.bindparam("node"), nodes.c.drained == 1
    )
    set_or_configured = sa.func.coalesce(sa.cast(semaphores.c.count, sa.String(16)), semaphores.c.configured)
    limited = sa.select(nobody, set_or_configured.label("cancel")).where(
        semaphores.c.name == sa.bindparam("semaphore")
    )
    return [drained, limited]


def _limit(text: str) -> int | None:
    """The number that somebody set, or that is configured; ANY_NUMBER is no limit."""
    count = int(text) if text.isdecimal() else configured_of(text).count
    return None if count is None or count >= ANY_NUMBER else count


DRAINED = "drained"
