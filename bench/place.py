"""An installation of jobrunner: a board, a store, and a directory for what its processes leave."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.servers import Servers
from jobrunner.assemble import make_context
from jobrunner.config import BoardSection, Config, FlowsSection, PersistenceSection
from jobrunner.jobs.context import JobContext
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database

ROOT = Path(__file__).parents[1]
FLOWS = ROOT / "bench" / "flows"


@dataclass(frozen=True, kw_only=True)
class Place:
    """``board_url`` is None where the board is in the store."""

    board_url: str | None
    store_url: str
    directory: Path

    @property
    def config(self) -> Config:
        """The configuration for those who post and look."""
        return Config(
            board=BoardSection(url=self.board_url),
            persistence=PersistenceSection(url=self.store_url),
            flows=FlowsSection(paths=(FLOWS,)),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The same for a command: nothing of the user's own configuration gets in."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("JOBRUNNER_", "XDG_"))
        }
        ours = {
            "HOME": str(self.directory),
            "PYTHONPATH": str(ROOT),
            "JOBRUNNER_FLOWS": str(FLOWS),
            "JOBRUNNER_PERSISTENCE__URL": self.store_url,
        }
        board = {} if self.board_url is None else {"JOBRUNNER_BOARD__URL": self.board_url}
        return {**kept, **ours, **board}

    @contextlib.contextmanager
    def context(self) -> Iterator[JobContext]:
        """What posting and looking work with."""
        context = make_context(self.config)
        try:
            yield context
        finally:
            context.close()


@contextlib.contextmanager
def on_servers(servers: Servers) -> Iterator[Place]:
    """An empty installation on Redis and MariaDB."""
    with _on(servers, servers.mariadb.create_database(), servers.redis.create_database()) as place:
        yield place


@contextlib.contextmanager
def on_mariadb(servers: Servers) -> Iterator[Place]:
    """An empty installation with its board in MariaDB."""
    with _on(servers, servers.mariadb.create_database(), None) as place:
        yield place


@contextlib.contextmanager
def on_postgresql(servers: Servers, *, redis: bool) -> Iterator[Place]:
    """An empty installation on PostgreSQL, with its board in Redis or in PostgreSQL itself."""
    assert servers.postgresql is not None
    board = servers.redis.create_database() if redis else None
    with _on(servers, servers.postgresql.create_database(), board) as place:
        yield place


@contextlib.contextmanager
def embedded(servers: Servers) -> Iterator[Place]:
    """An empty installation in one SQLite file on the same disk."""
    directory = Path(tempfile.mkdtemp(prefix="embedded-", dir=servers.directory))
    yield _made(
        Place(board_url=None, store_url=f"sqlite:///{directory}/jobrunner.sqlite", directory=directory)
    )


@contextlib.contextmanager
def _on(servers: Servers, store_url: str, board_url: str | None) -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="place-", dir=servers.directory))
    try:
        yield _made(Place(board_url=board_url, store_url=store_url, directory=directory))
    finally:
        owner = servers.postgresql if store_url.startswith("postgresql") else servers.mariadb
        assert owner is not None
        owner.drop_database(store_url)
        if board_url is not None:
            servers.redis.drop_database(board_url)


def _made(place: Place) -> Place:
    database = Database(place.store_url)
    try:
        upgrade(database)
    finally:
        database.close()
    return place
