"""A job that takes some time, and says when it began and ended: for seeing how many run at once."""

from __future__ import annotations

import time

from taskflow import task
from taskflow.patterns import linear_flow

from bench.stamps import stamp
from jobrunner import job


class Busy(task.Task):
    """An atom that takes some time."""

    def execute(self, job_id: str, stamps: str, seconds: float) -> None:
        stamp(stamps, "start")
        time.sleep(seconds)
        stamp(stamps, "end")


@job
def bench_busy(stamps: str, seconds: float = 0.02) -> linear_flow.Flow:
    """Take some time.

    Args:
        stamps: the file that is told of each start and end
        seconds: for so long
    """
    return linear_flow.Flow("bench_busy").add(Busy("busy"))
