"""The servers on which TaskFlow programs have boards. Another one adds a parameter here, and no tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from jobrunner.boards.taskflow.jobboard import PostingBoard
from tests.support.taskflow_boards import BOARD_KINDS, board_conf, fetch_board


@pytest.fixture(params=BOARD_KINDS)
def conf(request: pytest.FixtureRequest) -> dict[str, Any]:
    """An empty board's configuration, as TaskFlow programs have it."""
    return board_conf(request, request.param)


@pytest.fixture
def open_one(conf: dict[str, Any]) -> Iterator[Callable[..., PostingBoard]]:
    """Opens the same board once more, as another process would; settings go into its configuration."""
    with ExitStack() as stack:

        def open_(**settings: Any) -> PostingBoard:
            board = fetch_board(conf | settings)
            stack.callback(board.close)
            board.connect()
            return board

        yield open_


@pytest.fixture
def board(open_one: Callable[..., PostingBoard]) -> PostingBoard:
    return open_one()


@pytest.fixture
def other_board(open_one: Callable[..., PostingBoard]) -> PostingBoard:
    """The same board, as another process sees it."""
    return open_one()
