"""The one place where the parts are wired together from the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobrunner.boards import open_board
from jobrunner.boards.board import Board
from jobrunner.config import Config
from jobrunner.jobs.context import JobContext
from jobrunner.persistence.schema import require_schema
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store

if TYPE_CHECKING:
    from jobrunner.conductor.channel import Channel
    from jobrunner.conductor.worker.worker import Worker
    from jobrunner.plugins.registry import Registry


def make_context(config: Config, *, need_schema: bool = True) -> JobContext:
    """The use cases' context; raises SchemaOutOfDate or StoreUnavailable if the database does not fit."""
    database = make_database(config)
    if need_schema:
        require_schema(database)
    return JobContext(
        config=config,
        database=database,
        open_board=lambda: make_board(config, database),
        load_registry=lambda: make_registry(config),
    )


def make_database(config: Config) -> Database:
    """The configured database; nothing is connected yet."""
    return Database(config.store_url, pool_size=config.persistence.pool_size)


def make_board(config: Config, database: Database) -> Board:
    """The configured board, bound to the store; raises BoardUnavailable or WrongBoard."""
    board = open_board(config.board_url, database=database, prefix=config.board.prefix)
    board.bind(Store(database).id)
    return board


def make_registry(config: Config, *, reload: bool = False, directory: Path | None = None) -> Registry:
    """All job types and capabilities that can be found here; what is broken is in its ``problems``."""
    from jobrunner.plugins import load_plugins

    return load_plugins(config.flows.paths or None, reload=reload, directory=directory)


def run_conductor(config: Config, *, once: bool = False) -> int:
    """Run a conductor in this process until it is told to stop, or with ``once`` until there is nothing left to claim.

    Raises SchemaOutOfDate, StoreUnavailable or WrongBoard at its start, and with ``once`` BoardUnavailable; other
    outages are waited out.
    """
    from jobrunner.conductor.supervisor.supervisor import Supervisor

    database = make_database(config)
    require_schema(database)
    return Supervisor(config, database, open_board=lambda: make_board(config, database), once=once).run()


def make_worker(
    config: Config,
    channel: Channel,
    *,
    owner: str,
    once: bool,
    alone: bool,
    drained: bool = False,
    slots: int | None = None,
    place: int | None = None,
    directory: str | None = None,
) -> Worker:
    """A worker of a conductor's; see :class:`~jobrunner.conductor.worker.worker.Worker`.

    :param directory: where the conductor was started, if not here
    """
    from jobrunner.conductor.directory import come_back
    from jobrunner.conductor.worker.worker import Worker

    def load_registry(reload: bool) -> Registry:
        come_back(directory)
        return make_registry(config, reload=reload, directory=Path(directory) if directory else None)

    database = make_database(config)
    return Worker(
        config,
        channel,
        database,
        open_board=lambda: make_board(config, database),
        load_registry=load_registry,
        owner=owner,
        once=once,
        alone=alone,
        drained=drained,
        slots=slots,
        place=place,
    )
