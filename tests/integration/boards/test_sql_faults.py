"""The sql board when its server dies, when others hold locks, and when rows are damaged."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobrunner.boards import sql_line as line
from jobrunner.boards.board import Board
from jobrunner.boards.sql import SqlBoard
from jobrunner.errors import BoardUnavailable
from jobrunner.model import JobClass
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.engines import LOCK_WAIT_S
from jobrunner.persistence.tables import board as table
from tests.support.boards import ALICE, BOB, LONG, OTHER, PLAIN, Waiter, entry, until

Open = Callable[..., Board]
BOUND = 15.0


@pytest.fixture
def made_url(store_url: str) -> str:
    """A database with its tables."""
    database = Database(store_url)
    upgrade(database)
    database.close()
    return store_url


@pytest.fixture
def sqlite_file(sqlite_url: str) -> Path:
    database = Database(sqlite_url)
    upgrade(database)
    database.close()
    return Path(str(database.url.database))


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_every_call_says_that_a_dead_server_is_away_and_works_again_when_it_is_back(
    request: pytest.FixtureRequest, open_at: Open, kind: str
) -> None:
    server = request.getfixturevalue(f"private_{kind}")()
    url = server.create_database()
    database = Database(url)
    upgrade(database)
    database.close()
    board = open_at(url)
    board.post([entry("before")])
    assert board.wait([PLAIN], timeout=20)
    with Waiter(board, PLAIN, timeout=60) as waiter:
        server.kill()
        died_at = time.monotonic()
        with pytest.raises(BoardUnavailable):
            waiter.join()
        assert waiter.ended_at - died_at < BOUND
    calls: list[Callable[[], object]] = [
        lambda: board.post([entry()]),
        lambda: board.claim(ALICE, [PLAIN], limit=1, lease=LONG),
        lambda: board.keep([("x", ALICE)], lease=LONG),
        lambda: board.wait([PLAIN], timeout=60),
        board.classes,
        board.count,
        board.list,
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(BoardUnavailable) as raised:
            call()
        assert time.monotonic() - began < BOUND
        assert raised.value.hint
    server.start()
    board.post([entry("after")])
    assert board.wait([PLAIN], timeout=20)
    assert board.claim(ALICE, [PLAIN], limit=5, lease=LONG) == ["before", "after"]


def test_a_listening_connection_that_was_cut_is_made_anew(postgres_url: str, open_at: Open) -> None:
    database = Database(postgres_url)
    upgrade(database)
    board, poster = open_at(postgres_url), open_at(postgres_url)
    board.wait([PLAIN], timeout=0)
    listening = "query LIKE 'LISTEN%' AND datname = current_database()"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listening}"
    with database.write() as connection:
        assert connection.execute(sa.text(cut)).scalars().all() == [True]
    poster.post([entry()])
    with pytest.raises(BoardUnavailable):
        board.wait([PLAIN], timeout=20)
    assert board.wait([PLAIN], timeout=20)
    database.close()


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_wait_ends_though_somebody_who_stands_still_has_locked_what_is_due(
    request: pytest.FixtureRequest, open_at: Open, kind: str
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    database = Database(url)
    upgrade(database)
    board = open_at(url)
    board.post([entry("due")])
    assert board.claim(ALICE, [PLAIN], limit=1, lease=0.1) == ["due"]
    board.wait([PLAIN], timeout=0)
    with database.write() as connection:
        connection.execute(sa.select(table.c.job_id).with_for_update()).all()
        with Waiter(board, PLAIN, timeout=1.0) as waiter:
            assert not waiter.join()
        with Waiter(board, PLAIN, timeout=60) as waiter:
            woken_at = time.monotonic()
            board.wake()
            assert not waiter.join()
            assert waiter.ended_at - woken_at < BOUND / 3
    until(lambda: bool(board.wait([PLAIN], timeout=1)))
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["due"]
    database.close()


def test_a_claim_that_finds_nothing_takes_no_write_lock(
    sqlite_file: Path, sqlite_url: str, open_at: Open
) -> None:
    board = open_at(sqlite_url)
    board.post([entry("later", delay=LONG), entry("other", OTHER)])
    with closing(sqlite3.connect(sqlite_file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert board.claim(ALICE, [PLAIN], limit=1, lease=LONG) == []
        assert board.peek([OTHER], limit=1) == ["other"]
        board.wait([PLAIN], timeout=0.1)
        assert time.monotonic() - began < 2.0
        writer.execute("ROLLBACK")
    assert board.claim(ALICE, [OTHER], limit=1, lease=LONG) == ["other"]


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_claim_waits_for_nobody(request: pytest.FixtureRequest, open_at: Open, kind: str) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    database = Database(url)
    upgrade(database)
    board = open_at(url)
    board.post([entry("a", age=3), entry("b", OTHER, age=2), entry("c", age=1), entry("d", OTHER)])
    with database.write() as connection:
        assert [job.job_id for job in line.lock_in_line(connection, PLAIN.key, limit=1)] == ["a"]
        assert board.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["c"]
        assert board.claim(BOB, [PLAIN, OTHER], limit=5, lease=LONG) == ["b", "d"]
    assert board.claim(BOB, [PLAIN, OTHER], limit=5, lease=LONG) == ["a"]
    database.close()


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_steps_over_given_jobs_wait_for_those_jobs_only(
    request: pytest.FixtureRequest, open_at: Open, kind: str
) -> None:
    """On a small board too, of which a server would rather read all rows; else they dead-lock again and again."""
    url = request.getfixturevalue(f"{kind}_url")
    database = Database(url)
    upgrade(database)
    board = open_at(url)
    board.post([entry("a"), entry("b"), entry("c")])
    with database.write() as connection:
        assert len(line.lock(connection, database, ["b"])) == 1
        began = time.monotonic()
        assert board.post([entry("b"), entry("d")]) == 1
        assert board.claim_these(ALICE, ["a", "c"], lease=LONG) == ["a", "c"]
        assert board.consume(ALICE, ["a"]) == 1
        assert board.withdraw(["c", "d"]) == 2
        assert time.monotonic() - began < LOCK_WAIT_S
    assert board.known(["a", "b", "c", "d"]) == {"b"}
    database.close()


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_room_that_others_leave_is_filled_with_the_next_in_line(
    request: pytest.FixtureRequest, open_at: Open, kind: str
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    database = Database(url)
    upgrade(database)
    board = open_at(url)
    board.post(
        [entry("a", age=5), entry("b", age=4), entry("c", OTHER, age=3), entry("d", age=2), entry("e", OTHER)]
    )
    with database.write() as connection:
        assert len(line.lock_in_line(connection, PLAIN.key, limit=2)) == 2
        assert board.claim(BOB, [PLAIN, OTHER], limit=3, lease=LONG) == ["c", "d", "e"]
    database.close()


@pytest.mark.parametrize(
    "garbage", ["", "garbage", "{}", '{"class":"x","priority":1,"posted_ms":1,"available_ms":1}']
)
def test_a_row_that_cannot_be_read_is_left_out_and_dropped(
    made_url: str, open_at: Open, garbage: str
) -> None:
    board = open_at(made_url)
    board.post([entry("a"), entry("b"), entry("c")])
    database = Database(made_url)
    with database.write() as connection:
        connection.execute(sa.update(table).where(table.c.job_id == "b").values(entry=garbage))
    database.close()
    assert [row.entry.job_id for row in board.list()[0]] == ["a", "c"]
    assert board.known(["a", "b", "c"]) == {"a", "c"}
    assert board.post([entry("b")]) == 1


@pytest.mark.parametrize("key", ["x", "[]", '["t",7,[]]', "#" * 255])
def test_a_class_that_cannot_be_read_is_dropped(made_url: str, open_at: Open, key: str) -> None:
    board = open_at(made_url)
    board.post([entry("a"), entry("b", OTHER)])
    database = Database(made_url)
    with database.write() as connection:
        connection.execute(sa.update(table).where(table.c.job_id == "b").values(class_key=key))
    database.close()
    assert board.classes() == {PLAIN}
    assert board.known(["a", "b"]) == {"a"}


def test_it_works_in_memory() -> None:
    database = Database("sqlite://")
    upgrade(database)
    board = SqlBoard("sqlite://", database=database)
    with Waiter(board, PLAIN) as waiter:
        board.post([entry("job", delay=0.2)])
        assert waiter.join()
    assert board.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["job"]
    board.close()
    database.close()


def _claim_all(url: str, name: str, answer: multiprocessing.Queue[list[str]]) -> None:
    board = SqlBoard(url)
    mine: list[str] = []
    while board.count().waiting:
        mine += board.claim(name, [PLAIN], limit=2, lease=LONG)
    board.close()
    answer.put(mine)


def test_processes_share_a_sqlite_file(sqlite_file: Path, sqlite_url: str, open_at: Open) -> None:
    jobs = [entry() for _ in range(120)]
    open_at(sqlite_url).post(jobs)
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[list[str]] = context.Queue()
    processes = [context.Process(target=_claim_all, args=(sqlite_url, f"p{n}", answer)) for n in range(3)]
    for process in processes:
        process.start()
    claimed = Counter(job_id for _ in processes for job_id in answer.get(timeout=60))
    for process in processes:
        process.join()
    assert claimed == Counter(job.job_id for job in jobs)


@pytest.mark.parametrize("dialect", ["mariadb", "postgres", "sqlite"])
def test_the_first_in_line_is_found_by_the_index(
    request: pytest.FixtureRequest, open_at: Open, dialect: str
) -> None:
    url = request.getfixturevalue(f"{dialect}_url")
    database = Database(url)
    upgrade(database)
    open_at(url).post([entry(job_class=JobClass(type=f"type {n % 9}")) for n in range(2000)])
    with database.read() as connection:
        statement = line._line_of('["type 1",null,[]]').limit(2)
        text = str(statement.compile(database.engine, compile_kwargs={"literal_binds": True})).replace(
            "%", "%%"
        )
        explain = "EXPLAIN QUERY PLAN " if dialect == "sqlite" else "EXPLAIN "
        plan = " ".join(str(row) for row in connection.exec_driver_sql(explain + text))
    database.close()
    assert "board_line" in plan
    assert "sort" not in plan.lower()
    assert "temp b-tree" not in plan.lower()


def test_waiting_holds_no_transaction_open(made_url: str, open_at: Open) -> None:
    board = open_at(made_url)
    with Waiter(board, PLAIN) as waiter:
        threading.Event().wait(0.3)
        database = Database(made_url)
        began = time.monotonic()
        with database.write() as connection:  # waits for any that is open, until one of them is ended
            connection.execute(sa.text("ALTER TABLE board ADD COLUMN mark INTEGER"))
        assert time.monotonic() - began < LOCK_WAIT_S
        database.close()
        until(lambda: board.count().waiting == 0)
        board.post([entry("job")])
        assert waiter.join()
