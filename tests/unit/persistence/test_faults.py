"""What the drivers' errors mean."""

from __future__ import annotations

import sqlite3

import psycopg
import pymysql
import pytest
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobrunner.errors import StoreUnavailable
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.faults import (
    brief,
    is_away,
    is_passing,
    is_read_only,
    is_refused,
    is_unwritable_text,
)

PASSING = [
    *(pymysql.err.OperationalError(code, "x") for code in (1205, 1213, 1020, 1317, 1969)),
    psycopg.errors.SerializationFailure(),
    psycopg.errors.DeadlockDetected(),
    psycopg.errors.LockNotAvailable(),
    psycopg.errors.QueryCanceled(),
    psycopg.errors.IdleInTransactionSessionTimeout(),
    sqlite3.OperationalError("database is locked"),
]
AWAY = [
    *(
        pymysql.err.OperationalError(code, "x")
        for code in (1040, 1053, 1290, 1836, 2002, 2003, 2006, 2013, 1021)
    ),
    psycopg.OperationalError("connection refused"),
    psycopg.errors.AdminShutdown(),
    psycopg.errors.DatabaseDropped(),
    psycopg.errors.TooManyConnections(),
    psycopg.errors.DiskFull(),
    psycopg.errors.ReadOnlySqlTransaction(),
    psycopg.errors.ConnectionFailure(),
    sqlite3.OperationalError("disk I/O error"),
    sqlite3.OperationalError("database or disk is full"),
    sqlite3.OperationalError("attempt to write a readonly database"),
]
FOR_GOOD = [
    pymysql.err.IntegrityError(1062, "Duplicate entry"),
    pymysql.err.DataError(1406, "Data too long"),
    pymysql.err.OperationalError(1045, "Access denied"),
    psycopg.errors.UniqueViolation(),
    psycopg.errors.StringDataRightTruncation(),
    psycopg.errors.InvalidPassword(),
    sqlite3.IntegrityError("UNIQUE constraint failed"),
    sqlite3.OperationalError("no such table: jobs"),
    TypeError("no driver's error"),
]


def wrapped(error: BaseException) -> DBAPIError:
    return OperationalError("SELECT 1", {}, error)


def words(error: BaseException) -> str:
    return f"{type(error).__name__}{error.args}"


@pytest.mark.parametrize("error", PASSING, ids=words)
def test_passing(error: BaseException) -> None:
    assert is_passing(wrapped(error))
    assert not is_away(wrapped(error))


@pytest.mark.parametrize("error", AWAY, ids=words)
def test_away(error: BaseException) -> None:
    assert is_away(wrapped(error))
    assert not is_passing(wrapped(error))


@pytest.mark.parametrize("error", FOR_GOOD, ids=words)
def test_for_good(error: BaseException) -> None:
    assert not is_away(wrapped(error))
    assert not is_passing(wrapped(error))


REFUSED = [
    *(pymysql.err.OperationalError(code, "x") for code in (1044, 1045, 1049, 1142, 1146, 1698)),
    psycopg.errors.InvalidPassword(),
    psycopg.errors.InvalidCatalogName(),
    psycopg.errors.InsufficientPrivilege(),
    psycopg.errors.InvalidSchemaName(),
    psycopg.errors.UndefinedTable(),
    sqlite3.DatabaseError("file is not a database"),
]


@pytest.mark.parametrize("error", REFUSED, ids=words)
def test_refused(error: BaseException) -> None:
    assert is_refused(wrapped(error))
    assert not is_away(wrapped(error))


@pytest.mark.parametrize("error", [*AWAY, *PASSING], ids=words)
def test_not_refused(error: BaseException) -> None:
    assert not is_refused(wrapped(error))


def test_what_sqlalchemy_itself_says() -> None:
    broken = DBAPIError("SELECT 1", {}, TypeError("x"), connection_invalidated=True)
    assert is_away(broken)
    assert is_away(PoolTimeout("QueuePool limit reached"))
    assert not is_away(ValueError())
    assert not is_passing(ValueError())


def test_an_error_in_brief() -> None:
    assert brief(wrapped(pymysql.err.OperationalError(2003, "Can't connect"))) == "Can't connect (2003)"
    assert brief(wrapped(sqlite3.OperationalError("a\n  b"))) == "a b"
    assert brief(ValueError("plain")) == "plain"


def test_a_message_can_be_followed_by_another() -> None:
    assert StoreUnavailable("It refuses: no such database").sentence == "It refuses: no such database."
    assert StoreUnavailable("It is away.").sentence == "It is away."


def test_a_server_that_takes_no_writes_is_told_from_one_that_is_full() -> None:
    read_only = [pymysql.err.OperationalError(code, "x") for code in (1047, 1290, 1836)]
    for original in [*read_only, psycopg.errors.ReadOnlySqlTransaction()]:
        assert is_read_only(wrapped(original))
        assert is_away(wrapped(original))
    for original in (pymysql.err.OperationalError(1021, "x"), psycopg.errors.DiskFull()):
        assert not is_read_only(wrapped(original))


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (pymysql.err.OperationalError(1021, "Disk got full"), "Make room"),
        (pymysql.err.OperationalError(1114, "The table is full"), "Make room"),
        (psycopg.errors.DiskFull(), "Make room"),
        (pymysql.err.OperationalError(1040, "Too many connections"), "max_connections"),
        (psycopg.OperationalError("FATAL: sorry, too many clients already"), "max_connections"),
        (pymysql.err.OperationalError(2003, "Can't connect"), "Is it running"),
        (psycopg.OperationalError("connection refused"), "Is it running"),
    ],
    ids=lambda given: given if isinstance(given, str) else words(given),
)
def test_who_cannot_have_the_database_is_told_what_to_do_about_it(error: BaseException, hint: str) -> None:
    explained = Database("mysql+pymysql://h/d").explain(wrapped(error))
    assert isinstance(explained, StoreUnavailable)
    assert hint in (explained.hint or "")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            pymysql.err.DataError(1366, "Incorrect string value: '\\xF0' for column `a`.`b`.`c` at row 1"),
            True,
        ),
        (pymysql.err.DataError(1366, "Incorrect integer value: 'x' for column `a`.`b`.`c` at row 1"), False),
        (
            pymysql.err.OperationalError(
                3988, "Conversion from collation utf8mb4_bin into latin1_bin impossible"
            ),
            True,
        ),
        (psycopg.errors.UntranslatableCharacter(), True),
        (psycopg.errors.CharacterNotInRepertoire(), True),
        (psycopg.errors.StringDataRightTruncation(), False),
        (TypeError("no driver's error"), False),
    ],
    ids=lambda value: words(value) if isinstance(value, BaseException) else "",
)
def test_text_that_cannot_be_written(error: BaseException, expected: bool) -> None:
    assert is_unwritable_text(wrapped(error)) is expected
