"""A person's word that a half-done job may go on with other code than it began with."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from jobrunner import times
from jobrunner.errors import CorruptRow, JobNotFound, LeaseLost, WrongState
from jobrunner.model import Job, JobState
from jobrunner.persistence.job_rows import event_row, job_from_row, state_of_row
from jobrunner.persistence.ownership.settling import INSERT_EVENTS, set_columns
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.row_locks import LOCKED_EPOCHS, LOCKED_JOBS, lock_rows
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs


def allow_other_code(database: Database, job_id: str) -> Job:
    """Let the next owner of a half-done job go on with its own code; the job, which can be claimed from now on.

    Fine to repeat. Raises WrongState for a job that is not half done, or runs; JobNotFound or CorruptRow.
    """
    return database.pipelined(lambda pipeline: _allow(pipeline, job_id))


def _allow(pipeline: Pipeline, job_id: str) -> Job:
    rows = lock_rows(pipeline, [job_id], LOCKED_JOBS)
    if not rows:
        raise JobNotFound(f"There is no job {job_id}.", hint="`jobrunner list` shows the jobs there are.")
    (row,) = rows
    _require_half_done(row)
    now_ms = times.now_ms()
    changed: dict[str, Any] = {"adopted": 1, "misfits": None, "updated_ms": now_ms}
    if row["parked"] is None and row["awaits"] is None:
        changed |= {"note": None, "available_ms": min(row["available_ms"], now_ms)}
    set_columns(pipeline, [job_id], changed)
    event = event_row(job_id, "adopted", at_ms=now_ms, epoch=row["epoch"], attempt=row["attempt"])
    pipeline.add(INSERT_EVENTS, [event])
    return job_from_row({**row, **changed})


def _require_half_done(row: Any) -> None:
    state = state_of_row(row)
    if state.is_terminal:
        raise WrongState(
            f"Job {row['id']} has ended already: {state}.",
            hint="`jobrunner retry` runs one that ended badly again, with the present code.",
        )
    if state is JobState.RUNNING:
        raise WrongState(
            f"Job {row['id']} runs, so its code fits.",
            hint="Only a job that waits for other code can be adopted.",
        )
    if row["started_ms"] is None:
        raise WrongState(
            f"Job {row['id']} was not begun, so it runs with whatever code its conductor has.",
            hint="`jobrunner status` says what it waits for.",
        )


def waiting_for_other_code(database: Database, types: Sequence[str], *, limit: int) -> list[Job]:
    """Half-done jobs of these types whose last owner had other code than they began with; oldest first."""
    query = (
        sa.select(jobs)
        .where(
            jobs.c.state == JobState.SUSPENDED.value,
            jobs.c.misfits > 0,
            jobs.c.parked.is_(None),
            jobs.c.type.in_(list(types)),
        )
        .order_by(jobs.c.seq)
        .limit(limit)
    )
    found: list[Job] = []
    with database.read() as connection:
        for row in connection.execute(query).mappings():
            with contextlib.suppress(CorruptRow):
                found.append(job_from_row(row))
    return found


def adopted(database: Database, job: Job) -> None:
    """The job's owner has recorded that the job goes on with its code; raises LeaseLost if it has another by now."""

    def work(pipeline: Pipeline) -> None:
        rows = lock_rows(pipeline, [job.id], LOCKED_EPOCHS)
        if not rows or rows[0]["epoch"] != job.epoch:
            raise LeaseLost
        set_columns(pipeline, [job.id], {"adopted": None})

    database.pipelined(work)
