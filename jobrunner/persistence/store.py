"""The store's jobs: posting, finding and paging through them. The rows of ``jobs`` are the truth about every job.

Costs: ``insert`` one transaction for any number of jobs, on MariaDB one round trip for a megabyte of them, and a query
more if there are idempotency keys; ``get`` one query by unique index; ``page`` and ``open_entries`` one query by index.
Who owns a job is in ownership.py, how it ends in settling.py, what its flow did in flows.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from jobrunner.errors import (
    AmbiguousJobId,
    CorruptRow,
    DuplicateKey,
    JobNotFound,
    SchemaOutOfDate,
    StoreUnavailable,
    UsageError,
)
from jobrunner.model import OPEN_STATES, After, BoardEntry, Job, JobState, Posting, new_job_id
from jobrunner.persistence import listing
from jobrunner.persistence.database import Database
from jobrunner.persistence.encoding import decode
from jobrunner.persistence.job_rows import (
    POSTED_COLUMNS,
    board_entry,
    dump,
    event_from_row,
    job_from_row,
    posted_event,
    row_of_posting,
)
from jobrunner.persistence.linked_posting import NewJobset, by_ids, insert_linked
from jobrunner.persistence.listing import JobFilter
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.settling import INSERT_EVENTS
from jobrunner.persistence.tables import events, jobs, settings
from jobrunner.persistence.tagging import insert_tags
from jobrunner.references import has_references

__all__ = ["Inserted", "JobFilter", "NewJobset", "Store", "board_entry"]

INSERT_BATCH = 500
LOOKUP_BATCH = 500
KEY_LENGTH = 255
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


class Store:
    """Jobs in SQL."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._id: str | None = None

    @property
    def id(self) -> str:
        """The database's own identity, made with its tables: what a board is bound to."""
        if self._id is None:
            query = sa.select(settings.c.value).where(settings.c.name == "store_id")
            with self.database.read() as connection:
                found = connection.execute(query).scalar()
            if found is None:
                raise SchemaOutOfDate(
                    f"The database {self.database.name} has no identity.",
                    hint="Make it: jobrunner db upgrade",
                )
            self._id = str(found)
        return self._id

    def insert(self, postings: Sequence[Posting], *, now_ms: int) -> list[tuple[str, bool]]:
        """Commit the postings as jobs: for each its id, and whether it is new.

        A posting whose idempotency key was used before yields the job of then; raises DuplicateKey if that had
        another type, other parameters or another factory, and UsageError for a key that cannot be kept. None of the
        postings is stored then. One whose unique key an open job has yields that job.
        """
        for posting in postings:
            _check_key(posting.idempotency_key)
        rows = [row_of_posting(posting, now_ms) for posting in postings]
        for attempt in range(KEY_ATTEMPTS):
            outcome, new = self._sorted_out(postings, rows)
            try:
                self._commit(new)
                return outcome
            except IntegrityError:  # somebody else used the same key a moment ago: look again
                if attempt == KEY_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def insert_linked(
        self, postings: Sequence[Posting], *, now_ms: int, jobset: NewJobset | None = None
    ) -> list[Inserted]:
        """As :meth:`insert`, for postings of which some come after others; with the jobset to which new ones belong.

        Raises InvalidParameters for links that cannot be, and JobNotFound for a job that is not there to come after.
        """
        for posting in postings:
            _check_key(posting.idempotency_key)
        for attempt in range(KEY_ATTEMPTS):
            ids, named, outcome, new = self._sorted_out_linked(postings, now_ms)
            try:
                states = self._commit_linked(new, named, ids, jobset, now_ms)
            except IntegrityError:
                if attempt == KEY_ATTEMPTS - 1:
                    raise
                continue
            return [Inserted(id=job_id, new=is_new, state=states.get(job_id)) for job_id, is_new in outcome]
        raise AssertionError("unreachable")

    def _sorted_out_linked(
        self, postings: Sequence[Posting], now_ms: int
    ) -> tuple[list[str], list[Posting], list[tuple[str, bool]], list[dict[str, Any]]]:
        """The ids, the postings with ids where they named places, the outcome, and the rows of new jobs.

        Sorted out a second time where a unique key has found a job: others may come after it by its place.
        """
        ids = self._ids(postings)
        while True:
            named = [by_ids(posting, ids, place) for place, posting in enumerate(postings)]
            rows = [
                row_of_posting(posting, now_ms) | {"id": job_id}
                for posting, job_id in zip(named, ids, strict=True)
            ]
            outcome, new = self._sorted_out(named, rows)
            found = [job_id for job_id, _ in outcome]
            if found == ids:
                return ids, named, outcome, new
            ids = found

    def _ids(self, postings: Sequence[Posting]) -> list[str]:
        """For each posting the id of the job that its key stands for already, else a new one."""
        by_key = {
            key: str(row["id"])
            for key, row in self._jobs_by_key(
                [posting.idempotency_key for posting in postings if posting.idempotency_key]
            ).items()
        }
        return [
            by_key.setdefault(posting.idempotency_key, new_job_id())
            if posting.idempotency_key
            else new_job_id()
            for posting in postings
        ]

    def _commit_linked(
        self,
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
            states.update(insert_linked(pipeline, rows, after, jobset, now_ms))

        self._commit(rows, work)
        return states

    def _sorted_out(
        self, postings: Sequence[Posting], rows: Sequence[dict[str, Any]]
    ) -> tuple[list[tuple[str, bool]], list[dict[str, Any]]]:
        """For each posting its job's id and whether that is new; and the rows of the new ones."""
        known = self._jobs_by_key([p.idempotency_key for p in postings if p.idempotency_key])
        open_ = self._open_by_unique_key([p.unique_key for p in postings if p.unique_key])
        outcome: list[tuple[str, bool]] = []
        new: list[dict[str, Any]] = []
        for posting, row in zip(postings, rows, strict=True):
            earlier = known.get(posting.idempotency_key) if posting.idempotency_key else None
            if earlier is not None:
                _require_same(posting, earlier)
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

    def _commit(self, rows: Sequence[dict[str, Any]], work: Callable[[Pipeline], None] | None = None) -> None:
        """Commit new jobs, with the events that begin their histories; one round trip for a megabyte of them.

        If the connection turns out to be lost, this is done once more over a new one: the old one may have died while
        nobody used it. Should the first try have been committed, and only its answer been lost, then the jobs' ids are
        there already, all of them.
        """
        if not rows:
            return
        insert = work or (lambda pipeline: _insert(pipeline, rows))
        began = time.monotonic()
        try:
            self.database.pipelined(insert)
        except StoreUnavailable as error:
            if not _connection_was_lost(error) or time.monotonic() - began > LOST_WITHIN_S:
                raise
            try:
                self.database.pipelined(insert)
            except IntegrityError:
                if not self.states([rows[0]["id"]]):
                    raise

    def _jobs_by_key(self, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if not keys:
            return found
        columns = (
            jobs.c.id,
            jobs.c.type,
            jobs.c.parameters,
            jobs.c.factory,
            jobs.c.idempotency_key,
            jobs.c.from_results,
        )
        with self.database.read() as connection:
            for start in range(0, len(keys), LOOKUP_BATCH):
                wanted = jobs.c.idempotency_key.in_(keys[start : start + LOOKUP_BATCH])
                for row in connection.execute(sa.select(*columns).where(wanted)).mappings():
                    found[row["idempotency_key"]] = row
        return found

    def key_problems(self, postings: Mapping[int, Posting]) -> dict[int, str]:
        """Which of these postings, by their places, would be refused for their idempotency keys, and why.

        References to results are not compared: what they come to is not known yet, or is in the job of then.
        """
        keys = [posting.idempotency_key for posting in postings.values() if posting.idempotency_key]
        known = self._jobs_by_key(keys)
        among: dict[str, Any] = {}
        problems: dict[int, str] = {}
        for place, posting in postings.items():
            key = posting.idempotency_key
            if key is None:
                continue
            try:
                _check_key(key)
                _require_same(
                    posting,
                    {
                        **(known.get(key) or among.setdefault(key, row_of_posting(posting, 0))),
                        "from_results": 1,
                    },
                )
            except DuplicateKey as error:
                in_both = f"The idempotency key {key!r} is that of an earlier one, too, which is another job."
                problems[place] = error.message if key in known else in_both
            except UsageError as error:
                problems[place] = error.message
        return problems

    def _open_by_unique_key(self, keys: Sequence[str]) -> dict[str | None, str]:
        """The ids of open jobs by their unique keys: a job loses its key when it ends."""
        found: dict[str | None, str] = {}
        if not keys:
            return found
        with self.database.read() as connection:
            for start in range(0, len(keys), LOOKUP_BATCH):
                wanted = jobs.c.unique_key.in_(keys[start : start + LOOKUP_BATCH])
                for row in connection.execute(sa.select(jobs.c.unique_key, jobs.c.id).where(wanted)):
                    found[row.unique_key] = row.id
        return found

    def get(self, job_id: str) -> Job:
        """The job with this very id; raises JobNotFound, or CorruptRow if its row cannot be read."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            raise JobNotFound(f"There is no job {job_id}.", hint="`jobrunner list` shows the jobs there are.")
        return job_from_row(row)

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of the jobs that exist and can be read, by id."""
        found: dict[str, Job] = {}
        with self.database.read() as connection:
            for start in range(0, len(job_ids), LOOKUP_BATCH):
                query = sa.select(jobs).where(jobs.c.id.in_(job_ids[start : start + LOOKUP_BATCH]))
                for row in connection.execute(query).mappings():
                    try:
                        found[row["id"]] = job_from_row(row)
                    except CorruptRow:
                        continue
        return found

    def states(self, job_ids: Sequence[str]) -> dict[str, JobState]:
        """The states of those of the jobs that exist, unless it is none that there is; cheaper than ``get_many``."""
        found: dict[str, JobState] = {}
        known = set(JobState)
        with self.database.read() as connection:
            for start in range(0, len(job_ids), LOOKUP_BATCH):
                wanted = jobs.c.id.in_(job_ids[start : start + LOOKUP_BATCH])
                for row in connection.execute(sa.select(jobs.c.id, jobs.c.state).where(wanted)):
                    if row.state in known:
                        found[row.id] = JobState(row.state)
        return found

    def owners_of_running(self, job_ids: Sequence[str]) -> dict[str, str | None]:
        """Who runs those of the jobs that are running."""
        found: dict[str, str | None] = {}
        with self.database.read() as connection:
            for start in range(0, len(job_ids), LOOKUP_BATCH):
                wanted = jobs.c.id.in_(job_ids[start : start + LOOKUP_BATCH])
                query = sa.select(jobs.c.id, jobs.c.owner).where(
                    wanted, jobs.c.state == JobState.RUNNING.value
                )
                found.update((row.id, row.owner) for row in connection.execute(query))
        return found

    def on_board(self, job_ids: Sequence[str]) -> set[str]:
        """Those of the jobs that should stand on the board: open, and not parked."""
        found: set[str] = set()
        open_ = [state.value for state in OPEN_STATES]
        with self.database.read() as connection:
            for start in range(0, len(job_ids), LOOKUP_BATCH):
                wanted = jobs.c.id.in_(job_ids[start : start + LOOKUP_BATCH])
                query = sa.select(jobs.c.id).where(wanted, jobs.c.state.in_(open_), jobs.c.parked.is_(None))
                found.update(connection.execute(query).scalars())
        return found

    def find(self, prefix: str) -> Job:
        """The one job whose id starts with ``prefix``; raises JobNotFound, AmbiguousJobId or CorruptRow."""
        return job_from_row(self._find(prefix, sa.select(jobs)))

    def find_id(self, prefix: str) -> str:
        """Its id, even if its row cannot be read; raises JobNotFound or AmbiguousJobId."""
        return str(self._find(prefix, sa.select(jobs.c.id))["id"])

    def _find(self, prefix: str, what: sa.Select[Any]) -> Any:
        wanted = prefix.strip().lower()
        if not wanted or any(character not in "0123456789abcdef-" for character in wanted):
            raise JobNotFound(
                f"{prefix!r} is not a job's id, nor the start of one.",
                hint="Ids are made of 0-9, a-f and dashes.",
            )
        query = what.where(jobs.c.id >= wanted, jobs.c.id <= wanted + "~").order_by(jobs.c.id).limit(3)
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        if not rows:
            raise JobNotFound(
                f"There is no job whose id starts with {prefix}.",
                hint="`jobrunner list` shows the jobs there are.",
            )
        if len(rows) > 1:
            some = ", ".join(row["id"] for row in rows[:2]) + (", ..." if len(rows) > 2 else ".")
            raise AmbiguousJobId(
                f"More than one job's id starts with {prefix}: {some}", hint="Give more of it."
            )
        return rows[0]

    def page(
        self, wanted: JobFilter, *, limit: int = 50, before: int | None = None
    ) -> tuple[list[Job], int | None, list[CorruptRow]]:
        """A page of jobs, newest first; the mark to pass as ``before`` for the next page, None on the last.

        Rows that cannot be read do not spoil the page: they come as the third part.
        """
        with self.database.read() as connection:
            wanted = listing.rarest_first(connection, wanted)
            query = listing.newest_first(wanted, limit=limit + 1, before=before)
            rows = connection.execute(query).mappings().all()
        page: list[Job] = []
        broken: list[CorruptRow] = []
        for row in rows[:limit]:
            try:
                page.append(job_from_row(row))
            except CorruptRow as error:
                broken.append(error)
        return page, (rows[limit - 1]["seq"] if len(rows) > limit else None), broken

    def open_entries(self, *, after: int = 0, limit: int = 500) -> tuple[list[BoardEntry], int | None]:
        """A page of what the board should hold, oldest first, for the reconciler; and the mark of the next page."""
        with self.database.read() as connection:
            rows = connection.execute(listing.open_oldest_first(after=after, limit=limit)).mappings().all()
        entries: list[BoardEntry] = []
        for row in rows:
            try:
                entries.append(board_entry(job_from_row(row)))
            except CorruptRow:
                continue
        return entries, (rows[-1]["seq"] if len(rows) == limit else None)

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each open state; finished ones are not counted, there may be millions."""
        states = [state.value for state in OPEN_STATES]
        query = (
            sa.select(jobs.c.state, sa.func.count()).where(jobs.c.state.in_(states)).group_by(jobs.c.state)
        )
        with self.database.read() as connection:
            return {JobState(state): number for state, number in connection.execute(query)}

    def running_by_node(self) -> dict[str, int]:
        """How many jobs run on each node; reads the rows of those that run."""
        query = sa.select(jobs.c.node, sa.func.count()).where(jobs.c.state == JobState.RUNNING.value)
        with self.database.read() as connection:
            rows = connection.execute(query.group_by(jobs.c.node)).all()
        return {node: number for node, number in rows if node is not None}

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """The job's events, oldest first: ``at_ms``, ``kind``, ``epoch``, ``attempt``, ``owner``, ``data`` of each."""
        query = sa.select(events).where(events.c.job_id == job_id).order_by(events.c.seq)
        with self.database.read() as connection:
            return [event_from_row(row) for row in connection.execute(query).mappings()]


def _check_key(key: str | None) -> None:
    """MySQL takes keys that differ in trailing blanks for one, and PostgreSQL has no text with a NUL."""
    if key is not None and (key != key.strip() or len(key) > KEY_LENGTH or not key.isprintable()):
        raise UsageError(
            f"The idempotency key {key[:KEY_LENGTH]!r} cannot be kept.",
            hint=f"Use at most {KEY_LENGTH} printable characters, and no blanks around them.",
        )


def _insert(pipeline: Pipeline, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), INSERT_BATCH):
        batch = rows[start : start + INSERT_BATCH]
        pipeline.add(INSERT_JOBS, batch)
        pipeline.add(INSERT_EVENTS, [posted_event(row) for row in batch])
        insert_tags(pipeline, batch)


def _connection_was_lost(error: StoreUnavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and cause.connection_invalidated


def _require_same(posting: Posting, earlier: Any) -> None:
    what = f"The row of job {earlier['id']}"
    stored = (
        earlier["type"],
        decode(earlier["parameters"], what=what),
        decode(earlier["factory"], what=what),
    )
    given = _plain(posting.parameters)
    if earlier.get("from_results"):
        given = _with_results_of(stored[1], given)
    if stored != (posting.type, given, _plain(posting.factory)):
        other = " with other parameters" if earlier["type"] == posting.type else f", not {posting.type}"
        raise DuplicateKey(
            f"The idempotency key {posting.idempotency_key!r} was used before, for job {earlier['id']} "
            f"of type {earlier['type']}{other}.",
            hint="Use another key for another job.",
        )


def _with_results_of(stored: Any, given: Any) -> Any:
    """What is given now, with the results that the job of then got in place of references to them."""
    return {
        name: stored[name] if name in stored and has_references(value) else value
        for name, value in given.items()
    }


def _plain(value: Any) -> Any:
    return None if value is None else json.loads(dump(value))
