"""A clock that only a test moves, in the place of each that board and store go by: the process's, SQL's and Redis's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import redis
import sqlalchemy as sa
from sqlalchemy import event

from jobrunner.boards import redis_connection
from jobrunner.persistence.server.database import Database

START_MS = 1_900_000_000_000
REDIS_KEY = "tests:clock"
_EPOCH_AS_JULIAN_DAY = 2_440_587.5
_DAY_MS = 86_400_000
_REDIS_CLOCK = re.compile(r"^local function now_ms\(\)\n.*?^end$", re.DOTALL | re.MULTILINE)
_OURS = f"local function now_ms()\n  return tonumber(redis.call('GET', '{REDIS_KEY}'))\nend"


class Clock:
    """Milliseconds since the epoch, until somebody moves it.

    :param server: a Redis that is to go by it, through :func:`clocked_scripts`
    """

    def __init__(self, server: redis.Redis | None = None) -> None:
        self._server = server
        self.now_ms = START_MS

    def set(self, now_ms: int) -> None:
        self.now_ms = now_ms
        if self._server is not None:
            self._server.set(REDIS_KEY, now_ms)

    def time_ns(self) -> int:
        """In the place of ``time.time_ns``."""
        return self.now_ms * 1_000_000


class ClockedDatabase(Database):
    """A SQLite file in which it is as late as this clock says, for whatever statement asks.

    It does not wait for the disk: no machine dies here.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url)
        self._clock = clock
        event.listen(self.engine, "connect", self._connected)
        with self.read() as connection:
            found = connection.execute(sa.select(self.now_ms())).scalar_one()
        assert found == clock.now_ms, "SQL tells the time in another way than this test knows"

    def _connected(self, connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connection.create_function("julianday", 1, self._julian_day)

    def _julian_day(self, _: str) -> float:
        """In the place of SQLite's own; in the middle of its millisecond, since a float is not quite exact."""
        return _EPOCH_AS_JULIAN_DAY + (self._clock.now_ms + 0.5) / _DAY_MS


def clocked_scripts() -> Callable[[str], str]:
    """In the place of ``redis_connection.script_text``: the board's scripts, but for where they have the time from."""
    original = redis_connection.script_text

    def script_text(name: str) -> str:
        text, replaced = _REDIS_CLOCK.subn(_OURS, original(name))
        assert replaced == 1, "the scripts tell the time in another way than this test knows"
        return text

    return script_text
