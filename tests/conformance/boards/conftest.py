"""The drivers that keep the board's contract. A new driver adds a parameter here, and no tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobrunner.boards import open_board
from jobrunner.boards.board import Board
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import settings
from tests.support.kept_databases import kept_databases, ready

__all__ = ["kept_databases"]


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        "sqlite",
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ]
)
def board_url(
    request: pytest.FixtureRequest, kept_databases: Callable[[str], str], tmp_path: Path
) -> Iterator[str]:
    """An empty board's URL; a sql board has its tables."""
    if request.param == "redis":
        yield request.getfixturevalue("redis_url")
    else:
        yield from ready(request.param, kept_databases, tmp_path)


@pytest.fixture
def open_one(board_url: str) -> Iterator[Callable[[], Board]]:
    """Opens the same board once more, as another process would."""
    with ExitStack() as stack:

        def open_() -> Board:
            board = open_board(board_url)
            stack.callback(board.close)
            return board

        yield open_


@pytest.fixture
def board(open_one: Callable[[], Board]) -> Board:
    return open_one()


@pytest.fixture
def other_board(open_one: Callable[[], Board]) -> Board:
    """The same board, as another process sees it."""
    return open_one()


@pytest.fixture
def store_id(board_url: str) -> str:
    """The id of the store that the board belongs to; a sql board's is the database's own."""
    if board_url.startswith("redis"):
        return "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    database = Database(board_url)
    with database.read() as connection:
        found: str = connection.scalars(
            sa.select(settings.c.value).where(settings.c.name == "store_id")
        ).one()
    database.close()
    return found
