"""The sql board: the line is a table of the store itself, so one database is all that a small installation needs.

MariaDB from 10.6 on, MySQL 8 and PostgreSQL claim with ``FOR UPDATE SKIP LOCKED``; SQLite in one immediate
transaction, which a claim that finds nothing does not begin. The clock is the database's.

Statements in a transaction of its own: ``claim`` four and one more for each class that it takes jobs of (three for one
class; two if nothing waits, on SQLite); ``post`` two per 500 entries; ``keep``, ``release``, ``hasten`` and ``consume``
two per 500 jobs, ``call`` three; ``known`` and ``owners`` one per 500; ``classes`` three. ``count`` reads an index
once, so it grows with the board. How soon a ``wait`` hears of work is told in :mod:`~jobrunner.boards.sql_ears`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from jobrunner.boards import sql_line as line
from jobrunner.boards import sql_steps as steps
from jobrunner.boards.board import Board, BoardCounts, BoardProblem, BoardRow, News
from jobrunner.boards.entries import class_of, to_entry
from jobrunner.boards.sql_ears import make_ear
from jobrunner.boards.sql_line import CLAIMED, DELAYED, WAITING, line_key, pages
from jobrunner.boards.waiting import Waiting, news_of
from jobrunner.errors import WrongBoard
from jobrunner.model import BoardEntry, JobClass
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.server_version import server_version
from jobrunner.persistence.tables import board, settings

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


class SqlBoard(Board):
    """A board in a database.

    :param url: the database; tables have been made there
    :param database: the store, used if it is the database that ``url`` names
    :param prefix: not used here; a database has one board
    """

    def __init__(self, url: str, *, database: Database | None = None, prefix: str = "jobrunner") -> None:
        own = Database(url)
        self._owned = database is None or database.url != own.url
        self._database = database if database is not None and not self._owned else own
        ear = make_ear(self._database)
        self.spread = ear.spread
        self._waiting = Waiting(ear)

    def bind(self, store_id: str) -> None:
        with self._read() as connection:
            bound = connection.execute(
                sa.select(settings.c.value).where(settings.c.name == "store_id")
            ).scalar()
        if bound is not None and bound != store_id:
            raise WrongBoard(
                f"The job board {self._database.name} is in the database {bound[:8]}, this one is {store_id[:8]}.",
                hint="Leave board.url out, and the board is where persistence.url says.",
            )

    def post(self, entries: Sequence[BoardEntry]) -> int:
        return sum(self._write(steps.post, page) for page in pages(entries))

    def claim(self, owner: str, classes: Collection[JobClass], *, limit: int, lease: float) -> list[str]:
        keys = {line_key(job_class) for job_class in classes}
        if not keys or limit < 1 or (self._database.dialect == "sqlite" and not self._has_work(keys)):
            return []
        while True:
            claimed, more = self._write(steps.claim, owner, keys, limit, _ms(lease))
            if claimed or not more:
                return claimed

    def claim_these(
        self, owner: str, job_ids: Sequence[str], *, lease: float, early: bool = False
    ) -> list[str]:
        claimed = (self._write(steps.claim_these, owner, page, _ms(lease), early) for page in pages(job_ids))
        return [job_id for page in claimed for job_id in page]

    def peek(self, classes: Collection[JobClass], *, limit: int, skip: int = 0) -> list[str]:
        self._promote_due()
        with self._read() as connection:
            keys = {line_key(job_class) for job_class in classes}
            return [job.job_id for job in line.candidates(connection, keys, limit=limit, skip=skip)]

    def classes(self) -> set[JobClass]:
        with self._read() as connection:
            keys = line.class_keys(connection)
            found = {key: _class_of(connection, key) for key in keys}
        self._waiting.know(keys)
        for key in (key for key, job_class in found.items() if job_class is None):
            log.error("The board's class %r cannot be read; its jobs are dropped, to be posted again.", key)
            self._write(steps.drop_class, key)
        return {job_class for job_class in found.values() if job_class is not None}

    def keep(self, claims: Iterable[tuple[str, str]], *, lease: float) -> set[str]:
        owners: dict[str, set[str]] = {}
        for job_id, owner in claims:
            owners.setdefault(job_id, set()).add(owner)
        lost: set[str] = set()
        for page in pages(owners):
            lost |= self._write(steps.keep, {job_id: owners[job_id] for job_id in page}, _ms(lease))
        return lost

    def pass_on(self, holder: str, owner: str, job_ids: Sequence[str], *, lease: float) -> list[str]:
        passed: list[str] = []
        for page in pages(job_ids):
            passed += self._write(steps.pass_on, holder, owner, page, _ms(lease))
        return passed

    def release(self, owner: str, job_ids: Sequence[str], *, delay: float = 0.0) -> int:
        return sum(self._write(steps.release, owner, page, _ms(delay)) for page in pages(job_ids))

    def hasten(self, job_ids: Sequence[str]) -> int:
        return sum(self._write(steps.hasten, page) for page in pages(job_ids))

    def call(
        self, owner: str, job_ids: Sequence[str], classes: Collection[JobClass], *, limit: int, lease: float
    ) -> list[str]:
        keys = {line_key(job_class) for job_class in classes}
        claimed: list[str] = []
        for page in pages(job_ids):
            claimed += self._write(steps.call, owner, page, keys, limit - len(claimed), _ms(lease))
        return claimed

    def release_owner(self, owner: str) -> list[str]:
        return self._write(steps.release_owner, owner)

    def consume(self, owner: str, job_ids: Sequence[str]) -> int:
        return sum(self._write(steps.consume, owner, page) for page in pages(job_ids))

    def withdraw(self, job_ids: Sequence[str]) -> int:
        return sum(self._write(steps.withdraw, page) for page in pages(job_ids))

    def known(self, job_ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with self._read() as connection:
            for page in pages(job_ids):
                found.update(connection.scalars(sa.select(board.c.job_id).where(board.c.job_id.in_(page))))
        return found

    def owners(self, job_ids: Sequence[str]) -> dict[str, str]:
        is_claimed = sa.and_(board.c.status == CLAIMED, board.c.due_ms > self._database.now_ms())
        found: dict[str, str] = {}
        with self._read() as connection:
            for page in pages(job_ids):
                claims = sa.select(board.c.job_id, board.c.owner).where(board.c.job_id.in_(page), is_claimed)
                found.update((row.job_id, row.owner) for row in connection.execute(claims))
        return found

    def wait(self, classes: Collection[JobClass], *, timeout: float) -> News:
        by_key = {line_key(job_class): job_class for job_class in classes}
        return news_of(by_key, self._waiting.wait(by_key, timeout))

    def wake(self) -> None:
        self._waiting.wake()

    def count(self) -> BoardCounts:
        counting = sa.select(board.c.status, sa.func.count()).group_by(board.c.status)
        overdue = counting.where(
            sa.or_(line.is_now(DELAYED), line.is_now(CLAIMED)), board.c.due_ms <= self._database.now_ms()
        )
        with self._read() as connection:
            number = dict.fromkeys((WAITING, DELAYED, CLAIMED), 0)
            for status, count in connection.execute(counting):
                number[status] = count
            for status, count in connection.execute(overdue):
                number[status] -= count
                number[WAITING] += count
        return BoardCounts(waiting=number[WAITING], delayed=number[DELAYED], claimed=number[CLAIMED])

    def check(self) -> list[BoardProblem]:
        with self._read() as connection:
            version = server_version(connection)
        if not version.is_too_old:
            return []
        return [
            BoardProblem(
                severity="error",
                what=f"{version} is too old for the job board.",
                hint=f"Use {version.oldest} or newer, or a board on Redis (board.url).",
            )
        ]

    def clear(self) -> None:
        self._write(steps.clear)

    def close(self) -> None:
        self._waiting.close()
        if self._owned:
            self._database.close()

    def list(self, *, after: str | None = None, limit: int = 100) -> tuple[list[BoardRow], str | None]:
        with self._read() as connection:
            answer = line.page_of_rows(connection, self._database, after, limit + 1)
        rows, unreadable = [], []
        for row in answer[:limit]:
            try:
                entry = to_entry(row.job_id, row.entry)
            except ValueError:
                unreadable.append(row.job_id)
                continue
            owner, until = (row.owner, row.due_ms) if row.is_claimed else (None, None)
            rows.append(BoardRow(entry=entry, owner=owner, lease_until_ms=until))
        if unreadable:
            log.error("The board's entries %r cannot be read; dropped, to be posted again.", unreadable[:20])
            self.withdraw(unreadable)
        return rows, answer[limit - 1].job_id if len(answer) > limit else None

    def _has_work(self, keys: Collection[str]) -> bool:
        with self._read() as connection:
            if line.pulse(connection, self._database).is_due:
                return True
            return bool(line.candidates(connection, keys, limit=1))

    def _promote_due(self) -> None:
        more = True
        while more:
            with self._read() as connection:
                if not line.pulse(connection, self._database).is_due:
                    return
            more = self._write(line.promote_and_tell)

    @contextlib.contextmanager
    def _read(self) -> Iterator[Connection]:
        with line.as_board_errors(), self._database.read() as connection:
            yield connection

    def _write(
        self, step: Callable[Concatenate[Connection, Database, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a step in a transaction of its own, again after dead locks."""
        with line.as_board_errors():
            return self._database.retrying(
                lambda connection: step(connection, self._database, *args, **kwargs)
            )


def _class_of(connection: Connection, key: str) -> JobClass | None:
    """The class of a line; one whose key was cut is read from an entry of it. None if it cannot be read."""
    with contextlib.suppress(ValueError):
        return class_of(key)
    sample = sa.select(board.c.job_id, board.c.entry).where(line.is_any(), board.c.class_key == key).limit(1)
    for row in connection.execute(sample):
        with contextlib.suppress(ValueError):
            job_class = to_entry(row.job_id, row.entry).job_class
            return job_class if line_key(job_class) == key else None
    return None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
