"""The boards on which the model test runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from jobrunner.boards import redis_connection
from jobrunner.boards.board import Board
from jobrunner.boards.redis import RedisBoard
from jobrunner.boards.sql import SqlBoard
from jobrunner.conductor.reconciling import reconciler
from jobrunner.jobs import jobsets
from jobrunner.persistence import job_rows
from jobrunner.persistence.ownership import beginning
from jobrunner.persistence.permits import granting
from jobrunner.persistence.posting import posting
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import board as board_table
from tests.conformance.model import clock as clocks
from tests.conformance.model.clock import Clock, ClockedDatabase
from tests.conformance.model.expected import MAX_DEATHS
from tests.conformance.model.world import Snapshots, World

Parts = tuple[Database, Board, Clock, Snapshots]
KEYS = "{jobrunner}:*"


@pytest.fixture
def on_sqlite(sqlite_url: str) -> Iterator[Parts]:
    clock = Clock()
    database = ClockedDatabase(sqlite_url, clock)
    upgrade(database)
    board = SqlBoard(sqlite_url, database=database)

    def take() -> list[dict[str, Any]]:
        with database.read() as connection:
            return [dict(row) for row in connection.execute(sa.select(board_table)).mappings()]

    def put_back(rows: list[dict[str, Any]]) -> None:
        board.clear()
        if rows:
            with database.write() as connection:
                connection.execute(board_table.insert(), rows)

    yield database, board, clock, Snapshots(take, put_back)
    board.close()
    database.close()


@pytest.fixture
def on_redis(sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    monkeypatch.setattr(redis_connection, "script_text", clocks.clocked_scripts())
    with redis.Redis.from_url(redis_url) as client:
        clock = Clock(client)
        database = ClockedDatabase(sqlite_url, clock)
        upgrade(database)
        board = RedisBoard(redis_url)

        def take() -> dict[bytes, Any]:
            return {key: client.dump(key) for key in client.scan_iter(KEYS)}

        def put_back(saved: dict[bytes, Any]) -> None:
            board.clear()
            for key, value in saved.items():
                client.restore(key, 0, value)

        yield database, board, clock, Snapshots(take, put_back)
        board.close()
        database.close()


@pytest.fixture
def make_world(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., World]]:
    """Makes a world of parts; from then on the whole process goes by its clock."""
    caplog.set_level(logging.CRITICAL, logger="jobrunner")  # thousands of lost boards, each worth a warning
    with ExitStack() as stack:

        def make(parts: Parts, kind: type[World] = World) -> World:
            world = kind(*parts)
            world.writer.start()
            stack.callback(world.writer.stop)
            monkeypatch.setattr(time, "time_ns", world.clock.time_ns)
            for module in (job_rows, posting, jobsets):
                monkeypatch.setattr(module, "new_job_id", world.new_job_id)
            monkeypatch.setattr(beginning, "MAX_DEATHS", MAX_DEATHS)
            monkeypatch.setattr(reconciler, "SHARE", 0)
            monkeypatch.setattr(granting, "random", SimpleNamespace(uniform=lambda low, high: 1.0))
            return world

        yield make


@pytest.fixture(params=["on_sqlite", pytest.param("on_redis", marks=pytest.mark.redis)])
def parts(request: pytest.FixtureRequest) -> Parts:
    """Each board in turn; the store is SQLite's."""
    found: Parts = request.getfixturevalue(request.param)
    return found
