"""A job that is under way for as long as it is wanted: for killing its owners."""

from __future__ import annotations

import time
from pathlib import Path

from taskflow import task
from taskflow.patterns import linear_flow

from bench.stamps import stamp
from jobrunner import job

LOOK_S = 0.02


class Before(task.Task):
    """An atom that is done once, before the owner is killed."""

    def execute(self) -> None:
        """Nothing to do."""


class Hold(task.Task):
    """An atom that tells that it started, and goes on until a file is there."""

    def execute(self, job_id: str, stamps: str, until: str) -> None:
        stamp(stamps, job_id)
        while not Path(until).exists():
            time.sleep(LOOK_S)


@job
def bench_hold(stamps: str, until: str) -> linear_flow.Flow:
    """Run until a file is there.

    Args:
        stamps: the file or pipe that is told of each start
        until: the file
    """
    return linear_flow.Flow("bench_hold").add(Before("before"), Hold("hold"))
