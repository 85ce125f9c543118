"""Procrastinate on PostgreSQL: one worker process that runs eight jobs at once, as jobrunner's does."""

from __future__ import annotations

import sys

import procrastinate

from bench.peers.peer import Peer, postgres_url
from bench.stamps import stamp

CONCURRENCY = 8

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=postgres_url()))


@app.task(name="work")
def work(stamps: str) -> None:
    stamp(stamps, "procrastinate")


class ProcrastinatePeer(Peer):
    name = "Procrastinate"
    package = "procrastinate"
    keeps = "PostgreSQL"
    jobs = 2000

    def __init__(self) -> None:
        app.open()

    def prepare(self) -> None:
        app.schema_manager.apply_schema()

    def worker(self) -> list[str]:
        module = "bench.peers.procrastinate_peer.app"
        command = [sys.executable, "-m", "procrastinate", "--app", module]
        return [*command, "worker", "--concurrency", str(CONCURRENCY)]

    def post(self, stamps: str) -> None:
        work.defer(stamps=stamps)

    def close(self) -> None:
        app.close()


PEER = ProcrastinatePeer
