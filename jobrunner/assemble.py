"""The one place where the parts are wired together from the configuration."""

from __future__ import annotations

from jobrunner.boards import open_board
from jobrunner.boards.board import Board
from jobrunner.config import Config
from jobrunner.jobs.context import JobContext
from jobrunner.persistence.database import Database
from jobrunner.persistence.schema import require_schema
from jobrunner.persistence.store import Store
from jobrunner.plugins import load_plugins
from jobrunner.plugins.registry import Registry


def make_context(config: Config, *, need_schema: bool = True) -> JobContext:
    """The use cases' context; raises SchemaOutOfDate or StoreUnavailable if the database does not fit."""
    database = Database(config.store_url, pool_size=config.persistence.pool_size)
    if need_schema:
        require_schema(database)
    return JobContext(
        config=config,
        database=database,
        open_board=lambda: make_board(config, database),
        load_registry=lambda: make_registry(config),
    )


def make_board(config: Config, database: Database) -> Board:
    """The configured board, bound to the store; raises BoardUnavailable or WrongBoard."""
    board = open_board(config.board_url, database=database, prefix=config.board.prefix)
    board.bind(Store(database).id)
    return board


def make_registry(config: Config) -> Registry:
    """All job types and capabilities that can be found here; what is broken is in its ``problems``."""
    return load_plugins(config.flows.paths or None)
