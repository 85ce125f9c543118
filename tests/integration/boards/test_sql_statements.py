"""The sql board's statements are made once: to make one takes longer than SQLite needs to execute it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.boards.board import Board
from jobrunner.boards.sql import SqlBoard
from jobrunner.model import JobClass
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from tests.support.boards import ALICE, LONG, entry

CLASSES = [JobClass(type=name) for name in ("first", "second", "third")]


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    upgrade(database)
    yield database
    database.close()


def test_what_is_asked_again_is_the_same_statement(database: Database) -> None:
    board = SqlBoard(database.url.render_as_string(hide_password=False), database=database)
    rounds: list[list[sa.sql.ClauseElement]] = []

    def note(_connection: Any, statement: Any, *_rest: Any) -> None:
        rounds[-1].append(statement)

    for job_id in ("warm", "again", "once more"):
        rounds.append([])
        if job_id == "again":  # what is asked only once, as of the server's version, is over by now
            sa.event.listen(database.engine, "before_execute", note)
        _live(board, job_id)
    _, second, third = rounds
    assert len(second) > 10
    assert [id(statement) for statement in third] == [id(statement) for statement in second]
    board.close()


def _live(board: Board, job_id: str) -> None:
    """Everything that happens on the board to a job that is handed back once."""
    board.post([entry(job_id, CLASSES[1])])
    assert board.claim(ALICE, CLASSES, limit=5, lease=LONG) == [job_id]
    assert board.keep([(job_id, ALICE)], lease=LONG) == set()
    assert board.release(ALICE, [job_id]) == 1
    assert board.peek(CLASSES, limit=5) == [job_id]
    assert board.claim_these(ALICE, [job_id], lease=LONG) == [job_id]
    assert board.consume(ALICE, [job_id]) == 1
