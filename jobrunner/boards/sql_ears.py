"""How the sql board hears of work.

- PostgreSQL: ``LISTEN`` on a connection of its own; told at the commit of the post.
- SQLite: ``PRAGMA data_version`` on a connection of its own, each 5 ms for a second after a change and each
  25 ms otherwise; the table is read only when the file was changed.
- MariaDB, MySQL, and SQLite in memory: the table's newest row is looked at after 20 ms, then less and less often,
  at last each 200 ms.

All of them end a wait when a lease or a delay runs out. A database whose clock is set back by more than two seconds
can make the lookers miss a job until the next wait that times out and claims anyway.
"""

from __future__ import annotations

import abc
import math
import sqlite3
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from jobrunner.boards import sql_line as line
from jobrunner.boards.sql_line import CHANNEL, WAITING
from jobrunner.boards.waiting import Ear, readable
from jobrunner.errors import BoardUnavailable
from jobrunner.persistence.database import Database
from jobrunner.persistence.tables import board

LOOK_FIRST_S = 0.02
LOOK_SLOWER = 1.3
LOOK_LAST_S = 0.2
SQLITE_BUSY_S = 0.005
SQLITE_IDLE_S = 0.025
SQLITE_BUSY_FOR_S = 1.0
OVERLAP_MS = 2000
"""A look begins this long before the last one, for transactions that were not committed then."""
NEWS_AT_ONCE = 500
KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""So that a connection to a server that is gone breaks within about ten seconds."""


def make_ear(database: Database) -> Ear:
    """The ear that fits the database."""
    if database.dialect == "postgresql":
        return PostgresEar(database)
    if database.dialect == "sqlite" and database.url.database not in (None, "", ":memory:"):
        return SqliteEar(database)
    return LookingEar(database)


class SqlEar(Ear):
    """What all have in common: the time when something is due, and starting anew after a failure."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due_at = math.inf  # by time.monotonic()

    def listen(self, timeout: float, bell: int) -> set[str]:
        deadline = time.monotonic() + timeout
        try:
            with line.as_board_errors():
                return self._listen(deadline, bell)
        except BaseException:
            self.close()
            raise

    @abc.abstractmethod
    def _listen(self, deadline: float, bell: int) -> set[str]: ...

    def _classes_in_line(self) -> set[str]:
        with self._database.read() as connection:
            return set(line.heads(connection, WAITING))

    def _settle_due(self) -> line.Pulse:
        """Put into line what is due, and note when the next is."""
        while True:
            with self._database.read() as connection:
                pulse = line.pulse(connection, self._database)
            if not pulse.is_due:
                break
            self._database.retrying(lambda connection: line.promote_and_tell(connection, self._database))
        self._due_at = _monotonic(pulse.due_ms, pulse.now_ms)
        return pulse


