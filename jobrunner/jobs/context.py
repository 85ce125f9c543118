"""What every use case works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from jobrunner.boards.board import Board
from jobrunner.config import Config
from jobrunner.errors import BoardUnavailable, WrongBoard
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store

if TYPE_CHECKING:
    from jobrunner.plugins.registry import Registry


@dataclass(frozen=True)
class JobContext:
    """The parts, wired together by assemble.py; board and registry are made when they are first needed.

    ``open_board`` raises BoardUnavailable or WrongBoard; what can do without a board, does.
    """

    config: Config
    database: Database
    open_board: Callable[[], Board]
    load_registry: Callable[[], Registry]

    @cached_property
    def store(self) -> Store:
        return Store(self.database)

    @cached_property
    def board(self) -> Board:
        """The board, for what is in the database already: raises BoardUnavailable, also for one of another database.

        Else a command would fail, though what it did is committed, and somebody would do it again.
        """
        try:
            return self.open_board()
        except WrongBoard as error:
            raise BoardUnavailable(f"{error.sentence} {error.hint or ''}".rstrip()) from error

    @cached_property
    def registry(self) -> Registry:
        return self.load_registry()

    def close(self) -> None:
        """Let go of all connections. Closing twice is fine."""
        board = self.__dict__.pop("board", None)
        if board is not None:
            board.close()
        self.database.close()
