"""A claimed job that was begun runs in a thread of a pool, and ends: the worker's side of run.py.

Costs nothing beyond what run.py says: how a job ended is told to the board later, together with others (ended.py), and
what follows for those that waited for it is done by another thread (aftermath.py, passing_on.py).
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

from jobrunner.conductor.channel import Channel
from jobrunner.conductor.isolation.usage import used_before
from jobrunner.conductor.run import Outcome, RunParts, run_job_then
from jobrunner.conductor.worker.aftermath import Aftermath
from jobrunner.conductor.worker.ended import EndedJobs
from jobrunner.conductor.worker.leases import Held, HeldJobs
from jobrunner.conductor.worker.passing_on import PassingOn
from jobrunner.model import Job, JobState, Parked


class Running:
    """Runs the jobs of one worker.

    :param pool: each job has one of its threads
    :param stopping: set once the worker is to end
    :param alone: whether it runs one job, over which the supervisor watches
    :param wake: called when a job has ended
    """

    def __init__(
        self,
        parts: RunParts,
        pool: Executor,
        *,
        channel: Channel,
        held: HeldJobs,
        ended: EndedJobs,
        aftermath: Aftermath,
        passing: PassingOn,
        stopping: threading.Event,
        alone: bool,
        wake: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._pool = pool
        self._channel = channel
        self._held = held
        self._ended = ended
        self._aftermath = aftermath
        self._passing = passing
        self._stopping = stopping
        self._alone = alone
        self._wake = wake

    def run(self, job: Job, *, fresh: bool) -> None:
        """Run a job that was begun, in a thread; with ``fresh``, nobody began it before."""
        held = self._held.add(job)
        if self._alone:
            held.stop.forceful = job.policies.run is not None and job.policies.run.own_process
            self._say_begun(held)
        if self._stopping.is_set():
            held.stop.set("suspend")
        self._pool.submit(self._run_held, held, fresh)

    def _say_begun(self, held: Held) -> None:
        """Tell the supervisor, which watches over a job that is alone."""
        job = held.job
        undoes = job.cancel is not None or held.stop.is_set()
        self._channel.send(
            "begun",
            id=job.id,
            guardian=os.getppid(),
            epoch=job.epoch,
            attempt=job.attempt,
            age=held.before,
            undoes=undoes,
            used=used_before(job),
        )

    def _run_held(self, held: Held, fresh: bool) -> None:
        run_job_then(
            self._parts, held.job, held.stop, fresh=fresh, tell=lambda outcome: self._end(held, outcome)
        )

    def _end(self, held: Held, outcome: Outcome) -> None:
        job, then = held.job, None
        if outcome.waits:
            # What its signal would put on the board until then is taken off it there: look after that once more.
            then = functools.partial(self.look_again, job, None)
        if outcome.finished:
            self._ended.finished([job.id], then=then)
        else:
            self._ended.job_goes_back(job, delay=outcome.delay, prefers=outcome.prefers, then=then)
        held.over = True
        self._held.remove(held, hurry=self.note_left(job))
        self._wake()

    def look_again(self, job: Job, parked: Parked | None) -> None:
        """The board has heard that a job waits: look whether what it waits for came before that."""
        self._aftermath.note(replace(job, state=JobState.SUSPENDED, parked=parked))

    def note_left(self, job: Job) -> bool:
        """A job was left: note what follows from that; whether others may wait for what it held."""
        self._aftermath.note(job)
        return self._passing.note(job)
