"""The store's jobs: finding and paging through them. The rows of ``jobs`` are the truth about every job.

Costs: ``get`` one query by unique index; ``page`` and ``open_ids`` one query by index. How jobs are posted is in
posting.py, who owns a job in ownership.py, how it ends in settling.py, what its flow did in flows.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import AmbiguousJobId, CorruptRow, JobNotFound, SchemaOutOfDate
from jobrunner.model import OPEN_STATES, BoardEntry, Job, JobState, Posting
from jobrunner.persistence import listing
from jobrunner.persistence.job_rows import board_entry, event_from_row, job_from_row
from jobrunner.persistence.listing import JobFilter
from jobrunner.persistence.posting import keys, posting
from jobrunner.persistence.posting.linked_posting import NewJobset
from jobrunner.persistence.posting.posting import Inserted
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import events, jobs, settings

__all__ = ["Inserted", "JobFilter", "NewJobset", "Store", "board_entry"]

LOOKUP_BATCH = 500
ROWS_AT_ONCE = 100
"""Whole rows that are held at once to look at some numbers of each: parameters and results may be large."""


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
        """Commit the postings as jobs, all or none: for each its id, and whether it is new (posting.py).

        Raises DuplicateKey, or UsageError for a key that cannot be kept.
        """
        return posting.insert(self.database, postings, now_ms=now_ms)

    def insert_linked(
        self, postings: Sequence[Posting], *, now_ms: int, jobset: NewJobset | None = None
    ) -> list[Inserted]:
        """The same for postings of which some come after others; with the jobset to which new ones belong.

        Raises InvalidParameters for links that cannot be, and JobNotFound, too.
        """
        return posting.insert_linked(self.database, postings, now_ms=now_ms, jobset=jobset)

    def key_problems(self, postings: Mapping[int, Posting]) -> dict[int, str]:
        """Which of these, by their places, would be refused for their idempotency keys, and why (keys.py)."""
        return keys.key_problems(self.database, postings)

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

        Rows that cannot be read do not spoil the page: they come as the third part. Raises UsageError for a limit
        below 1, and for a text that cannot be stored.
        """
        listing.require_limit(limit)
        listing.require_text(wanted)
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

    def open_ids(self, *, after: int = 0, limit: int = 500) -> tuple[list[str], int | None]:
        """A page of the jobs that should stand on the board, oldest first; and the mark of the next page.

        Reads nothing else of them: the reconciler looks at all that are open, and mostly nothing is to be done.
        """
        values = {"after": after, "most": limit}
        with self.database.read() as connection:
            rows = connection.execute(listing.open_oldest_first(), values).all()
        return [row.id for row in rows], (rows[-1].seq if len(rows) == limit else None)

    def entries(self, job_ids: Sequence[str]) -> list[BoardEntry]:
        """What the board should hold now of these jobs: nothing of those that ended, are parked, or cannot be read.

        In the order in which they were posted: so those who post the same jobs again do not dead-lock on a sql board.
        """
        entries: list[tuple[int, BoardEntry]] = []
        for start in range(0, len(job_ids), ROWS_AT_ONCE):
            found = self.get_many(job_ids[start : start + ROWS_AT_ONCE]).values()
            open_ = [job for job in found if not job.state.is_terminal and job.parked is None]
            entries += [(job.seq, board_entry(job)) for job in open_]
        return [entry for _, entry in sorted(entries, key=itemgetter(0))]

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
