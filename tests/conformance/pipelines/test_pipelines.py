"""What every pipeline promises, on every database: all or nothing, values unharmed, errors as SQLAlchemy's."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, IntegrityError

from jobrunner.errors import StoreUnavailable
from jobrunner.persistence.pipelines.mysql import TEXT_BYTES
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.pipelines.transaction import transaction
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.faults import is_away
from jobrunner.persistence.server.link import Link
from jobrunner.persistence.server.pooling import has_news
from tests.support.boards import until

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql")),
    sa.Column("size", sa.Float),
    sa.Column("at", sa.DateTime),
)
INSERT = Statement(things.insert(), columns=("id", "name", "size", "at"))
NAMES = Statement(
    sa.select(things.c.id, things.c.name)
    .where(things.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(things.c.id),
    many="ids",
)
RENAME = Statement(
    things.update().where(things.c.id == sa.bindparam("key")).values(name=sa.bindparam("new_name"))
)
DIFFICULT = [
    "it's",
    'a "b"',
    "50 %s %(x)s %%",
    "\\",
    "\\'; DROP TABLE things; --",
    "a;\nb",
    "é😀",
    "",
    ":x ?",
]


def thing(number: int, name: str | None = "thing", **columns: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "size": None, "at": None, **columns}


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    things.metadata.create_all(database.engine)
    yield database
    database.close()


def names(database: Database) -> dict[int, Any]:
    with database.read() as connection:
        return {row.id: row.name for row in connection.execute(sa.select(things.c.id, things.c.name))}


def test_what_was_added_is_there_and_what_is_asked_is_answered(database: Database) -> None:
    def work(pipeline: Pipeline) -> list[dict[str, Any]]:
        pipeline.add(INSERT, [thing(number, f"n{number}") for number in range(5)])
        pipeline.add(RENAME, [{"key": 1, "new_name": "one"}, {"key": 3, "new_name": "three"}])
        return pipeline.ask(NAMES, {"ids": [3, 1, 99]})

    assert database.pipelined(work) == [{"id": 1, "name": "one"}, {"id": 3, "name": "three"}]
    assert names(database) == {0: "n0", 1: "one", 2: "n2", 3: "three", 4: "n4"}


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8, 9])
def test_lists_of_any_length(database: Database, number: int) -> None:
    database.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(place) for place in range(20)]))
    found = database.pipelined(lambda pipeline: pipeline.ask(NAMES, {"ids": list(range(number))}))
    assert [row["id"] for row in found] == list(range(number))


def test_values_come_back_as_they_were(database: Database) -> None:
    at = datetime.datetime(2031, 2, 3, 4, 5, 6)
    rows = [thing(number, name, size=0.1, at=at) for number, name in enumerate(DIFFICULT)]
    database.pipelined(lambda pipeline: pipeline.add(INSERT, [*rows, thing(99, None)]))
    database.pipelined(
        lambda pipeline: pipeline.add(
            RENAME, [{"key": number, "new_name": name + "!"} for number, name in enumerate(DIFFICULT)]
        )
    )
    with database.read() as connection:
        found = connection.execute(sa.select(things).order_by(things.c.id)).mappings().all()
    assert [row["name"] for row in found] == [name + "!" for name in DIFFICULT] + [None]
    assert {(row["size"], row["at"]) for row in found} == {(0.1, at), (None, None)}


def test_much_text_is_sent_in_parts(database: Database) -> None:
    long = "x'" * (TEXT_BYTES // 3)
    database.pipelined(
        lambda pipeline: pipeline.add(INSERT, [thing(number, f"{number}{long}") for number in range(5)])
    )
    assert names(database) == {number: f"{number}{long}" for number in range(5)}


def test_nothing_is_committed_when_a_statement_fails(database: Database) -> None:
    database.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(1, "first")]))

    def work(pipeline: Pipeline) -> None:
        pipeline.add(INSERT, [thing(2)])
        pipeline.add(INSERT, [thing(1, "again")])
        pipeline.add(INSERT, [thing(3)])

    with pytest.raises(IntegrityError) as caught:
        database.pipelined(work)
    assert "again" not in str(caught.value)
    assert names(database) == {1: "first"}


def test_nothing_is_committed_when_the_caller_fails(database: Database) -> None:
    def work(pipeline: Pipeline) -> None:
        pipeline.add(INSERT, [thing(1)])
        pipeline.ask(NAMES, {"ids": [1]})
        raise KeyError("changed my mind")

    with pytest.raises(KeyError):
        database.pipelined(work)
    assert names(database) == {}


def test_a_failure_is_raised_and_not_logged_as_well(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def work(pipeline: Pipeline) -> None:
        pipeline.add(INSERT, [thing(1)])
        pipeline.add(INSERT, [thing(1)])
        pipeline.add(INSERT, [thing(2)])
        pipeline.ask(NAMES, {"ids": [1]})
        pipeline.ask(NAMES, {"ids": [1]})

    with pytest.raises(IntegrityError):
        database.pipelined(work)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_connection_serves_on_after_a_failure(database: Database) -> None:
    link = Link(database)
    link.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(1)]))
    with pytest.raises(IntegrityError):
        link.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(2), thing(1)]))
    link.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(3)]))
    link.close()
    assert set(names(database)) == {1, 3}


def test_an_empty_list_of_rows_adds_nothing(database: Database) -> None:
    database.pipelined(lambda pipeline: pipeline.add(INSERT, []))
    assert names(database) == {}


def test_a_statement_for_a_list_works_with_constants_of_its_own(database: Database) -> None:
    mark = Statement(
        things.update()
        .where(things.c.id.in_(sa.bindparam("ids", expanding=True)), things.c.name == "thing")
        .values(name="marked", size=things.c.size + 1),
        many="ids",
    )
    database.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(1), thing(2, "other"), thing(3)]))
    database.pipelined(lambda pipeline: pipeline.add(mark, [{"ids": [1, 2, 3]}]))
    assert names(database) == {1: "marked", 2: "other", 3: "marked"}


def test_what_is_sent_is_logged_without_its_values(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="jobrunner.sql"):
        database.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(1, "secret"), thing(2, "secret")]))
    said = [record.getMessage() for record in caplog.records if record.name == "jobrunner.sql"]
    assert len(said) == 2
    assert said[0].startswith("INSERT INTO things")
    assert said[0].endswith("[2]")
    assert said[1] == "COMMIT"
    assert "secret" not in "".join(said)


def kill_own_connection(database: Database, pipeline: Pipeline) -> None:
    """The server ends the connection on which the pipeline is."""
    own = {"mysql": "SELECT CONNECTION_ID()", "postgresql": "SELECT pg_backend_pid()"}
    kill = {"mysql": "KILL {}", "postgresql": "SELECT pg_terminate_backend({})"}
    (row,) = pipeline.ask(Statement(sa.text(own[database.dialect])), {})
    with database.engine.connect() as other:
        other.exec_driver_sql(kill[database.dialect].format(*row.values()))


def test_a_broken_connection_is_told_and_not_used_again(database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no connections that could break")

    def write_over_killed(connection: sa.Connection) -> None:
        with transaction(connection) as pipeline:
            kill_own_connection(database, pipeline)
            pipeline.add(INSERT, [thing(1)])

    with database.engine.connect() as connection:
        with pytest.raises(DBAPIError) as caught:
            write_over_killed(connection)
        assert is_away(caught.value)
        assert connection.invalidated
    with pytest.raises(StoreUnavailable):
        database.pipelined(lambda pipeline: kill_own_connection(database, pipeline), patience=0)
    database.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(2)]))
    assert set(names(database)) == {2}


def test_a_kept_connection_that_the_server_ended_while_nobody_used_it_costs_nothing(
    database: Database,
) -> None:
    """It was restarted, or it or what is between ends connections that nobody uses for less than a minute."""
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no connections that could break")
    link = Link(database)
    link.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(1)]))
    assert link._connection is not None
    driver = link._connection.connection.driver_connection
    own = {"mysql": lambda: driver.thread_id(), "postgresql": lambda: driver.info.backend_pid}
    kill = {"mysql": "KILL {}", "postgresql": "SELECT pg_terminate_backend({})"}
    with database.engine.connect() as other:
        other.exec_driver_sql(kill[database.dialect].format(own[database.dialect]()))
    until(lambda: has_news(driver))
    link.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(2)]))
    link.close()
    assert set(names(database)) == {1, 2}


@pytest.mark.mariadb
def test_quotes_are_safe_where_backslashes_mean_nothing(mariadb_url: str) -> None:
    database = Database(mariadb_url)
    things.metadata.create_all(database.engine)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')")
        connection.rollback()
        with transaction(connection) as pipeline:
            pipeline.add(INSERT, [thing(number, name) for number, name in enumerate(DIFFICULT)])
    assert list(names(database).values()) == DIFFICULT
    database.close()


@pytest.mark.mariadb
def test_a_transaction_of_many_statements_is_two_round_trips(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(mariadb_url)
    things.metadata.create_all(database.engine)
    link = Link(database)
    link.pipelined(lambda pipeline: pipeline.add(INSERT, [thing(0)]))
    sent: list[str] = []
    answers: list[int] = []
    send = pymysql.connections.Connection._execute_command
    read = pymysql.connections.Connection._read_query_result

    def noted(self: Any, command: int, sql: Any) -> None:
        sent.append(sql if isinstance(sql, str) else bytes(sql).decode())
        send(self, command, sql)

    def counted(self: Any, unbuffered: bool = False) -> Any:
        answers.append(len(sent))
        return read(self, unbuffered=unbuffered)

    monkeypatch.setattr(pymysql.connections.Connection, "_execute_command", noted)
    monkeypatch.setattr(pymysql.connections.Connection, "_read_query_result", counted)

    def work(pipeline: Pipeline) -> None:
        pipeline.ask(NAMES, {"ids": [0]})
        pipeline.add(INSERT, [thing(1), thing(2)])
        pipeline.add(RENAME, [{"key": 1, "new_name": "x"}, {"key": 2, "new_name": "y"}])

    link.pipelined(work)
    query, rest = sent
    assert query.startswith("SELECT")
    begin, *statements, end = rest.replace("ATOMIC\n", "ATOMIC;\n").split(";\n")
    if database.engine.dialect.is_mariadb:
        assert (begin, end) == ("BEGIN NOT ATOMIC", "END")
        assert answers == [1, 2]  # one for all of them: reading answers is what costs most
    else:  # MySQL has no compound statements outside of routines, and answers each
        statements = [begin, *statements, end]
        assert answers == [1, *[2] * len(statements)]
    assert [line.split()[0] for line in statements] == ["INSERT", "UPDATE", "UPDATE", "COMMIT"]
    link.close()
    database.close()
