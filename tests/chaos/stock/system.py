"""Stock TaskFlow as a system under test: how its conductors are started, and how its users post and look."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import redis.exceptions
from oslo_utils import uuidutils
from taskflow import exceptions, states
from taskflow.jobs import backends as boards
from taskflow.persistence import backends as persistences
from taskflow.persistence import models

from jobrunner.model import flow_id
from tests.chaos.stock import mirror
from tests.chaos.systems import FLOWS, ROOT, Client, Seen, Servers, Unavailable

SLOTS = 8
ANSWER_S = 5.0
"""Redis has so long to answer, as it has for jobrunner."""
TROUBLE = (exceptions.TaskFlowException, redis.exceptions.RedisError, OSError)


class Stock:
    """TaskFlow's non-blocking conductor with so many threads as jobrunner has in all its workers."""

    name = "stock TaskFlow, non-blocking"
    kind = "nonblocking"
    has_epochs = False
    has_lives = False
    expires = False

    def __init__(self) -> None:
        self._workers = 1
        self._posted: dict[str, Any] = {}

    def prepare(self, store_url: str) -> None:
        """TaskFlow's tables, and the table of jobs beside them; on MariaDB."""
        if not store_url.startswith("mysql"):
            raise SystemExit("stock TaskFlow is put to the test on MariaDB: --database mariadb")
        with (
            contextlib.closing(persistences.fetch({"connection": store_url})) as backend,
            contextlib.closing(backend.get_connection()) as connection,
        ):
            connection.upgrade()
        mirror.install(store_url)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.chaos.stock.program"]

    def environment(self, servers: Servers, *, node: str, lease: float, workers: int) -> dict[str, str]:
        self._workers = workers
        board = board_settings(servers)
        if self.expires:
            board["chaos_lease"] = lease
        slots = 1 if self.kind == "blocking" else SLOTS * workers
        settings = {
            "name": node, "kind": self.kind, "slots": slots, "board": board, "store": servers.store_url,
        }  # fmt: skip
        path = os.pathsep.join([str(ROOT), str(FLOWS.parent)])
        return {"PYTHONPATH": path, "CHAOS_STOCK": json.dumps(settings)}

    def ready(self, log: str) -> int:
        """It has no workers of its own: one word for all."""
        return self._workers * log.count("looks for jobs")

    def client(self, servers: Servers) -> Client:
        return StockClient(servers, self._posted)


class Blocking(Stock):
    """TaskFlow's blocking conductor: one job at a time."""

    name = "stock TaskFlow, blocking"
    kind = "blocking"


class Expiring(Stock):
    """The non-blocking conductor with claims that expire."""

    name = "stock TaskFlow, non-blocking, with claims that expire"
    expires = True


def board_settings(servers: Servers) -> dict[str, Any]:
    """Of TaskFlow's own Redis board."""
    parts = urlsplit(servers.board_url)
    return {
        "board": "redis",
        "host": parts.hostname,
        "port": parts.port,
        "db": int(parts.path[1:] or 0),
        "socket_timeout": ANSWER_S,
        "socket_connect_timeout": ANSWER_S,
    }


class StockClient:
    """Posts as TaskFlow's documentation does, and asks the board for a job's state and the storage for how it ended.

    :param posted: what was posted, by all users
    """

    def __init__(self, servers: Servers, posted: dict[str, Any]) -> None:
        self._servers = servers
        self._posted = posted
        self._storage: Any = None
        self._board: Any = None

    def post(self, type_: str, parameters: Mapping[str, Any], key: str | None) -> str:
        book = models.LogBook(type_, uuidutils.generate_uuid())
        flow = models.FlowDetail(type_, flow_id(book.uuid, 1))
        flow.meta = {"factory": {"name": factory_of(type_), "args": [], "kwargs": dict(parameters)}}
        book.add(flow)
        details = {"flow_uuid": flow.uuid, "store": {"job_id": book.uuid}}
        with self._opened() as (board, connection):
            connection.save_logbook(book)
            self._posted[book.uuid] = board.post(f"job-{book.uuid}", book=book, details=details)
        job_id: str = book.uuid
        return job_id

    def look(self, job_id: str) -> Seen:
        with self._opened() as (_, connection):
            state = self._posted[job_id].state
            if state != states.COMPLETE:
                return Seen(state=state, terminal=False)
            flow = connection.get_flow_details(flow_id(job_id, 1), lazy=True)
            return Seen(state=mirror.ENDS.get(flow.state, f"COMPLETE, its flow {flow.state}"), terminal=True)

    def wait(self, job_id: str, seconds: float) -> Seen | None:
        with self._opened():
            ended = self._posted[job_id].wait(timeout=seconds)
        return self.look(job_id) if ended else None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        try:
            if self._board is None:
                self._storage = persistences.fetch({"connection": self._servers.store_url})
                board = boards.fetch("chaos", board_settings(self._servers), persistence=self._storage)
                board.connect()
                self._board = board
            with contextlib.closing(self._storage.get_connection()) as connection:
                yield self._board, connection
        except TROUBLE as error:
            raise Unavailable(str(error)) from error

    def close(self) -> None:
        if self._board is not None:
            self._storage.close()


def factory_of(type_: str) -> str:
    """Where a conductor finds what makes a flow of that type."""
    module = "poison" if type_ == "chaos_poison" else "steady"
    return f"flows.chaos.{module}.{type_}"
