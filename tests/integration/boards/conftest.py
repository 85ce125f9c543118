"""Boards on servers that a test may break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from jobrunner.boards import open_board
from jobrunner.boards.board import Board


@pytest.fixture
def open_at() -> Iterator[Callable[..., Board]]:
    """Opens boards that are closed when the test is over."""
    with ExitStack() as stack:

        def open_(url: str, **options: str) -> Board:
            board = open_board(url, **options)
            stack.callback(board.close)
            return board

        yield open_
