"""TaskFlow's own board and storage, and posting to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from oslo_utils import uuidutils
from taskflow import engines
from taskflow.jobs import backends as jobboards
from taskflow.persistence import backends, models

from bench.servers import Servers

BOARD = "bench"
THREADS = 8


@dataclass(frozen=True, kw_only=True)
class StockPlace:
    """Where stock TaskFlow keeps its jobs and its flows."""

    redis_port: int
    redis_database: int
    store_url: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@contextlib.contextmanager
def stock_place(servers: Servers) -> Iterator[StockPlace]:
    """An empty board on Redis, and TaskFlow's tables in an empty MariaDB database."""
    board_url, store_url = servers.redis.create_database(), servers.mariadb.create_database()
    place = StockPlace(
        redis_port=servers.redis.port, redis_database=int(urlsplit(board_url).path[1:]), store_url=store_url
    )
    try:
        with (
            contextlib.closing(_storage(place)) as storage,
            contextlib.closing(storage.get_connection()) as one,
        ):
            one.upgrade()
        yield place
    finally:
        servers.mariadb.drop_database(store_url)
        servers.redis.drop_database(board_url)


@contextlib.contextmanager
def opened(place: StockPlace) -> Iterator[tuple[Any, Any]]:
    """The connected board and the storage."""
    with contextlib.closing(_storage(place)) as storage:
        where = {"board": "redis", "host": "127.0.0.1", "port": place.redis_port, "db": place.redis_database}
        board = jobboards.fetch(BOARD, where, persistence=storage)
        board.connect()
        with contextlib.closing(board):
            yield board, storage


def post(board: Any, storage: Any, factory: Callable[..., Any], *args: Any) -> None:
    """Post one job with a logbook of its own."""
    book = models.LogBook("bench")
    flow = models.FlowDetail("flow", uuidutils.generate_uuid())
    book.add(flow)
    engines.save_factory_details(flow, factory, args, {})  # saved with the book below, in one go
    with contextlib.closing(storage.get_connection()) as connection:
        connection.save_logbook(book)
    board.post(f"job-{book.uuid}", book=book, details={"flow_uuid": flow.uuid})


def _storage(place: StockPlace) -> Any:
    return backends.fetch({"connection": place.store_url})
