"""Committing postings as jobs: sorting out which are new, and inserting those.

Costs: one transaction for any number of jobs, on MariaDB one round trip for a megabyte of them, and a query more if
there are keys. Which jobs have which keys is told in keys.py; how links are made, in linked_posting.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from jobrunner.errors import StoreUnavailable
from jobrunner.model import After, JobState, Posting, new_job_id
from jobrunner.persistence.job_rows import POSTED_COLUMNS, posted_event, row_of_posting
from jobrunner.persistence.ownership.settling import INSERT_EVENTS
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.posting import linked_posting
from jobrunner.persistence.posting.keys import check_key, jobs_by_key, open_by_unique_key, require_same
from jobrunner.persistence.posting.linked_posting import NewJobset, by_ids
from jobrunner.persistence.posting.tagging import insert_tags
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs

INSERT_BATCH = 500
KEY_ATTEMPTS = 10
"""So often a posting looks again for a job with its key: one that is unique may have ended between two looks."""
LOST_WITHIN_S = 1.0
"""A connection that is lost later than this had a server that did not answer: that is not asked a second time."""

INSERT_JOBS = Statement(jobs.insert(), columns=POSTED_COLUMNS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inserted:
    """The job of a posting; ``state`` is that in which a new one begins."""

    id: str
    new: bool
    state: JobState | None


def insert(database: Database, postings: Sequence[Posting], *, now_ms: int) -> list[tuple[str, bool]]:
    """Commit the postings as jobs: for each its id, and whether it is new.

    A posting whose idempotency key was used before yields the job of then; raises DuplicateKey if that had
    another type, other parameters or another factory, and UsageError for a key that cannot be kept. None of the
    postings is stored then. One whose unique key an open job has yields that job.
    """
    for posting in postings:
        check_key(posting.idempotency_key)
    rows = [row_of_posting(posting, now_ms) for posting in postings]
    for attempt in range(KEY_ATTEMPTS):
        outcome, new = _sorted_out(database, postings, rows)
        try:
            _commit(database, new)
            return outcome
        except IntegrityError:  # somebody else used the same key a moment ago: look again
            if attempt == KEY_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def insert_linked(
    database: Database, postings: Sequence[Posting], *, now_ms: int, jobset: NewJobset | None = None
) -> list[Inserted]:
    """As :func:`insert`, for postings of which some come after others; with the jobset to which new ones belong.

    Raises InvalidParameters for links that cannot be, and JobNotFound for a job that is not there to come after.
    """
    for posting in postings:
        check_key(posting.idempotency_key)
    for attempt in range(KEY_ATTEMPTS):
        ids, named, outcome, new = _sorted_out_linked(database, postings, now_ms)
        try:
            states = _commit_linked(database, new, named, ids, jobset, now_ms)
        except IntegrityError:
            if attempt == KEY_ATTEMPTS - 1:
                raise
            continue
        return [Inserted(id=job_id, new=is_new, state=states.get(job_id)) for job_id, is_new in outcome]
    raise AssertionError("unreachable")


def _sorted_out_linked(
    database: Database, postings: Sequence[Posting], now_ms: int
) -> tuple[list[str], list[Posting], list[tuple[str, bool]], list[dict[str, Any]]]:
    """The ids, the postings with ids where they named places, the outcome, and the rows of new jobs.

    Sorted out a second time where a unique key has found a job: others may come after it by its place.
    """
    ids = _ids(database, postings)
    while True:
        named = [by_ids(posting, ids, place) for place, posting in enumerate(postings)]
        rows = [
            row_of_posting(posting, now_ms) | {"id": job_id}
            for posting, job_id in zip(named, ids, strict=True)
        ]
        outcome, new = _sorted_out(database, named, rows)
        found = [job_id for job_id, _ in outcome]
        if found == ids:
            return ids, named, outcome, new
        ids = found


def _ids(database: Database, postings: Sequence[Posting]) -> list[str]:
    """For each posting the id of the job that its key stands for already, else a new one."""
    by_key = {
        key: str(row["id"])
        for key, row in jobs_by_key(
            database, [posting.idempotency_key for posting in postings if posting.idempotency_key]
        ).items()
    }
    return [
        by_key.setdefault(posting.idempotency_key, new_job_id()) if posting.idempotency_key else new_job_id()
        for posting in postings
    ]


def _commit_linked(
    database: Database,
    rows: Sequence[dict[str, Any]],
    postings: Sequence[Posting],
    ids: Sequence[str],
    jobset: NewJobset | None,
    now_ms: int,
) -> dict[str, JobState]:
    """Commit new jobs with their links; the states in which they begin."""
    if not rows:
        return {}
    after: dict[str, Sequence[After]] = {}
    for job_id, posting in zip(ids, postings, strict=True):
        after.setdefault(job_id, posting.after)  # of several with one key the first is the job
    states: dict[str, JobState] = {}

    def work(pipeline: Pipeline) -> None:
        states.update(linked_posting.insert_linked(pipeline, rows, after, jobset, now_ms))

    _commit(database, rows, work)
    return states


def _sorted_out(
    database: Database, postings: Sequence[Posting], rows: Sequence[dict[str, Any]]
) -> tuple[list[tuple[str, bool]], list[dict[str, Any]]]:
    """For each posting its job's id and whether that is new; and the rows of the new ones."""
    known = jobs_by_key(database, [p.idempotency_key for p in postings if p.idempotency_key])
    open_ = open_by_unique_key(database, [p.unique_key for p in postings if p.unique_key])
    outcome: list[tuple[str, bool]] = []
    new: list[dict[str, Any]] = []
    for posting, row in zip(postings, rows, strict=True):
        earlier = known.get(posting.idempotency_key) if posting.idempotency_key else None
        if earlier is not None:
            require_same(posting, earlier)
            outcome.append((earlier["id"], False))
            continue
        if posting.unique_key in open_:
            outcome.append((open_[posting.unique_key], False))
            continue
        if posting.idempotency_key:
            known[posting.idempotency_key] = row
        if posting.unique_key:
            open_[posting.unique_key] = row["id"]
        new.append(row)
        outcome.append((row["id"], True))
    return outcome, new


def _commit(
    database: Database, rows: Sequence[dict[str, Any]], work: Callable[[Pipeline], None] | None = None
) -> None:
    """Commit new jobs, with the events that begin their histories; one round trip for a megabyte of them.

    If the connection turns out to be lost, this is done once more over a new one: the old one may have died while
    nobody used it. Should the first try have been committed, and only its answer been lost, then the jobs' ids are
    there already, all of them.
    """
    if not rows:
        return
    write = work or (lambda pipeline: _insert(pipeline, rows))
    began = time.monotonic()
    try:
        database.pipelined(write)
    except StoreUnavailable as error:
        if not _connection_was_lost(error) or time.monotonic() - began > LOST_WITHIN_S:
            raise
        try:
            database.pipelined(write)
        except IntegrityError:
            if not _is_there(database, rows[0]["id"]):
                raise


def _is_there(database: Database, job_id: str) -> bool:
    with database.read() as connection:
        return connection.execute(sa.select(jobs.c.id).where(jobs.c.id == job_id)).first() is not None


def _insert(pipeline: Pipeline, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), INSERT_BATCH):
        batch = rows[start : start + INSERT_BATCH]
        pipeline.add(INSERT_JOBS, batch)
        pipeline.add(INSERT_EVENTS, [posted_event(row) for row in batch])
        insert_tags(pipeline, batch)


def _connection_was_lost(error: StoreUnavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and cause.connection_invalidated
