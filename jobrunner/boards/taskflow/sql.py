"""TaskFlow's postings in a database: one table, a job and its claim in one row.

Each step on a claim is one statement that compares the owner and the lease and tells by its count of rows whether it
found them; who waits for the row's lock compares with what is there then. What is gone from the table was consumed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from jobrunner.boards.taskflow.postings import Absence, Mark, Postings, Row
from jobrunner.boards.taskflow.sql_ear import CHANNEL, POSTED, PostedEar, is_listed
from jobrunner.boards.waiting import Waiting
from jobrunner.errors import BoardUnavailable
from jobrunner.persistence.schema import require_schema
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import taskflow_postings as table

T = TypeVar("T")

TRASHED = "T"
ROWS_AT_ONCE = 500
LOOK_S = 0.1
"""How often a database is looked at that cannot tell of postings by itself: all but PostgreSQL."""


class SqlPostings(Postings):
    """Postings in a database that has its tables; a new SQLite file gets them.

    :param namespace: keeps several boards in one database apart
    """

    def __init__(self, url: str, *, namespace: str) -> None:
        self._database = Database(url)
        self._namespace = namespace
        self._now: Any = self._database.now_ms()
        self._closing = threading.Event()
        tells = self._database.dialect == "postgresql"
        self._waiting = Waiting(PostedEar(self._database, namespace)) if tells else None

    def connect(self) -> None:
        with _errors(self._database):
            require_schema(self._database)

    def post(self, job_id: str, rank: int, text: str) -> None:
        row = {"job_id": job_id, "namespace": self._namespace, "status": POSTED, "priority": rank}

        def insert(connection: Connection) -> None:
            connection.execute(sa.insert(table).values(**row, until_ms=0, posting=text))
            if self._waiting is not None:
                connection.execute(sa.select(sa.func.pg_notify(CHANNEL, f"+{self._namespace}")))

        self._write(insert)

    def unclaimed(self, mark: Mark | None, limit: int) -> tuple[Sequence[Row], Mark | None]:
        return self._page(table.c.until_ms <= self._now, mark, limit)

    def claimed(self) -> Iterator[Row]:
        mark: Mark | None = None
        while True:
            rows, mark = self._page(table.c.until_ms > self._now, mark, ROWS_AT_ONCE)
            yield from rows
            if mark is None:
                return

    def look(self, job_id: str) -> Row | Absence:
        found = self._read(_rows(self._now).where(table.c.job_id == job_id, self._is_here()))
        if not found:
            return Absence.CONSUMED
        return Absence.TRASHED if found[0].status == TRASHED else _row(found[0])

    def claim(self, job_id: str, owner: str, lease: float) -> bool:
        is_free = sa.and_(self._is_listed(), table.c.job_id == job_id, table.c.until_ms <= self._now)
        return self._change(sa.update(table).where(is_free).values(owner=owner, until_ms=self._end(lease)))

    def keep(self, claims: Sequence[tuple[str, str]], lease: float) -> set[str]:
        def push_back(connection: Connection) -> set[str]:
            lost: set[str] = set()
            for job_id, owner in sorted(claims):  # in the order of the ids, in which others lock them too
                mine = sa.update(table).where(self._is_claimed_by(job_id, owner))
                if not connection.execute(mine.values(until_ms=self._end(lease))).rowcount:
                    lost.add(job_id)
            return lost

        return self._write(push_back) if claims else set()

    def release(self, job_id: str, owner: str) -> bool:
        mine = sa.update(table).where(self._is_claimed_by(job_id, owner))
        return self._change(mine.values(owner=None, until_ms=0))

    def consume(self, job_id: str, owner: str) -> bool:
        return self._change(sa.delete(table).where(self._is_claimed_by(job_id, owner)))

    def trash(self, job_id: str, owner: str) -> bool:
        mine = sa.update(table).where(self._is_claimed_by(job_id, owner))
        return self._change(mine.values(status=TRASHED, owner=None, until_ms=0))

    def trashed(self) -> list[Row]:
        found = _rows(self._now).where(self._is_here(), table.c.status == TRASHED)
        return [_row(row) for row in self._read(found.order_by(table.c.priority, table.c.place))]

    def restore(self, job_id: str) -> bool:
        is_trashed = sa.and_(self._is_here(), table.c.job_id == job_id, table.c.status == TRASHED)
        return self._change(sa.update(table).where(is_trashed).values(status=POSTED))

    def wait(self, timeout: float) -> None:
        if self._waiting is not None:
            self._waiting.wait({self._namespace}, timeout)
        else:
            self._closing.wait(min(timeout, LOOK_S))

    def count(self) -> int:
        counting = sa.select(sa.func.count().label("number")).select_from(table).where(self._is_listed())
        return int(self._read(counting)[0].number)

    def close(self) -> None:
        self._closing.set()
        if self._waiting is not None:
            self._waiting.close()
        self._database.close()

    def _page(
        self, condition: sa.ColumnElement[bool], mark: Mark | None, limit: int
    ) -> tuple[list[Row], Mark | None]:
        page = _rows(self._now).where(self._is_listed(), condition)
        if mark is not None:
            rank, place = mark
            behind = sa.and_(table.c.priority == rank, table.c.place > place)
            page = page.where(sa.or_(table.c.priority > rank, behind))
        found = self._read(page.order_by(table.c.priority, table.c.place).limit(limit))
        rows = [_row(row) for row in found]
        return rows, (rows[-1].rank, rows[-1].place) if len(rows) == limit else None

    def _is_here(self) -> sa.ColumnElement[bool]:
        return table.c.namespace == self._namespace

    def _is_listed(self) -> sa.ColumnElement[bool]:
        return is_listed(self._namespace)

    def _is_claimed_by(self, job_id: str, owner: str) -> sa.ColumnElement[bool]:
        is_mine = sa.and_(table.c.job_id == job_id, table.c.owner == owner)
        return sa.and_(is_mine, self._is_listed(), table.c.until_ms > self._now)

    def _end(self, lease: float) -> Any:
        """When a lease ends that begins now."""
        return self._now + max(round(lease * 1000), 1)

    def _read(self, query: sa.Select[Any]) -> Sequence[Any]:
        with _errors(self._database), self._database.read() as connection:
            return connection.execute(query).all()

    def _change(self, statement: Any) -> bool:
        """Run a statement in a transaction of its own; whether it found its row."""
        return self._write(lambda connection: bool(connection.execute(statement).rowcount))

    def _write(self, work: Callable[[Connection], T]) -> T:
        with _errors(self._database):
            return self._database.retrying(work)


def _rows(now: Any) -> sa.Select[Any]:
    columns = (
        table.c.job_id,
        table.c.priority,
        table.c.place,
        table.c.posting,
        table.c.owner,
        table.c.status,
    )
    return sa.select(*columns, (table.c.until_ms - now).label("left_ms"))


def _row(row: Any) -> Row:
    is_claimed = row.owner is not None and row.left_ms > 0
    return Row(
        job_id=row.job_id,
        rank=row.priority,
        place=row.place,
        text=row.posting,
        owner=row.owner if is_claimed else None,
        left=row.left_ms / 1000 if is_claimed else 0.0,
    )


@contextlib.contextmanager
def _errors(database: Database) -> Iterator[None]:
    """What the database refuses that it should not."""
    try:
        yield
    except SQLAlchemyError as error:
        raise BoardUnavailable(
            f"The job board {database.name} refused a call: {' '.join(str(error).split())}",
            hint="`jobrunner db check` looks at its tables.",
        ) from error
