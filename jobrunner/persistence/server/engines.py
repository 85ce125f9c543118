"""SQLAlchemy's engines, set up so that no call waits for ever and no client that stands still holds others up.

Each dialect has the same three bounds. An answer that does not come within ``answer_timeout`` breaks the connection
(a partition, a frozen server). A lock is waited for LOCK_WAIT_S at most. And a transaction in which its client does
nothing for IDLE_TRANSACTION_S (a conductor that was stopped half-way) is ended by the server, which frees its locks;
MySQL alone cannot do that, and waits for the connection's end.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine

from jobrunner.errors import ConfigError
from jobrunner.persistence.server.pooling import keep_warm

SQLITE_BUSY_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 5
LOCK_WAIT_S = 5
IDLE_TRANSACTION_S = 15
KEEPALIVE_IDLE_S = 10
POSTGRES_IDLE_SESSION_VERSION = 140000
"""PostgreSQL has ``idle_session_timeout`` since then."""
POOL_OVERFLOW = 10
POOL_RECYCLE_S = 1800
POSTGRES_ENCODING = "utf8"
"""Whatever the server, the database, the role or PGCLIENTENCODING say: names and results are of all alphabets."""
READ_ONLY = {"jobrunner_read_only": True}
"""Execution options of a connection that will only read: on SQLite it then takes no write lock."""


def make_engine(url: URL, dialect: str, *, pool_size: int, answer_timeout: float | None) -> Engine:
    """An engine for one of the three dialects; raises ConfigError if its driver is not installed.

    :param answer_timeout: seconds after which a server that does not answer counts as away; None waits for ever,
        for statements that take long, such as migrations
    """
    if dialect == "sqlite":
        return _sqlite_engine(url, pool_size)
    connect_args: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S}
    if url.drivername == "postgresql+psycopg":
        # A statement prepared while a table was small goes on reading all of it when it has grown, until ANALYZE;
        # and poolers such as PgBouncer lose prepared statements.
        connect_args["prepare_threshold"] = None
        connect_args["client_encoding"] = POSTGRES_ENCODING
    if dialect == "mysql":
        connect_args["client_flag"] = _mysql_capabilities()
    if answer_timeout is not None:
        connect_args |= (
            _mysql_bounds(answer_timeout) if dialect == "mysql" else _postgres_bounds(answer_timeout)
        )
    try:
        engine = sa.create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_size=pool_size,
            max_overflow=POOL_OVERFLOW,
            pool_reset_on_return=None,  # pooling.py does that, where it is needed
            pool_recycle=POOL_RECYCLE_S,
            connect_args=connect_args,
            paramstyle="format" if dialect == "mysql" else None,  # places are cheaper to fill in than names
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The driver for {url.drivername} is not installed: {error.name}.",
            hint="Install it. For PostgreSQL: bin/make_venv postgresql, or pip install 'psycopg[binary]'.",
        ) from error
    if dialect == "postgresql":
        event.listen(engine, "connect", _patient_session if answer_timeout is None else _postgres_session)
    elif answer_timeout is not None:
        event.listen(engine, "connect", _mysql_session)
    if answer_timeout is not None and url.drivername == "postgresql+psycopg":
        event.listen(engine, "do_connect", _bounded_connect(answer_timeout))
    if url.drivername == "mysql+pymysql":
        event.listen(engine, "do_connect", _frugal_connect)
    keep_warm(engine)
    return engine


# -- MariaDB, MySQL


def _mysql_capabilities() -> int:
    """Row counts of what matched, as everywhere; and several statements in one text, for pipelines."""
    from pymysql.constants import CLIENT

    return int(CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS)


def _mysql_bounds(answer_timeout: float) -> dict[str, Any]:
    return {"read_timeout": answer_timeout, "write_timeout": answer_timeout}


def _mysql_session(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        version = str(cursor.fetchone()[0])
        settings = f"innodb_lock_wait_timeout={LOCK_WAIT_S}"
        if "mariadb" in version.lower():
            settings += f", idle_transaction_timeout={IDLE_TRANSACTION_S}"
        cursor.execute(f"SET SESSION {settings}")


def _frugal_connect(dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
    if isinstance(password := parameters.get("password"), str):
        parameters = {
            **parameters,
            "password": password.encode(),
        }  # PyMySQL's own is Latin-1, the server's UTF-8
    return _frugal_connection()(*arguments, **parameters)


@functools.cache
def _frugal_connection() -> Any:
    """PyMySQL's connection, which does not load the system's certificates only to verify nothing.

    Where the URL says nothing of TLS, PyMySQL (since 1.2) uses it if the server has it, and verifies no certificate;
    still it reads all authorities that the system trusts, 30 ms for each connection and each command. What is
    negotiated stays the same. With options of TLS in the URL everything is PyMySQL's own.
    """
    import ssl

    from pymysql.connections import Connection

    class FrugalConnection(Connection):  # type: ignore[misc]
        def _create_ssl_ctx(self, options: Any) -> Any:
            if options:
                return super()._create_ssl_ctx(options)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context

    return FrugalConnection


# -- PostgreSQL


def _postgres_bounds(answer_timeout: float) -> dict[str, Any]:
    return {
        "keepalives_idle": KEEPALIVE_IDLE_S,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(answer_timeout * 1000),
    }


def _postgres_session(connection: Any, record: Any) -> None:
    _set(
        connection,
        f"SET lock_timeout = '{LOCK_WAIT_S}s'",
        f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'",
        *_idle_for_ever(connection.info.server_version),
    )


def _patient_session(connection: Any, record: Any) -> None:
    """For migrations, whose statements take as long as tables are large: a role's bounds are not meant for them."""
    _set(
        connection,
        "SET statement_timeout = 0",
        "SET idle_in_transaction_session_timeout = 0",
        *_idle_for_ever(connection.info.server_version),
    )


