"""Jobs whose time is over, or has come: those that expired end, those that are due say that they wait.

Whoever claims a job looks at both by itself (ownership.py); this is for the jobs that nobody can claim. Every change is
made under a lock on the job's row, so that it is the claimer's job or it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import CorruptRow
from jobrunner.model import Job, JobState
from jobrunner.persistence import listing
from jobrunner.persistence.job_rows import job_from_row
from jobrunner.persistence.ownership.beginning import end_unstarted, expired, is_expired
from jobrunner.persistence.ownership.settling import set_columns
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.row_locks import LOCKED_JOBS, lock_rows
from jobrunner.persistence.server.database import Database

DUE_MS = 3_000
"""A job that was due so long ago, and was not claimed, waits for a conductor rather than for its time."""
AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """What was done about jobs that were overdue."""

    expired: list[str] = field(default_factory=list)
    due: list[str] = field(default_factory=list)

    after: int | None = None
    """The mark behind which there may be more of them."""


def end_overdue(database: Database, *, after: int = 0) -> Overdue:
    """End the jobs that expired, as EXPIRED, and let those that have been due for a while wait, as WAITING.

    By the database's clock. So many at once; costs two queries, and a transaction if there are any. Those whose rows
    cannot be read stay as they are, and keep nobody from those behind them.

    :param after: the mark of the last ones
    """
    with database.read() as connection:
        now_ms = connection.execute(sa.select(database.now_ms())).scalar_one()
        bounds = {"now_ms": now_ms, "due_before_ms": now_ms - DUE_MS, "after": after, "most": AT_ONCE}
        found = connection.execute(listing.overdue(), bounds).all()
    if not found:
        return Overdue()
    ended = database.pipelined(lambda pipeline: _end(pipeline, [row.id for row in found], now_ms))
    return replace(ended, after=found[-1].seq if len(found) == AT_ONCE else None)


def _end(pipeline: Pipeline, ids: list[str], now_ms: int) -> Overdue:
    jobs = [job for row in lock_rows(pipeline, ids, LOCKED_JOBS) if (job := _readable(row)) is not None]
    over = [job for job in jobs if is_expired(job, now_ms) and job.state is not JobState.RUNNING]
    end_unstarted(pipeline, [(replace(job, epoch=job.epoch + 1), expired(job)) for job in over], now_ms)
    gone = {job.id for job in over}
    due = [job.id for job in jobs if job.id not in gone and _is_due(job, now_ms)]
    if due:
        set_columns(pipeline, due, {"state": JobState.WAITING.value, "note": None})
    return Overdue(expired=sorted(gone), due=due)


def _is_due(job: Job, now_ms: int) -> bool:
    is_scheduled = job.state is JobState.SCHEDULED and job.parked is None
    return is_scheduled and job.available_ms <= now_ms - DUE_MS


def _readable(row: Any) -> Job | None:
    try:
        return job_from_row(row)
    except CorruptRow:
        return None
