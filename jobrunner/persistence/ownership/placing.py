"""Jobs that prefer a node, in the store: which have waited for it long enough, and letting them go to any.

Such a job stands in its row as one that is pinned to the node, with the time at which it leaves it in ``failover_ms``.
A job that is pinned for good has no such time, and nothing here ever touches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from jobrunner.errors import CorruptRow
from jobrunner.model import UNOWNED_STATES, Job, JobState
from jobrunner.persistence.job_rows import event_row, job_from_row
from jobrunner.persistence.nodes import Away
from jobrunner.persistence.ownership.settling import INSERT_EVENTS, set_columns
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.row_locks import LOCKED_JOBS, lock_rows
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs

LOOKUP_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Departure:
    """Jobs leave the node that they prefer: all if it is away, else those whose time is up."""

    node: str
    away: Away | None
    now_ms: int

    @property
    def states(self) -> tuple[JobState, ...]:
        """Of a node that is gone also what it seems to run; should it still do so, that goes on undisturbed."""
        return (*UNOWNED_STATES, JobState.RUNNING) if self.away is Away.GONE else UNOWNED_STATES

    def includes(self, job: Job) -> bool:
        """Whether the job leaves; of what the query found another may have changed something since."""
        here = job.job_class.node == self.node and job.failover_ms is not None
        return here and job.state in self.states and job.parked is None and job.available_ms <= self.now_ms

    def is_early(self, job: Job) -> bool:
        """Whether the job's time was up, but for an attempt of before: it waits since ``available_ms`` again."""
        return self.away is None and _failover_ms(job) > self.now_ms


Mark = tuple[int, int]
"""Where a page of such jobs ends: the time of its last job, and its place."""


def candidates(
    database: Database, departure: Departure, *, limit: int, after: Mark | None = None
) -> tuple[list[str], Mark | None]:
    """The ids of jobs that may have to leave, those whose time was up first, and a mark if there may be more.

    One query by index. A page goes on behind the mark, so that rows that cannot be read hide nobody.
    """
    query = sa.select(jobs.c.id, jobs.c.failover_ms, jobs.c.seq).where(
        jobs.c.node_pin == departure.node,
        jobs.c.failover_ms.is_not(None),
        jobs.c.state.in_([state.value for state in departure.states]),
        jobs.c.parked.is_(None),
        jobs.c.available_ms <= departure.now_ms,
    )
    if departure.away is None:
        query = query.where(jobs.c.failover_ms <= departure.now_ms)
    if after is not None:
        at_once = sa.and_(jobs.c.failover_ms == after[0], jobs.c.seq > after[1])
        query = query.where(jobs.c.failover_ms >= after[0], sa.or_(jobs.c.failover_ms > after[0], at_once))
    with database.read() as connection:
        rows = connection.execute(query.order_by(jobs.c.failover_ms, jobs.c.seq).limit(limit)).all()
    last = rows[-1] if len(rows) == limit else None
    return [row.id for row in rows], None if last is None else (last.failover_ms, last.seq)


def depart(database: Database, departure: Departure, job_ids: Sequence[str]) -> list[Job]:
    """Let those of these jobs that are to leave their node run on any, in one transaction; as they are after that."""
    return database.pipelined(lambda pipeline: _depart(pipeline, departure, job_ids))


def _depart(pipeline: Pipeline, departure: Departure, job_ids: Sequence[str]) -> list[Job]:
    leaving: list[Job] = []
    for row in lock_rows(pipeline, job_ids, LOCKED_JOBS):
        try:
            job = job_from_row(row)
        except CorruptRow:  # its own trouble
            continue
        if departure.includes(job) and departure.is_early(job):
            set_columns(pipeline, [job.id], {"failover_ms": _failover_ms(job)})
        elif departure.includes(job):
            leaving.append(job)
    if leaving:
        changed = {"node_pin": None, "failover_ms": None, "note": None}
        set_columns(pipeline, [job.id for job in leaving], changed)
        data = {"node": departure.node, "why": str(departure.away or "it did not take the job in time")}
        pipeline.add(
            INSERT_EVENTS,
            [
                event_row(
                    job.id,
                    "failed_over",
                    at_ms=departure.now_ms,
                    epoch=job.epoch,
                    attempt=job.attempt,
                    data=data,
                )
                for job in leaving
            ],
        )
    return [
        replace(job, job_class=replace(job.job_class, node=None), failover_ms=None, note=None)
        for job in leaving
    ]


def _failover_ms(job: Job) -> int:
    """When the job leaves its node by what it was posted with: a later attempt, or a delayed one, counts anew."""
    placement = job.policies.placement
    return 0 if placement is None else placement.failover_ms(job.available_ms)


def pins(database: Database, job_ids: Sequence[str]) -> dict[str, str | None]:
    """The node that each of these jobs, of those that exist, waits for; None for those that any may run."""
    found: dict[str, str | None] = {}
    with database.read() as connection:
        for start in range(0, len(job_ids), LOOKUP_BATCH):
            wanted = jobs.c.id.in_(list(job_ids[start : start + LOOKUP_BATCH]))
            found.update(
                (row.id, row.node_pin)
                for row in connection.execute(sa.select(jobs.c.id, jobs.c.node_pin).where(wanted))
            )
    return found