def lone_postgres_connection(engine: Engine, url: URL, **options: Any) -> Any:
    """psycopg's connection outside of the pool, in autocommit mode, which may be idle for ever; raises its errors."""
    import psycopg

    args, named = engine.dialect.create_connect_args(url)
    named = {**named, "connect_timeout": CONNECT_TIMEOUT_S, "client_encoding": POSTGRES_ENCODING, **options}
    connection = psycopg.connect(*args, autocommit=True, **named)
    for setting in _idle_for_ever(connection.info.server_version):
        connection.execute(setting.encode())
    return connection


def _idle_for_ever(version: int) -> list[str]:
    """What lets a session be idle: a conductor that has nothing to do keeps its connections, and listens on one."""
    return ["SET idle_session_timeout = 0"] if version >= POSTGRES_IDLE_SESSION_VERSION else []


def _set(connection: Any, *settings: str) -> None:
    """All in one round trip."""
    with connection.cursor() as cursor:
        cursor.execute("; ".join(settings))
    connection.commit()


def _bounded_connect(answer_timeout: float) -> Callable[..., Any]:
    def connect(dialect: Any, record: Any, arguments: Any, parameters: Any) -> Any:
        return _bounded_connection(answer_timeout).connect(*arguments, **parameters)

    return connect


@functools.cache
def _bounded_connection(answer_timeout: float) -> Any:
    """psycopg's connection, which gives up on a server that accepts what is sent and never answers.

    The kernel's own timeouts do not notice that: a frozen server's machine acknowledges every packet.
    """
    import psycopg

    class BoundedConnection(psycopg.Connection[Any]):
        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            return super().wait(self._bounded(gen), *args, **options)

        def _bounded(self, gen: Any) -> Generator[Any, Any, Any]:
            deadline = time.monotonic() + answer_timeout
            try:
                waits_for = next(gen)
                while True:
                    ready = yield waits_for
                    if not ready and time.monotonic() > deadline:
                        self.pgconn.finish()  # whatever the server does with it is of unknown outcome
                        raise psycopg.OperationalError(f"the server did not answer for {answer_timeout:g} s")
                    waits_for = gen.send(ready)
            except StopIteration as end:
                return end.value

    return BoundedConnection


# -- SQLite


def _sqlite_engine(url: URL, pool_size: int) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    if not in_memory and url.database is not None:
        with contextlib.suppress(OSError):  # opening the file says it better
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # A database in memory is its one connection: whoever wants it waits for whoever has it.
    pool: dict[str, Any] = {"pool_size": 1, "max_overflow": 0} if in_memory else {"pool_size": pool_size}
    if not in_memory:
        pool["max_overflow"] = 2 * POOL_OVERFLOW
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        connect_args={"check_same_thread": False, "timeout": SQLITE_BUSY_TIMEOUT_MS / 1000},
        **pool,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver's guess
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        only_reads = connection.get_execution_options().get("jobrunner_read_only")
        connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")

    return engine
