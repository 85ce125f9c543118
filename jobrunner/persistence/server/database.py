"""The one way to the SQL server: transactions, and what a person reads when they fail.

SQLite, MariaDB/MySQL (PyMySQL) and PostgreSQL (psycopg) behave alike through this module: READ COMMITTED, a write
transaction that waits for its turn rather than failing half-way, and matched (not changed) row counts. SQLite needs
BEGIN IMMEDIATE so that a reader never has to become a writer, WAL and a busy timeout. Bounds of time are in engines.py,
what the drivers' errors mean in faults.py.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import SQLAlchemyError

from jobrunner.errors import ConfigError, NotStorable, StoreUnavailable
from jobrunner.passwords import hide_password
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.transaction import transaction
from jobrunner.persistence.server.engines import READ_ONLY, lone_postgres_connection, make_engine
from jobrunner.persistence.server.faults import (
    brief,
    is_away,
    is_crowded,
    is_full,
    is_passing,
    is_read_only,
    is_refused,
    is_unwritable_text,
)
from jobrunner.persistence.server.pooling import mark_ended

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0
RETRY_FIRST_S = 0.01
RETRY_MAX_S = 1.0

_DRIVERS = {
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
_URLS = "Use sqlite:////path, mysql+pymysql://user:password@host/db or postgresql+psycopg://user:password@host/db."
_AWAY_HINT = "Is it running, and do host, port, account, password and database fit (persistence.url)?"
_AWAY_HINTS = {"sqlite": "Is there room on its disk, and may this account write the file and its directory?"}
_FULL_HINT = "Make room on the disk of the database's server: what waits for that is written then."
_CROWDED_HINT = (
    "Raise max_connections there, or have fewer connections: persistence.pool_size, conductor.processes."
)
_READ_ONLY_HINT = (
    "It is a standby, or was made read-only: let persistence.url name the server that takes writes."
)
_BUSY_HINT = "Try again. If that does not help, look in the database for somebody who holds locks for long."
_REFUSED_HINT = (
    "Are account and password right (persistence.url, persistence.password or password_file)? Does the database "
    "exist, and may the account use, make and change its tables?"
)
_REFUSED_HINTS = {
    "sqlite": "Is persistence.url the right file? If it is, it is damaged: put back a copy that was saved."
}
ENCODING_HINT = "Use a database that was made with ENCODING 'UTF8' (CREATE DATABASE ... TEMPLATE template0)."
_ENCODING_HINTS = {
    "mysql": "Give the column its character set back (utf8mb4); `jobrunner doctor` lists all columns that lost theirs."
}
_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


class Database:
    """A SQL database by its URL.

    :param url: ``sqlite:///path``, ``mysql+pymysql://...``, ``mariadb+pymysql://...`` or ``postgresql+psycopg://...``
    :param pool_size: how many connections are kept open at most; more are made for a moment when needed
    :param answer_timeout: seconds after which a server that does not answer counts as away; None waits for ever
    """

    def __init__(
        self, url: str, *, pool_size: int = 5, answer_timeout: float | None = ANSWER_TIMEOUT_S
    ) -> None:
        self.url = _normal_url(url)
        self.dialect = {"mariadb": "mysql"}.get(self.url.get_backend_name(), self.url.get_backend_name())
        if self.dialect not in _NOW_MS:
            raise ConfigError(
                f"persistence.url names a database that is not supported: {self.url.get_backend_name()!r}.",
                hint=_URLS,
            )
        self.engine = make_engine(self.url, self.dialect, pool_size=pool_size, answer_timeout=answer_timeout)

    @property
    def name(self) -> str:
        """The URL without its password, for messages."""
        return hide_password(self.url.render_as_string(hide_password=False))

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction: committed at the end, rolled back on an error. On SQLite it holds the write lock.

        Raises StoreUnavailable if the server is away; what is passing is not tried again, see :meth:`retrying`.
        """
        with self.errors(), self.engine.connect() as connection:
            with connection.begin():
                yield connection
            mark_ended(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; never waits for a writer."""
        with self.errors(), self.engine.connect().execution_options(**READ_ONLY) as connection:
            yield connection

    def retrying(self, work: Callable[[Connection], T], *, patience: float = 10.0) -> T:
        """Run ``work`` in one write transaction, again from its start after dead locks and lock timeouts.

        :param patience: seconds after which a passing fault is raised as StoreUnavailable
        """

        def attempt() -> T:
            with self.engine.connect() as connection:
                with connection.begin():
                    found = work(connection)
                mark_ended(connection)
                return found

        return self.patiently(attempt, patience=patience)

    def pipelined(self, work: Callable[[Pipeline], T], *, patience: float = 10.0) -> T:
        """Run ``work`` as :meth:`retrying` does, in a transaction whose statements go to the server together."""

        def attempt() -> T:
            with self.engine.connect() as connection:
                with transaction(connection) as pipeline:
                    found = work(pipeline)
                mark_ended(connection)
                return found

        return self.patiently(attempt, patience=patience)

    def patiently(self, attempt: Callable[[], T], *, patience: float) -> T:
        """Make an attempt at a transaction, again for ``patience`` seconds after dead locks and lock timeouts."""
        deadline = time.monotonic() + patience
        pause = RETRY_FIRST_S
        while True:
            with self.errors():
                try:
                    return attempt()
                except SQLAlchemyError as error:
                    if not is_passing(error) or time.monotonic() + pause > deadline:
                        raise
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (spreads retries, protects nothing)
            pause = min(pause * 2, RETRY_MAX_S)

    def lone_postgres_connection(self, **options: Any) -> Any:
        """psycopg's connection outside of the pool, in autocommit mode, to be closed by the caller."""
        return lone_postgres_connection(self.engine, self.url, **options)

    def now_ms(self) -> sa.ColumnElement[int]:
        """The server's clock as an SQL expression: milliseconds since the epoch."""
        return now_ms_of(self.dialect)

    def explain(self, error: SQLAlchemyError) -> Exception:
        """The error that a person should see for one of SQLAlchemy's: StoreUnavailable if the server is away, does
        not let us in, or is busy; NotStorable if its encoding lacks a character; else the error itself."""
        if is_away(error):
            return StoreUnavailable(
                f"The database {self.name} is not available: {brief(error)}",
                hint=self._away_hint(error),
            )
        if is_refused(error):
            return StoreUnavailable(
                f"The database {self.name} refuses: {brief(error)}",
                hint=_REFUSED_HINTS.get(self.dialect, _REFUSED_HINT),
            )
        if is_passing(error):
            return StoreUnavailable(f"The database {self.name} was too busy: {brief(error)}", hint=_BUSY_HINT)
        if is_unwritable_text(error):
            return NotStorable(
                f"The database {self.name} cannot hold this text: {brief(error)}",
                hint=_ENCODING_HINTS.get(self.dialect, ENCODING_HINT),
            )
        return error

    def _away_hint(self, error: SQLAlchemyError) -> str:
        if is_full(error):
            return _FULL_HINT
        if is_crowded(error):
            return _CROWDED_HINT
        if is_read_only(error):
            return _READ_ONLY_HINT
        return f"{_AWAY_HINTS.get(self.dialect, _AWAY_HINT)} `jobrunner doctor` checks all of it."

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """SQLAlchemy's errors of a server that is away or busy become StoreUnavailable; others stay as they are.

        Connections to a server that takes no writes any more are given up, though they are whole: the next ones reach
        the server that has taken its place.
        """
        try:
            yield
        except SQLAlchemyError as error:
            if is_read_only(error):
                self.engine.dispose()
            explained = self.explain(error)
            if explained is error:
                raise
            raise explained from error

    def close(self) -> None:
        """Close all connections. Closing twice is fine."""
        self.engine.dispose()


def now_ms_of(dialect: str) -> sa.ColumnElement[int]:
    """The clock of a server of this kind as an SQL expression."""
    return sa.literal_column(_NOW_MS[dialect], sa.BigInteger)


def _normal_url(text: str) -> URL:
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigError("persistence.url is not a database URL.", hint=_URLS) from error
    if any("\udc80" <= char <= "\udcff" for char in url.database or ""):  # bytes that Python could not read
        raise ConfigError(
            "persistence.url, or the home directory, has characters that this locale cannot read.",
            hint="Set one that reads UTF-8 (LC_ALL=C.UTF-8), or name another file in persistence.url.",
        )
    if "@" in (url.host or ""):
        raise ConfigError(
            "persistence.url has more than one @, so where its password ends is not clear.",
            hint="Write one that belongs to the user or password as %40, or give persistence.password_file instead.",
        )
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    try:
        url.get_dialect()
    except sa.exc.NoSuchModuleError as error:
        raise ConfigError(
            f"persistence.url names a database or driver that is not known: {url.drivername}.", hint=_URLS
        ) from error
    if url.get_backend_name() == "mysql" and "charset" not in url.query:
        url = url.update_query_dict({"charset": "utf8mb4"})
    return url
