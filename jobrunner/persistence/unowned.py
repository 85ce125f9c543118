"""Jobs that nobody runs: why they wait, and those whose owner was ended on purpose.

Nothing here takes a job from a living owner: notes are written only where nobody owns the job, and what an ended owner
held is handed back under a raised epoch, so that nothing it still had under way can be recorded.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from jobrunner.model import JobState
from jobrunner.persistence.database import Database
from jobrunner.persistence.job_rows import event_row
from jobrunner.persistence.permits import may_hold
from jobrunner.persistence.tables import events, jobs, permits

_UNOWNED = tuple(state.value for state in (JobState.SCHEDULED, JobState.WAITING, JobState.SUSPENDED))
NOTES_AT_ONCE = 500


def note_waiting(database: Database, job_ids: Sequence[str], note: str) -> None:
    """Say why these jobs wait, where nobody runs them and nothing was said yet. The next claim takes the note away."""
    statement = (
        jobs.update()
        .where(
            jobs.c.id.in_(list(job_ids)),
            jobs.c.state.in_(_UNOWNED),
            jobs.c.note.is_(None),
            jobs.c.parked.is_(None),
        )
        .values(note=note)
    )
    database.retrying(lambda connection: connection.execute(statement))


def unexplained(
    database: Database, *, type_: str | None = None, node: str | None = None, limit: int = NOTES_AT_ONCE
) -> list[str]:
    """Jobs of a type, or pinned to a node, that nobody runs and that do not say why they wait; oldest first.

    One that only prefers the node does not wait for it long.
    """
    query = sa.select(jobs.c.id).where(
        jobs.c.state.in_(_UNOWNED), jobs.c.note.is_(None), jobs.c.parked.is_(None)
    )
    if type_ is not None:
        query = query.where(jobs.c.type == type_)
    if node is not None:
        query = query.where(jobs.c.node_pin == node, jobs.c.failover_ms.is_(None))
    with database.read() as connection:
        return list(connection.execute(query.order_by(jobs.c.seq).limit(limit)).scalars())


def hand_back_of(database: Database, owners: Collection[str]) -> list[str]:
    """Suspend what these owners were running when their conductor ended them; no death is counted. The jobs' ids."""

    def work(connection: Connection) -> list[str]:
        held = (
            sa.select(
                jobs.c.id, jobs.c.epoch, jobs.c.attempt, jobs.c.owner, jobs.c.policies, jobs.c.properties
            )
            .where(jobs.c.owner.in_(list(owners)), jobs.c.state == JobState.RUNNING.value)
            .order_by(jobs.c.id)
            .with_for_update()
        )
        rows = connection.execute(held).all()
        if not rows:
            return []
        now_ms = time.time_ns() // 1_000_000
        connection.execute(
            jobs.update()
            .where(jobs.c.id.in_([row.id for row in rows]))
            .values(state=JobState.SUSPENDED.value, owner=None, epoch=jobs.c.epoch + 1, updated_ms=now_ms)
        )
        holding = [row.id for row in rows if may_hold(row._mapping)]
        if holding:
            connection.execute(permits.delete().where(permits.c.job_id.in_(holding)))
        connection.execute(
            events.insert(),
            [
                event_row(
                    row.id,
                    "suspended",
                    at_ms=now_ms,
                    epoch=row.epoch + 1,
                    attempt=row.attempt,
                    owner=row.owner,
                )
                for row in rows
            ],
        )
        return [row.id for row in rows]

    return database.retrying(work)
