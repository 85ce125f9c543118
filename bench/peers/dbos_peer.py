"""DBOS on PostgreSQL: workflows from a queue, run by one process; everything at its defaults.

As a program, this module is that process.
"""

from __future__ import annotations

import signal
import sys

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from bench.peers.peer import Peer, postgres_url
from bench.stamps import stamp

QUEUE = "bench"
VERSION = "bench"


@DBOS.workflow(name="work")
def work(stamps: str) -> None:
    stamp(stamps, "dbos")


@DBOS.step(name="step")
def step(stamps: str) -> None:
    stamp(stamps, "dbos")


@DBOS.workflow(name="work_in_steps")
def work_in_steps(stamps: str, steps: int) -> None:
    for _ in range(steps):
        step(stamps)


class DbosPeer(Peer):
    name = "DBOS"
    package = "dbos"
    keeps = "PostgreSQL"
    jobs = 3000

    def __init__(self) -> None:
        self._client: DBOSClient | None = None

    def prepare(self) -> None:
        DBOS(config=_config())
        DBOS.launch()
        DBOS.destroy()

    def worker(self) -> list[str]:
        return [sys.executable, "-m", "bench.peers.dbos_peer"]

    def post(self, stamps: str) -> None:
        self._enqueue("work", stamps)

    def post_steps(self, stamps: str, steps: int) -> bool:
        self._enqueue("work_in_steps", stamps, steps)
        return True

    def close(self) -> None:
        if self._client is not None:
            self._client.destroy()

    def _enqueue(self, workflow: str, *args: object) -> None:
        if self._client is None:
            self._client = DBOSClient(system_database_url=postgres_url())
        options: EnqueueOptions = {"workflow_name": workflow, "queue_name": QUEUE, "app_version": VERSION}
        self._client.enqueue(options, *args)


def _config() -> DBOSConfig:
    return {
        "name": "bench",
        "system_database_url": postgres_url(),
        "application_version": VERSION,
        "log_level": "ERROR",
    }


def main() -> None:
    DBOS(config=_config())
    DBOS.launch()
    DBOS.register_queue(QUEUE)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    DBOS.destroy()


PEER = DbosPeer

if __name__ == "__main__":
    main()
