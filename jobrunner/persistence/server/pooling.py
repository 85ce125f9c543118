"""What happens to a server's connection between two uses: it stays warm, and costs no round trip.

SQLAlchemy's pool can ask the server for a sign of life before each use, and rolls back after each: two round trips
that every post would pay. Here a connection that was used a moment ago is taken as it is, unless its socket has
something to say: a server that ends a connection, be it by a shutdown, a kill or its own timeout, closes it, and that
is seen without asking. Only then, and after PING_AFTER_S without use (a firewall may have forgotten the connection,
and tells nobody), the server is asked. And a connection whose transaction was committed has nothing to roll back.

A machine that vanished, or a network that was cut within PING_AFTER_S, is found by the statement that comes next.
"""

from __future__ import annotations

import select
import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import PoolResetState

PING_AFTER_S = 30.0
_USED, _ENDED = "jobrunner_used", "jobrunner_ended"


def keep_warm(engine: Engine) -> None:
    """Let the engine's pool work like that; it must neither pre-ping nor reset on return by itself."""
    warmth = _Warmth(engine)
    event.listen(engine, "checkout", warmth.before_use)
    event.listen(engine, "reset", warmth.after_use)
    event.listen(engine, "checkin", warmth.note_use)


def mark_ended(connection: Connection) -> None:
    """Say that the connection's only transaction was committed: it is given back as it is.

    What was not said so is rolled back, unless SQLAlchemy did that itself.
    """
    connection.info[_ENDED] = True


class _Warmth:
    """What one engine's pool does before and after each use of a connection."""

    def __init__(self, engine: Engine) -> None:
        self._dialect = engine.dialect
        self._errors: Any = engine.dialect.loaded_dbapi.Error

    def before_use(self, connection: Any, record: Any, proxy: Any) -> None:
        record.info[_ENDED] = False
        used = record.info.get(_USED)
        if used is None or (time.monotonic() - used < PING_AFTER_S and not has_news(connection)):
            return
        try:
            self._dialect.do_ping(connection)
        except self._errors as error:
            raise InvalidatePoolError(f"the connection is gone: {error}") from error

    def after_use(self, connection: Any, record: Any, state: PoolResetState) -> None:
        ended = record is not None and record.info.get(_ENDED, False)
        if ended or state.transaction_was_reset or not state.asyncio_safe:
            return
        try:
            connection.rollback()
        except self._errors as error:  # it broke, and whoever used it knows
            if record is not None:
                record.invalidate(error)

    def note_use(self, connection: Any, record: Any) -> None:
        record.info[_USED] = time.monotonic()


def has_news(connection: Any) -> bool:
    """Whether an idle connection can be read from: most likely its end. True if the driver does not show its socket."""
    try:
        # PyMySQL has no name of its own for it; psycopg has fileno().
        socket = connection._sock if hasattr(connection, "_sock") else connection
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
    except Exception:  # noqa: BLE001 - closed, broken or another driver's: the server is asked
        return True
    return bool(poll.poll(0))
