"""The writer's own connection, kept from one transaction to the next.

A pool would ask the server for a sign of life before each transaction and roll back after it: two round trips that a
writer which tries again anyway does not need.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from jobrunner.persistence.database import Database
from jobrunner.persistence.faults import is_passing

IDLE_S = 60.0
"""A connection that was not used for so long is tried out before it is used: a firewall may have forgotten it."""


class Link:
    """One connection for one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._used = 0.0
        self.packet_bytes: int | None = None
        """The largest statement that the server takes; None if it has no limit, and before the first transaction."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction; after any failure but a passing one the next goes over another connection."""
        if self._connection is not None and time.monotonic() - self._used > IDLE_S:
            self.close()
        try:
            connection = self._connected()
            with connection.begin():
                yield connection
        except BaseException as error:
            self._after(error)
            raise
        self._used = time.monotonic()
        if (
            self._database.dialect == "sqlite"
        ):  # nothing to save there, and one in memory has a single connection
            self.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.engine.connect()
            if self._database.dialect == "mysql":
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
