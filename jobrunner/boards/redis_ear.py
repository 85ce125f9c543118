"""How the redis board hears of work: a subscription, and the next due time by Redis's own clock.

Posting and handing back publish the job's class, so nothing is polled between a post and its start. A call of
``listen`` costs one round trip, and one more whenever something is due; while it blocks, a ping each 15 s tells a
server that is away from one that is idle.
"""

from __future__ import annotations

import math
import time
from typing import Any, cast

from redis.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from jobrunner.boards.redis_connection import ANSWER_TIMEOUT_S, RedisConnection
from jobrunner.boards.waiting import Ear, readable, take_news

PING_AFTER_S = 15.0
QUIET_S = 0.003
"""Before it asks when something is due an ear listens for so long: who listens has often just started a job, which then
has the interpreter for itself, and is often called away before that."""


class RedisEar(Ear):
    """One subscription to the board's channel, kept over calls."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._pubsub: PubSub | None = None
        self._due_at = 0.0  # by time.monotonic(), as the two below
        self._heard_at = 0.0
        self._pinged_at: float | None = None

    def listen(self, timeout: float, bell: int) -> set[str]:
        deadline = time.monotonic() + timeout
        try:
            with self._connection.errors():
                if self._pubsub is None:
                    heard = self._subscribe()
                    self._ask_due()
                else:
                    heard = set()
                    self._due_at = time.monotonic() + QUIET_S
                return heard or self._listen(deadline, bell)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            pubsub.close()

    def forget(self) -> None:
        self.close()  # the client closes only what this process opened, and shuts down nothing else

    def _listen(self, deadline: float, bell: int) -> set[str]:
        while True:
            heard = self._drain()
            now = time.monotonic()
            if heard or now >= deadline:
                return heard
            if now >= self._due_at:
                self._ask_due()
                continue
            if bell in readable(min(deadline, self._due_at, self._ping_time()) - now, bell, self._socket()):
                return self._drain()
            self._ping_if_quiet()

    def _subscribe(self) -> set[str]:
        """Subscribe, then look: whatever is not seen by the look is heard of later."""
        self._pubsub = cast("PubSub", self._connection.client.pubsub())  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(self._connection.channel)
        if self._pubsub.get_message(timeout=ANSWER_TIMEOUT_S) is None:
            raise RedisConnectionError("no answer to SUBSCRIBE")
        self._heard_at, self._pinged_at = time.monotonic(), None
        answer = self._connection.run("classes")
        return {key for key, waiting in zip(answer[::2], answer[1::2], strict=True) if waiting}

    def _ask_due(self) -> None:
        """Let the server put into line what is due, which it tells us as it tells all, and ask when the next is due."""
        milliseconds = self._connection.run("due")
        self._due_at = math.inf if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _drain(self) -> set[str]:
        assert self._pubsub is not None
        heard: set[str] = set()
        while (message := self._pubsub.get_message(timeout=0)) is not None:
            self._heard_at, self._pinged_at = time.monotonic(), None
            if message["type"] == "message":
                self._due_at = take_news(str(message["data"]), heard, self._due_at)
        return heard

    def _ping_time(self) -> float:
        if self._pinged_at is not None:
            return self._pinged_at + ANSWER_TIMEOUT_S
        return self._heard_at + PING_AFTER_S

    def _ping_if_quiet(self) -> None:
        """Ping, or give the subscription up if the last ping was not answered; what has come in meanwhile counts."""
        assert self._pubsub is not None
        if time.monotonic() < self._ping_time() or readable(0, self._socket()):
            return
        if self._pinged_at is not None:
            raise RedisConnectionError("the subscription does not answer")
        self._pubsub.ping()
        self._pinged_at = time.monotonic()

    def _socket(self) -> int:
        connection: Any = self._pubsub and self._pubsub.connection
        socket = getattr(connection, "_sock", None)
        if socket is None:
            raise RedisConnectionError("the subscription was lost")
        return int(socket.fileno())
