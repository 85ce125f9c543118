"""``python -m tests.chaos.stock.program``: one of TaskFlow's own conductors, until SIGTERM.

Nothing of TaskFlow is changed. What tasks leave as evidence names the conductor's process and its run of the job, which
is found further up the task's stack.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import uuid
from types import FrameType
from typing import Any

from flows.chaos import leaving
from taskflow import exceptions
from taskflow.conductors import backends as conductors
from taskflow.jobs import backends as boards
from taskflow.jobs.backends.impl_redis import RedisJobBoard
from taskflow.persistence import backends as persistences

from jobrunner.errors import EXIT_UNAVAILABLE

NOT_YET = (exceptions.JobFailure, exceptions.StorageFailure)


class ExpiringBoard(RedisJobBoard):  # type: ignore[misc]
    """TaskFlow's board, whose claims expire: the conductors do not ask for that, and have no setting for it.

    A conductor that polls claims again what it has, by which a claim lasts on.
    """

    def claim(self, job: Any, who: str, expiry: float | None = None) -> None:
        super().claim(job, who, expiry=self._conf["chaos_lease"] if expiry is None else expiry)


def main(settings: dict[str, Any]) -> int:
    """Run a conductor; ``name``, ``kind`` and ``slots`` are its own, ``board`` and ``store`` its backends' settings."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    leaving.whose = lambda: whose(settings["name"])
    try:
        persistence = persistences.fetch({"connection": settings["store"]})
        make = ExpiringBoard if "chaos_lease" in settings["board"] else boards.fetch
        board = make("chaos", settings["board"], persistence=persistence)
        board.connect()
    except NOT_YET as error:
        print(f"not yet: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    conductor = conductors.fetch(
        settings["kind"],
        f"{settings['name']}:{os.getpid()}",
        board,
        persistence=persistence,
        engine="serial",
        wait_timeout=0.1,
        max_simultaneous_jobs=settings["slots"],
    )
    signal.signal(signal.SIGTERM, lambda *_: conductor.stop())
    print("looks for jobs", file=sys.stderr, flush=True)
    conductor.run()
    conductor.close()
    persistence.close()
    return 0


def whose(name: str) -> dict[str, Any]:
    """Whose run of its job the present task belongs to."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "_dispatch_job":
        frame = frame.f_back
    run = "unknown" if frame is None else _run_of(frame.f_locals["engine"])
    return {"attempt": 1, "epoch": None, "owner": f"{name}:{os.getpid()}:{run}"}


def _run_of(engine: Any) -> str:
    """An engine runs a job once."""
    run: str = vars(engine).setdefault("chaos_run", uuid.uuid4().hex[:8])
    return run


if __name__ == "__main__":
    sys.exit(main(json.loads(os.environ["CHAOS_STOCK"])))
