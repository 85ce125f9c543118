"""RQ on Redis: one worker, which forks a process for each job."""

from __future__ import annotations

import sys

from redis import Redis
from rq import Queue

from bench.peers.peer import Peer, redis_url
from bench.stamps import stamp


def work(stamps: str) -> None:
    stamp(stamps, "rq")


class RqPeer(Peer):
    name = "RQ"
    package = "rq"
    keeps = "Redis"
    jobs = 300

    def __init__(self) -> None:
        self._connection = Redis.from_url(redis_url())
        self._queue = Queue("bench", connection=self._connection)

    def worker(self) -> list[str]:
        return [sys.executable, "-m", "rq.cli", "worker", "--url", redis_url(), "--quiet", "bench"]

    def post(self, stamps: str) -> None:
        self._queue.enqueue(work, stamps)

    def close(self) -> None:
        self._connection.close()


PEER = RqPeer
