"""What a worker knows of its leases, and what follows when they are not kept."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from jobrunner.conductor.clock import boottime
from jobrunner.model import Job
from jobrunner.stopping import StopReason, StopSignal

MARGIN = 0.1
"""The part of a lease that is left when a worker gives up waiting for it to be kept."""


@dataclass(slots=True, eq=False)
class Held:
    """A job that runs here."""

    job: Job
    until: float
    """When the lease ends at the earliest, by boottime."""
    stop: StopSignal = field(default_factory=StopSignal)
    started: float = field(default_factory=boottime)
    over: bool = False
    """Whether its run here has come to its end, of which the board is about to hear: then it may be claimed again."""

    def time_is_up(self, now: float) -> bool:
        """Whether the job's attempt began longer ago than its timeout, on whatever conductor."""
        return self.job.timeout is not None and now - self.started + self.before > self.job.timeout

    @property
    def before(self) -> float:
        """Seconds for which the job's attempt was under way before it came here."""
        return max(0.0, (self.job.updated_ms - (self.job.started_ms or self.job.updated_ms)) / 1000)


class HeldJobs:
    """The jobs of one worker, with their leases and stop signals. Safe for several threads.

    :param lease: seconds for which a lease lasts
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._claimed: dict[str, float] = {}
        self._held: dict[str, Held] = {}
        self._apart: dict[str, Job] = {}
        self._condition = threading.Condition()
        self._awaited = 0
        self._hurried = False
        self.ended = 0
        """How many jobs have ended here."""

    def __len__(self) -> int:
        """How many slots are taken: also by jobs that were claimed here and run in processes of their own."""
        return len(self._held) + len(self._apart)

    def ids(self) -> list[str]:
        with self._condition:
            return list(self._held)

    def claimed(self, job_ids: Iterable[str], until: float) -> None:
        """These jobs were claimed, for a lease that lasts until then; they are about to be begun."""
        with self._condition:
            self._claimed.update(dict.fromkeys(job_ids, until))

    def not_begun(self, job_ids: Iterable[str]) -> None:
        """These jobs were claimed, but are not to be run here."""
        with self._condition:
            for job_id in job_ids:
                self._claimed.pop(job_id, None)

    def add(self, job: Job) -> Held:
        """Hold a claimed job that was begun."""
        with self._condition:
            held = Held(job=job, until=self._claimed.pop(job.id), started=boottime())
            held.stop.overdue = lambda: self._is_overdue(held, boottime())
            if held.time_is_up(held.started):
                held.stop.set("timeout")
            self._held[job.id] = held
        return held

    def remove(self, held: Held, *, hurry: bool = False) -> None:
        """A job is over; with ``hurry``, a wait for slots ends, since there is something to do that cannot wait."""
        with self._condition:
            if self._held.get(held.job.id) is held:
                del self._held[held.job.id]
            self.ended += 1
            self._hurried = self._hurried or hurry
            self._notify()

    def hurry(self) -> None:
        """End a wait for slots: there is something else to do, or another number of them."""
        with self._condition:
            self._hurried = True
            self._notify()

    def goes_apart(self, job: Job) -> None:
        """A claimed job is left to a process of its own, and takes a slot here until that is over."""
        with self._condition:
            self._claimed.pop(job.id, None)
            self._apart[job.id] = job

    def is_apart(self, job_id: str) -> bool:
        return job_id in self._apart

    def back(self, job_id: str) -> Job | None:
        """That is over; the job as it was then."""
        with self._condition:
            job = self._apart.pop(job_id, None)
            self._notify()
            return job

    def asked(self) -> tuple[list[str], list[str]]:
        """The jobs that were asked to stop, and those of them that came to an atom border since."""
        with self._condition:
            asked = [held for held in self._held.values() if held.stop.is_set()]
            return [held.job.id for held in asked], [held.job.id for held in asked if held.stop.heeded]

    def _notify(self) -> None:
        if len(self) < self._awaited or self._hurried:
            self._condition.notify_all()

    def wait_below(self, limit: int, timeout: float) -> bool:
        """Wait until fewer than ``limit`` slots are taken; whether they are. For one thread.

        It is woken only when that is so, or somebody is in a hurry.
        """
        with self._condition:
            self._awaited = limit
            self._condition.wait_for(lambda: len(self) < limit or self._hurried, timeout)
            self._hurried = False
            return len(self) < limit

    def kept(self, job_ids: Iterable[str], until: float) -> None:
        """The leases of these jobs last until then."""
        with self._condition:
            for job_id in job_ids:
                if job_id in self._held:
                    self._held[job_id].until = max(until, self._held[job_id].until)
                elif job_id in self._claimed:
                    self._claimed[job_id] = max(until, self._claimed[job_id])

    def stop(self, job_ids: Iterable[str], reason: StopReason) -> None:
        """Ask these jobs to stop."""
        with self._condition:
            for job_id in job_ids:
                if job_id in self._held:
                    self._held[job_id].stop.set(reason)

    def get(self, job_id: str) -> Held | None:
        with self._condition:
            return self._held.get(job_id)

    def stop_overdue(self) -> list[str]:
        """Stop the jobs whose leases are about to end, and those whose time is up; the ids of the former."""
        now = boottime()
        lost = []
        with self._condition:
            for job_id, held in self._held.items():
                if self._is_overdue(held, now) and held.stop.reason != "lost":
                    held.stop.set("lost")
                    lost.append(job_id)
                elif not held.stop.is_set() and held.time_is_up(now):
                    held.stop.set("timeout")
        return lost

    def _is_overdue(self, held: Held, now: float) -> bool:
        return now > held.until - MARGIN * self._lease
