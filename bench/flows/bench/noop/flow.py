"""Jobs that do nothing: what is left to measure is jobrunner."""

from __future__ import annotations

from taskflow import task
from taskflow.patterns import linear_flow

from bench.stamps import stamp
from jobrunner import job


class Nothing(task.Task):
    """An atom that does nothing."""

    def execute(self) -> None:
        """Do it."""


class Stamped(task.Task):
    """An atom that tells when it started."""

    def execute(self, job_id: str, stamps: str) -> None:
        stamp(stamps, job_id)


@job
def bench_noop(atoms: int = 1) -> linear_flow.Flow:
    """Do nothing.

    Args:
        atoms: in so many atoms, one after the other
    """
    return linear_flow.Flow("bench_noop").add(*(Nothing(f"nothing-{number}") for number in range(atoms)))


@job
def bench_stamped(stamps: str) -> linear_flow.Flow:
    """Tell when the first atom started.

    Args:
        stamps: the file or pipe that is told
    """
    return linear_flow.Flow("bench_stamped").add(Stamped("stamped"))
