"""Jobs that nobody runs: why they wait, and those whose owner was ended on purpose.

Nothing here takes a job from a living owner: notes are written only where nobody owns the job, and what an ended owner
held is handed back, or ended, under a raised epoch, so that nothing it still had under way can be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jobrunner import times
from jobrunner.model import UNOWNED_STATES, Job, JobState
from jobrunner.persistence.job_rows import dump, event_row, job_from_row
from jobrunner.persistence.ownership.settling import (
    INSERT_EVENTS,
    Settled,
    Settlement,
    set_columns,
    settle_rows,
)
from jobrunner.persistence.permits.ending import free_all
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import LOCKED_EPOCHS, LOCKED_JOBS, lock_rows, locking
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs

_UNOWNED = tuple(state.value for state in UNOWNED_STATES)
NOTES_AT_ONCE = 500


def note_waiting(database: Database, job_ids: Sequence[str], note: str) -> None:
    """Say why these jobs wait, where nobody runs them and nothing was said yet. The next claim takes the note away."""
    if not job_ids:
        return

    def work(pipeline: Pipeline) -> None:
        lock_rows(pipeline, job_ids, LOCKED_EPOCHS)
        pipeline.add(_NOTE_WAITING, [{"job_ids": sorted(set(job_ids)), "new_note": note}])

    database.pipelined(work)


_NOTE_WAITING = Statement(
    jobs.update()
    .where(
        jobs.c.id.in_(sa.bindparam("job_ids", expanding=True)),
        jobs.c.state.in_([sa.literal_column(f"'{state}'") for state in _UNOWNED]),
        jobs.c.note.is_(None),
        jobs.c.parked.is_(None),
    )
    .values(note=sa.bindparam("new_note", type_=jobs.c.note.type)),
    many="job_ids",
)


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


def running_of(database: Database, owner: str) -> list[str]:
    """The ids of the jobs that this owner runs by the store's record; one query by index."""
    query = sa.select(jobs.c.id).where(_is_run_by([owner]))
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def hand_back_of(database: Database, owners: Collection[str]) -> list[str]:
    """Suspend what these owners were running when their conductor ended them; no death is counted. The jobs' ids."""
    with database.read() as connection:
        query = sa.select(jobs.c.id).where(_is_run_by(owners))
        ids = list(connection.execute(query).scalars())
    return database.pipelined(lambda pipeline: _hand_back(pipeline, ids, owners)) if ids else []


def _is_run_by(owners: Collection[str]) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.owner.in_(list(owners)), jobs.c.state == JobState.RUNNING.value)


def _hand_back(pipeline: Pipeline, job_ids: Sequence[str], owners: Collection[str]) -> list[str]:
    # Found first, and locked by their ids then: locked as they are found they would be in another order than elsewhere.
    rows = [
        row
        for row in lock_rows(pipeline, job_ids, _LOCKED_OWNERS)
        if row["state"] == JobState.RUNNING.value and row["owner"] in owners
    ]
    if not rows:
        return []
    now_ms = times.now_ms()
    handed_back = [row["id"] for row in rows]
    pipeline.add(_SUSPEND, [{"job_ids": handed_back, "now_ms": now_ms}])
    for row in rows:
        free_all(pipeline, row)
    suspended = [
        event_row(
            row["id"],
            "suspended",
            at_ms=now_ms,
            epoch=row["epoch"] + 1,
            attempt=row["attempt"],
            owner=row["owner"],
        )
        for row in rows
    ]
    pipeline.add(INSERT_EVENTS, suspended)
    return handed_back


_LOCKED_OWNERS = locking(
    sa.select(
        jobs.c.id,
        jobs.c.epoch,
        jobs.c.state,
        jobs.c.attempt,
        jobs.c.owner,
        jobs.c.policies,
        jobs.c.properties,
    )
)
_SUSPEND = Statement(
    jobs.update()
    .where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True)))
    .values(
        state=JobState.SUSPENDED.value,
        owner=None,
        epoch=jobs.c.epoch + 1,
        updated_ms=sa.bindparam("now_ms", type_=sa.BigInteger),
    ),
    many="job_ids",
)


def settle_for(
    database: Database, job_id: str, owner: str, choose: Callable[[Job], Settlement]
) -> Settlement | None:
    """Leave a job in the place of its owner, which was ended by force; no death is counted. How it was left.

    None if it is not this owner's any more: it was quicker, or has lost it.

    :param choose: how a job is left that is as its row is now
    """

    def work(pipeline: Pipeline) -> Settlement | None:
        row = next(iter(lock_rows(pipeline, [job_id], LOCKED_JOBS)), None)
        if row is None or row["owner"] != owner or row["state"] != JobState.RUNNING.value:
            return None
        settlement = choose(job_from_row(row))
        epoch = row["epoch"] + 1
        set_columns(pipeline, [job_id], {"epoch": epoch})
        settled = Settled(
            job_id=job_id, epoch=epoch, attempt=row["attempt"], owner=owner, settlement=settlement, row=row
        )
        settle_rows(pipeline, [settled], times.now_ms())
        free_all(pipeline, row)
        return settlement

    return database.pipelined(work)


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageNote:
    """What a job's process has used, as it is to be kept. From its epoch on, and only in its attempt."""

    job_id: str
    attempt: int
    owner: str
    usage: Mapping[str, Any]


_NOTE_USAGE = Statement(
    jobs.update()
    .where(
        jobs.c.id == sa.bindparam("noted_id"),
        jobs.c.attempt == sa.bindparam("noted_attempt"),
        sa.or_(jobs.c.owner.is_(None), jobs.c.owner == sa.bindparam("noted_owner")),
    )
    .values(usage=sa.bindparam("noted_usage", type_=jobs.c.usage.type))
)
"""Not once the job has another owner: that one's figures go on from those that were there when it began."""


def note_usage(database: Database, notes: Sequence[UsageNote]) -> None:
    """Keep what jobs used; one round trip for all of them."""
    rows = [
        {
            "noted_id": note.job_id,
            "noted_attempt": note.attempt,
            "noted_owner": note.owner,
            "noted_usage": dump(note.usage),
        }
        for note in sorted(notes, key=lambda note: note.job_id)
    ]
    if rows:
        database.pipelined(lambda pipeline: pipeline.add(_NOTE_USAGE, rows))