class LookingEar(SqlEar):
    """Looks at the table again and again."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._seen: dict[int, int] | None = (
            None  # by place, since when each job waits that was told of lately
        )
        self._since_ms = 0
        self._pause = LOOK_FIRST_S

    def close(self) -> None:
        self._seen = None

    def forget(self) -> None:
        self._seen = None

    def _listen(self, deadline: float, bell: int) -> set[str]:
        self._pause = LOOK_FIRST_S
        while True:
            heard = self._look() if self._must_look() else set()
            now = time.monotonic()
            if heard or now >= deadline:
                return heard
            if bell in readable(min(deadline - now, self._due_at - now, self._next_pause()), bell):
                return set()

    def _must_look(self) -> bool:
        return True

    def _next_pause(self) -> float:
        pause, self._pause = self._pause, min(self._pause * LOOK_SLOWER, LOOK_LAST_S)
        return pause

    def _look(self) -> set[str]:
        """The classes of jobs that came into line since the last look; at first, of all that are in line."""
        pulse = self._settle_due()
        seen, since_ms = self._seen, self._since_ms
        self._since_ms = pulse.now_ms - OVERLAP_MS
        if seen is None:
            self._seen = {row.place: row.due_ms for row in self._rows_since(self._since_ms)}
            return self._classes_in_line()
        if pulse.newest_ms is None or pulse.newest_ms < since_ms:
            self._seen = {}
            return set()
        rows = self._rows_since(since_ms)
        self._seen = {row.place: row.due_ms for row in rows}
        if len(rows) == NEWS_AT_ONCE:
            return self._classes_in_line()
        return {row.class_key for row in rows if seen.get(row.place) != row.due_ms}

    def _rows_since(self, since_ms: int) -> Any:
        newest = (
            sa.select(board.c.place, board.c.class_key, board.c.due_ms)
            .where(line.is_now(WAITING), board.c.due_ms >= since_ms)
            .order_by(board.c.due_ms.desc())
            .limit(NEWS_AT_ONCE)
        )
        with self._database.read() as connection:
            return connection.execute(newest).all()


class SqliteEar(LookingEar):
    """Looks at the table only when another connection has changed the file."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._changed_at = 0.0

    def close(self) -> None:
        super().close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        super().forget()
        self._connection = None

    def _must_look(self) -> bool:
        now = time.monotonic()
        version = self._data_version()
        if version == self._version and self._seen is not None and now < self._due_at:
            return False
        self._version = version
        return True

    def _look(self) -> set[str]:
        heard = super()._look()
        if heard:  # where one job comes, others follow; a change of other tables means nothing
            self._changed_at = time.monotonic()
        return heard

    def _next_pause(self) -> float:
        return SQLITE_BUSY_S if time.monotonic() < self._changed_at + SQLITE_BUSY_FOR_S else SQLITE_IDLE_S

    def _data_version(self) -> int:
        try:
            if self._connection is None:
                self._connection = _own_connection(self._database)
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except (sqlite3.Error, SQLAlchemyError) as error:
            raise _away(self._database, error) from error


class PostgresEar(SqlEar):
    """Listens on a channel."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._connection: Any = None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        self._connection = None  # psycopg closes only what its own process opened

    def _listen(self, deadline: float, bell: int) -> set[str]:
        heard: set[str] = set()
        if self._connection is None:
            self._subscribe()
            heard = self._classes_in_line()
        self._settle_due()
        while True:
            heard |= self._drain()
            now = time.monotonic()
            if heard or now >= deadline:
                return heard
            if now >= self._due_at:
                self._settle_due()
                continue
            socket = int(self._connection.fileno())
            if bell in readable(min(deadline, self._due_at) - now, bell, socket):
                return self._drain()

    def _subscribe(self) -> None:
        import psycopg

        args, options = self._database.engine.dialect.create_connect_args(self._database.url)
        options = {**options, "connect_timeout": 5, "autocommit": True, **KEEPALIVE}
        try:
            self._connection = psycopg.connect(*args, **options)
            self._connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as error:
            raise _away(self._database, error) from error

    def _drain(self) -> set[str]:
        import psycopg

        heard: set[str] = set()
        libpq = self._connection.pgconn
        try:
            libpq.consume_input()
            while (notice := libpq.notifies()) is not None:
                self._take(notice.extra.decode(), heard)
        except psycopg.Error as error:
            raise _away(self._database, error) from error
        return heard

    def _take(self, word: str, heard: set[str]) -> None:
        if word.startswith("+"):
            heard.add(word[1:])
        elif word.startswith("~") and word[1:].isdecimal():
            self._due_at = min(self._due_at, time.monotonic() + int(word[1:]) / 1000)


def _monotonic(due_ms: int | None, now_ms: int) -> float:
    return math.inf if due_ms is None else time.monotonic() + max(due_ms - now_ms, 1) / 1000


def _own_connection(database: Database) -> sqlite3.Connection:
    """A connection outside of the pool, with the pool's settings."""
    pooled = database.engine.raw_connection()
    connection = pooled.driver_connection
    pooled.detach()
    assert isinstance(connection, sqlite3.Connection)
    return connection


def _away(database: Database, error: Exception) -> BoardUnavailable:
    return BoardUnavailable(
        f"The job board {database.name} is not available: {' '.join(str(error).split())}",
        hint="Is the database running? `jobrunner doctor` checks all of it.",
    )
