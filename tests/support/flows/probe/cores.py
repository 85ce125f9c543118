"""Job types that tell on which cores their code may run, and one that keeps a core in use."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from taskflow.patterns import linear_flow
from taskflow.task import Task

from jobrunner import job, stopping

PROGRAM = "import os; print(*os.sched_getaffinity(0))"


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


class Where(Task):  # type: ignore[misc]
    """Tells the cores of its thread, of a thread that it starts, and of a process."""

    default_provides = "where"

    def __init__(self, name: str, made_on: list[int]) -> None:
        super().__init__(name)
        self._made_on = made_on

    def execute(self) -> dict[str, list[int]]:
        with ThreadPoolExecutor(1) as pool:
            thread = pool.submit(cores).result()
        process = subprocess.check_output([sys.executable, "-Sc", PROGRAM], text=True)
        return {
            "factory": self._made_on,
            "task": cores(),
            "thread": thread,
            "process": sorted(map(int, process.split())),
        }


@job
def where() -> Any:
    """On which cores its code may run."""
    return linear_flow.Flow("where").add(Where("ask", cores()))


@job(engine="parallel", max_workers=2)
def where_in_a_pool() -> Any:
    """The same in the threads of a parallel engine."""
    return linear_flow.Flow("where_in_a_pool").add(Where("ask", cores()))


@job(isolation="process")
def where_alone() -> Any:
    """The same in a process of its own."""
    return linear_flow.Flow("where_alone").add(Where("ask", cores()))


class Spin(Task):  # type: ignore[misc]
    def execute(self, gate: str) -> None:
        while not Path(gate).exists() and not stopping.wait_for_stop(0.002):
            sum(range(100_000))


@job
def spin(gate: str) -> Any:
    """Uses about a core until the gate is there."""
    return linear_flow.Flow("spin").add(Spin("spin"))
