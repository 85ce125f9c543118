"""TaskFlow's own conductor as a program: ``python -m tests.support.stock_conductor_program JSON``, see :func:`main`.

Its flow is held at a gate, and leaves evidence: a line for each start and end of a task.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from taskflow import task
from taskflow.conductors import backends as conductors
from taskflow.jobs import backends as boards
from taskflow.patterns import linear_flow
from taskflow.persistence import backends as persistences

PATIENCE_S = 60.0


class Step(task.Task):
    """Ends when the gate, or this process's own (``gate.PID``), is open; without a gate at once."""

    def __init__(self, name: str, job: str, evidence: str, gate: str | None) -> None:
        super().__init__(name)
        self.job, self.evidence, self.gate = job, Path(evidence), gate

    def execute(self) -> str:
        self.tell("start")
        deadline = time.monotonic() + PATIENCE_S
        while self.gate and not (Path(self.gate).exists() or Path(f"{self.gate}.{os.getpid()}").exists()):
            if time.monotonic() > deadline:
                raise TimeoutError(self.gate)
            threading.Event().wait(0.01)
        self.tell("end")
        return self.name

    def tell(self, what: str) -> None:
        line = json.dumps({"job": self.job, "atom": self.name, "what": what, "pid": os.getpid()})
        with self.evidence.open("a") as file:
            file.write(f"{line}\n")


def steps(job: str, evidence: str, gate: str | None) -> Any:
    """Three steps, of which the second is held at the gate."""
    return linear_flow.Flow("steps").add(
        Step("step1", job, evidence, None),
        Step("step2", job, evidence, gate),
        Step("step3", job, evidence, None),
    )


def main(settings: dict[str, Any]) -> None:
    """Run a conductor until SIGTERM.

    ``name``, ``kind`` (``blocking`` or ``nonblocking``) and ``options`` are the conductor's; ``board`` and
    ``persistence`` the configurations of its backends.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    persistence = persistences.fetch(settings["persistence"])
    board = boards.fetch("board", settings["board"], persistence=persistence)
    conductor = conductors.fetch(
        settings["kind"],
        settings["name"],
        board,
        persistence=persistence,
        wait_timeout=0.05,
        **settings["options"],
    )
    signal.signal(signal.SIGTERM, lambda *_: conductor.stop())
    conductor.connect()
    logging.info("looks for jobs")
    conductor.run()
    conductor.close()
    persistence.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
