"""The boards of TaskFlow programs: their configurations, by the fixtures of their servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from taskflow.jobs import backends

from jobrunner.boards.taskflow.jobboard import PostingBoard
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database

BOARD_KINDS = [
    pytest.param("redis", marks=pytest.mark.redis),
    "sqlite",
    pytest.param("mariadb", marks=pytest.mark.mariadb),
    pytest.param("postgres", marks=pytest.mark.postgresql),
]
NETWORKED_KINDS = [kind for kind in BOARD_KINDS if kind != "sqlite"]
"""Not SQLite: whoever is stopped in the middle of a write there holds the file's lock, and all others up."""


def board_conf(request: pytest.FixtureRequest, kind: str, **settings: Any) -> dict[str, Any]:
    """An empty board's configuration; a database has its tables."""
    url: str = request.getfixturevalue(f"{kind}_url")
    if kind == "redis":
        return {"board": "jobrunner-redis", "connection": url, **settings}
    database = Database(url)
    upgrade(database)
    database.close()
    return {"board": "jobrunner-sql", "connection": url, **settings}


def fetch_board(conf: dict[str, Any], *, name: str = "test-board", persistence: Any = None) -> PostingBoard:
    """The board as TaskFlow makes it, by its entry point."""
    board = backends.fetch(name, conf, persistence=persistence)
    assert isinstance(board, PostingBoard)
    return board


def die(board: PostingBoard) -> None:
    """Let the board's process be as good as dead to its server: no lease is kept any more, and nothing handed back."""
    assert board._session is not None
    board._session.keeper.stop()


def stays(condition: Callable[[], object], *, seconds: float) -> None:
    """Fail if the condition ceases to hold within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()
        threading.Event().wait(0.02)
