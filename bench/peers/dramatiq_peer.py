"""Dramatiq on Redis: one process with its default of eight threads."""

from __future__ import annotations

import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.peer import Peer, redis_url
from bench.stamps import stamp

dramatiq.set_broker(RedisBroker(url=redis_url()))


@dramatiq.actor
def work(stamps: str) -> None:
    stamp(stamps, "dramatiq")


class DramatiqPeer(Peer):
    name = "Dramatiq"
    package = "dramatiq"
    keeps = "Redis"
    jobs = 5000

    def worker(self) -> list[str]:
        return [sys.executable, "-m", "dramatiq", "bench.peers.dramatiq_peer", "--processes", "1"]

    def post(self, stamps: str) -> None:
        work.send(stamps)


PEER = DramatiqPeer
