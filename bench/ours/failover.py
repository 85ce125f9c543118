"""How long a job stands still when who runs it is killed.

Measured from the kill to the moment at which the interrupted atom starts again in another process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.conductor import Conductor
from bench.place import Place
from bench.stamps import Stamp, StampPipe
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.post import post
from jobrunner.model import JobState, Posting

START_S = 30.0


def after_worker(place: Place, *, times: int) -> list[float]:
    """Kill the worker process that runs a job; seconds, for each of ``times`` jobs."""
    seconds = []
    with Conductor(place, processes=2) as conductor:
        for _ in range(times):
            conductor.wait_ready()
            with _held_job(place) as job:
                killed = time.monotonic_ns()
                os.kill(job.running.pid, signal.SIGKILL)
                seconds.append(job.goes_on(killed, START_S))
    return seconds


def after_conductor(place: Place, *, times: int, lease: float) -> list[float]:
    """Kill supervisor and workers while another conductor is there; seconds, for each of ``times`` jobs."""
    seconds = []
    for _ in range(times):
        with Conductor(place, processes=1, lease=lease) as doomed:
            doomed.wait_ready()
            with _held_job(place) as job, Conductor(place, processes=1, lease=lease) as other:
                other.wait_ready()
                if psutil.Process(job.running.pid) not in doomed.workers():
                    raise RuntimeError("the job does not run where it was meant to")
                killed = time.monotonic_ns()
                doomed.kill()
                seconds.append(job.goes_on(killed, lease + START_S))
    return seconds


@dataclass
class _HeldJob:
    """A job under way, and the pipe that tells where."""

    context: JobContext
    id: str
    pipe: StampPipe
    release: Path
    running: Stamp = field(init=False)

    def started(self) -> None:
        self.running = self.pipe.next(START_S)

    def goes_on(self, killed_ns: int, timeout: float) -> float:
        """Seconds from the kill until it runs in another process; then lets it end, and requires that it succeeded."""
        again = self.pipe.next(timeout)
        if again.pid == self.running.pid:
            raise RuntimeError("the job was started again by the process that was to be killed")
        self.release.touch()
        (job,) = look.wait(self.context, [self.id], timeout=START_S)
        if job.state is not JobState.SUCCEEDED:
            raise RuntimeError(f"the job ended as {job.state}: {job.error}")
        return (again.at_ns - killed_ns) / 1e9


@contextlib.contextmanager
def _held_job(place: Place) -> Iterator[_HeldJob]:
    release = place.directory / f"release-{time.monotonic_ns()}"
    with place.context() as context, StampPipe(place.directory) as pipe:
        parameters = {"stamps": str(pipe.path), "until": str(release)}
        posted = post(context, Posting(type="bench_hold", parameters=parameters))
        job = _HeldJob(context, posted.job_id, pipe, release)
        try:
            job.started()
            yield job
        finally:
            release.touch()
