"""A connection for one thread, kept from one transaction to the next.

A pool would ask the server for a sign of life before each transaction and roll back after it: two round trips that
somebody who writes all the time, and tries again anyway, does not need.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from jobrunner.persistence.pipelines.pipeline import NotHeld, Pipeline
from jobrunner.persistence.pipelines.transaction import transaction
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.faults import is_passing
from jobrunner.persistence.server.pooling import has_news

T = TypeVar("T")

IDLE_S = 60.0
"""A connection that was not used for so long is made anew before it is used: a firewall may have forgotten it."""


class Link:
    """One connection for one thread; made when it is needed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._connection: Connection | None = None
        self._used = 0.0
        self.packet_bytes: int | None = None
        """The largest statement that the server takes; None if it has no limit, and before the first transaction."""

    def pipelined(self, work: Callable[[Pipeline], T], *, patience: float = 10.0) -> T:
        """As ``Database.pipelined``, over this connection."""

        def attempt() -> T:
            with self.transaction() as pipeline:
                return work(pipeline)

        return self.database.patiently(attempt, patience=patience)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Pipeline]:
        """One write transaction; after any failure but a passing one the next goes over another connection."""
        if self._connection is not None and self._may_be_gone(self._connection):
            self.close()  # the pool asks the server, and makes another if there is no answer
        try:
            with transaction(self._connected()) as pipeline:
                yield pipeline
        except NotHeld:
            raise
        except BaseException as error:
            self._after(error)
            raise
        self._used = time.monotonic()
        if self.database.dialect == "sqlite":
            # There is nothing to save, and a database in memory has a single connection for everybody.
            self.close()

    def _may_be_gone(self, connection: Connection) -> bool:
        """Whether the server ended it, or what is in between may have; costs no round trip."""
        if time.monotonic() - self._used > IDLE_S:
            return True
        return self.database.dialect != "sqlite" and has_news(connection.connection.driver_connection)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self.database.engine.connect()
            if self.database.dialect == "mysql":
                packet = self._connection.execute(sa.text("SELECT @@max_allowed_packet")).scalar_one()
                self.packet_bytes = int(packet)
                self._connection.rollback()
        return self._connection

    def close(self) -> None:
        """Give the connection back. Closing twice is fine."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _after(self, error: BaseException) -> None:
        """A server that is being replaced may go on answering, but not write: the next connection may reach another."""
        connection = self._connection
        if connection is not None and isinstance(error, SQLAlchemyError) and not is_passing(error):
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate(error)
        with contextlib.suppress(SQLAlchemyError):
            self.close()
