"""Celery on Redis, without a result backend: its default pool with one process."""

from __future__ import annotations

import sys

from celery import Celery

from bench.peers.peer import Peer, redis_url
from bench.stamps import stamp

app = Celery("bench", broker=redis_url())


@app.task(name="work")
def work(stamps: str) -> None:
    stamp(stamps, "celery")


class CeleryPeer(Peer):
    name = "Celery"
    package = "celery"
    keeps = "Redis; lost with a killed worker"
    jobs = 4000

    def worker(self) -> list[str]:
        module = "bench.peers.celery_peer"
        return [sys.executable, "-m", "celery", "-A", module, "worker", "--concurrency", "1", "-l", "ERROR"]

    def post(self, stamps: str) -> None:
        work.delay(stamps)


PEER = CeleryPeer
