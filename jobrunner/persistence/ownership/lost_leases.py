"""An owner that lost its job and lives: what it may say about that, and what became of the job.

A claim that finds a job RUNNING under another owner counts a death, for it cannot know better: a conductor that lost
Redis for longer than a lease, or was paused, looks to others like one that died. The owner that finds itself alive
takes that one back, under a lock on the job's row. Invariants:

- An owner gives back at most the death that the claim right after its own epoch counted, and only in its attempt. Who
  is dead gives nothing back, so a job that kills its owners comes to MAX_DEATHS.
- A job that brings its owners to lose their leases (it exhausts the machine) would go round for ever if each gave one
  back: after MOST_GIVEN_BACK in an attempt, lost leases count as deaths again.
- A job that has ended is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from jobrunner import times
from jobrunner.model import Job
from jobrunner.persistence.job_rows import event_row, state_of_row
from jobrunner.persistence.ownership.settling import INSERT_EVENTS, set_columns
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import LOCKED_JOBS, lock_rows
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import events

MOST_GIVEN_BACK = 10
"""So many deaths may be given back in one attempt."""
LOST = "lease_lost"
"""The kind of event that says so, under the epoch of the owner that lost it."""

_CLAIMED_OR_LOST = Statement(
    sa.select(events.c.kind, events.c.epoch, events.c.owner).where(
        events.c.job_id == sa.bindparam("job_id"),
        events.c.attempt == sa.bindparam("attempt"),
        events.c.kind.in_(("claimed", LOST)),
    )
)


def give_death_back(database: Database, job: Job, *, patience: float = 10.0) -> str:
    """Take back that the owner of ``job`` died, which calls this and so lives; in words, who has the job now.

    The words continue "its lease was lost". Safe to repeat. Two round trips, three if there is one to give back.
    """

    def work(pipeline: Pipeline) -> str:
        rows = lock_rows(pipeline, [job.id], LOCKED_JOBS)
        if rows and _may_have_counted(rows[0], job) and _is_ours(_claims_and_losses(pipeline, job), job):
            now_ms = times.now_ms()
            set_columns(pipeline, [job.id], {"deaths": rows[0]["deaths"] - 1})
            lost = event_row(
                job.id, LOST, at_ms=now_ms, epoch=job.epoch, attempt=job.attempt, owner=job.owner
            )
            pipeline.add(INSERT_EVENTS, [lost])
        return _in_words(rows, job)

    return database.pipelined(work, patience=patience)


def _may_have_counted(row: Mapping[str, Any], job: Job) -> bool:
    return (
        row["attempt"] == job.attempt
        and row["epoch"] > job.epoch
        and row["deaths"] > 0
        and not state_of_row(row).is_terminal
    )


def _claims_and_losses(pipeline: Pipeline, job: Job) -> list[dict[str, Any]]:
    return pipeline.ask(_CLAIMED_OR_LOST, {"job_id": job.id, "attempt": job.attempt})


def _is_ours(said: Sequence[Mapping[str, Any]], job: Job) -> bool:
    """Whether somebody claimed the job right after its owner, and the owner has not answered that yet."""
    lost = [each["epoch"] for each in said if each["kind"] == LOST]
    followed = any(
        each["kind"] == "claimed" and each["epoch"] == job.epoch + 1 and each["owner"] != job.owner
        for each in said
    )
    return followed and job.epoch not in lost and len(lost) < MOST_GIVEN_BACK


def _in_words(rows: Sequence[Mapping[str, Any]], job: Job) -> str:
    if not rows:
        return "and it has been deleted"
    row = rows[0]
    state = state_of_row(row)
    if state.is_terminal:
        return f"and it has ended meanwhile: it is {state}"
    if row["epoch"] == job.epoch:
        return "and nobody has taken it over yet; who claims it next goes on from what is recorded"
    if row["owner"] is not None:
        return f"and {row['owner']} has it now"
    return f"and it waits for its next owner: it is {state}"
