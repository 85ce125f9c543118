"""What the processes of jobs use, as the kernel counts it; looked at from outside.

A job's figures are those of its session: its own process and all that its tasks started and that is of the session
still. What processes share in memory counts for each of them. Jobs in threads have no figures of their own: the kernel
counts for processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from jobrunner.conductor.sessions import members
from jobrunner.model import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A session at one moment: seconds of processor time so far, bytes in memory, how many processes."""

    cpu: float
    memory: int
    processes: int


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a job has used in its attempt.

    :param before: seconds of processor time of former owners' processes
    """

    before: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    peak: int = 0
    percent: float = 0.0
    """Of one processor, between the last two samples."""
    _at: float | None = field(default=None)

    @classmethod
    def after(cls, used: Mapping[str, Any] | None) -> Usage:
        """That of a job whose former owners used so much."""
        if used is None:
            return cls()
        return cls(before=float(used.get("cpu", 0.0)), peak=int(used.get("peak", 0)))

    def note(self, sample: Sample, now: float) -> None:
        """Take a sample; processor time that an ended process did not pass on to its parent is not lost."""
        if self._at is not None and now > self._at:
            self.percent = 100 * max(0.0, sample.cpu - self.cpu) / (now - self._at)
        self._at = now
        self.cpu = max(self.cpu, sample.cpu)
        self.memory, self.peak = sample.memory, max(self.peak, sample.memory)

    def to_json(self, *, attempt: int, ended: bool) -> dict[str, Any]:
        """As it is kept with the job."""
        return {
            "attempt": attempt,
            "cpu": round(self.before + self.cpu, 2),
            "memory": 0 if ended else self.memory,
            "peak": self.peak,
        }


def used_before(job: Job) -> dict[str, Any] | None:
    """What former owners' processes used for a job's present attempt, as far as it is known."""
    used = job.usage
    return dict(used) if used is not None and used.get("attempt") == job.attempt else None


def look(leaders: Collection[int]) -> dict[int, Sample]:
    """The sessions that these processes lead, by their process ids; one pass over the machine's processes."""
    sessions = members(frozenset(leaders))
    return {leader: _sum(pids) for leader, pids in sessions.items() if pids}


def _sum(pids: Collection[int]) -> Sample:
    cpu, memory, number = 0.0, 0, 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            with process.oneshot():
                times, resident = process.cpu_times(), process.memory_info().rss
            cpu += times.user + times.system + times.children_user + times.children_system
            memory += resident
            number += 1
    return Sample(cpu=cpu, memory=memory, processes=number)
