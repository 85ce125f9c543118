"""How the sql board hears of work.

- PostgreSQL: ``LISTEN`` on a connection of its own; told at the commit of the post.
- SQLite: the kernel tells when the file's write-ahead log was written to; the table is read when ``PRAGMA
  data_version``, on a connection of its own, shows that this was committed. While others write all the time it is
  read each 25 ms, or each 5 ms for a second after it had news. Where the kernel cannot tell, it is asked as often.
- MariaDB, MySQL, and SQLite in memory: the table's newest row is looked at after 20 ms, then less and less often,
  at last each 100 ms.

All of them end a wait when a lease or a delay runs out. A database whose clock is set back by more than two seconds
can make the lookers miss a job until the next wait that times out and claims anyway.
"""

from __future__ import annotations

import abc
import functools
import logging
import math
import sqlite3
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from jobrunner.boards import sql_line as line
from jobrunner.boards.file_watch import FileWatch
from jobrunner.boards.sql_line import CHANNEL, WAITING
from jobrunner.boards.waiting import Ear, readable, take_news
from jobrunner.errors import BoardUnavailable
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import board

log = logging.getLogger(__name__)

LOOK_FIRST_S = 0.02
LOOK_SLOWER = 1.3
LOOK_LAST_S = 0.1
SQLITE_BUSY_S = 0.005
SQLITE_IDLE_S = 0.025
SQLITE_BUSY_FOR_S = 1.0
SQLITE_FIRST_S = 0.001
"""What was written is committed once it is on the disk: asked so soon, and then after twice the time."""
SQLITE_COMMIT_S = 0.25
"""What is not committed by then is found by the look that is taken each so many seconds whatever the kernel says."""
SQLITE_NEXT_S = 0.03
"""So long after one commit it is asked for the next one, whose writing the kernel may have told with the first."""
OVERLAP_MS = 2000
"""A look begins this long before the last one, for transactions that were not committed then."""
NEWS_AT_ONCE = 500
LOCKED_S = 0.1
"""What is due, and locked by somebody else, is looked at again after this time: who locked it may stand still."""
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
        """Put into line what is due, and note when the next is; what others have locked is theirs for a moment."""
        more = True
        while True:
            with self._database.read() as connection:
                pulse = line.pulse(connection, self._database)
            if not (pulse.is_due and more):
                break
            more = self._database.retrying(
                lambda connection: line.promote_and_tell(connection, self._database)
            )
        self._due_at = _monotonic(pulse.due_ms, pulse.now_ms)
        if pulse.is_due:
            self._due_at = time.monotonic() + LOCKED_S
        return pulse


class LookingEar(SqlEar):
    """Looks at the table again and again."""

    spread = LOOK_LAST_S

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
            if bell in self._pause_for(min(deadline, self._due_at) - now, bell):
                return set()

    def _pause_for(self, most: float, bell: int) -> set[int]:
        """Wait until it is time to look again, at most so many seconds, or until the bell rings; what rang."""
        return readable(min(most, self._next_pause()), bell)

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
        with self._database.read() as connection:
            return connection.execute(_newest(), {"since_ms": since_ms}).all()


@functools.cache
def _newest() -> sa.Select[Any]:
    return (
        sa.select(board.c.place, board.c.class_key, board.c.due_ms)
        .where(line.is_now(WAITING), board.c.due_ms >= sa.bindparam("since_ms", type_=board.c.due_ms.type))
        .order_by(board.c.due_ms.desc())
        .limit(NEWS_AT_ONCE)
    )


class SqliteEar(LookingEar):
    """Looks at the table only when another connection has changed the file."""

    spread = 0.0

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._connection: sqlite3.Connection | None = None
        self._watch: FileWatch | None = None
        self._version = -1
        self._written_at = self._changed_at = self._told_at = 0.0
        self._least_pause = SQLITE_FIRST_S

    def close(self) -> None:
        super().close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._close_watch()

    def forget(self) -> None:
        super().forget()
        self._connection = None
        self._close_watch()

    def _close_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _must_look(self) -> bool:
        if self._watch is not None and self._watch.was_written():
            self._written_at = time.monotonic()
        version = self._data_version()
        if version == self._version and self._seen is not None and time.monotonic() < self._due_at:
            return False
        self._version = version
        self._changed_at = time.monotonic()
        return True

    def _look(self) -> set[str]:
        heard = super()._look()
        if heard:  # where one job comes, others follow; a change of other tables means nothing
            self._told_at = time.monotonic()
        self._least_pause = min(2 * self._least_pause, self._slowest())
        return heard

    def _slowest(self) -> float:
        is_busy = time.monotonic() < self._told_at + SQLITE_BUSY_FOR_S
        return SQLITE_BUSY_S if is_busy else SQLITE_IDLE_S

    def _pause_for(self, most: float, bell: int) -> set[int]:
        if self._watch is None:
            return readable(min(most, self._slowest()), bell)
        since = time.monotonic() - self._written_at
        if since > (SQLITE_NEXT_S if self._changed_at > self._written_at else SQLITE_COMMIT_S):
            self._least_pause = SQLITE_FIRST_S
            return readable(min(most, SQLITE_COMMIT_S), bell, self._watch.fileno())
        return readable(min(most, max(self._least_pause, min(since, SQLITE_IDLE_S))), bell)

    def _data_version(self) -> int:
        try:
            if self._connection is None:
                self._connection = _own_connection(self._database)
                self._connection.execute("PRAGMA data_version").fetchone()  # makes the log, if there is none
                self._watch = _watch_log(self._connection)
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except (sqlite3.Error, SQLAlchemyError) as error:
            raise _away(self._database, error) from error


def _watch_log(connection: sqlite3.Connection) -> FileWatch | None:
    """A watch of the write-ahead log; None where there is none to be had."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    try:
        return FileWatch(f"{path}-wal")
    except OSError as error:
        log.info("the SQLite file is looked at regularly, since the kernel cannot tell of changes: %s", error)
        return None


class PostgresEar(SqlEar):
    """Listens on a channel."""

    channel = CHANNEL

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

        try:
            self._connection = self._database.lone_postgres_connection(**KEEPALIVE)
            self._connection.execute(f"LISTEN {self.channel}")
        except psycopg.Error as error:
            raise _away(self._database, error) from error

    def _drain(self) -> set[str]:
        import psycopg

        heard: set[str] = set()
        libpq = self._connection.pgconn
        try:
            libpq.consume_input()
            while (notice := libpq.notifies()) is not None:
                self._due_at = take_news(notice.extra.decode(), heard, self._due_at)
        except psycopg.Error as error:
            raise _away(self._database, error) from error
        return heard


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
