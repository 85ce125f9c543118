"""What the processes of jobs use, as the kernel counts it; looked at from outside.

A job's figures are those of all processes below its guardian: its own and all that its tasks have started. What
processes share in memory counts for each of them. Jobs in threads have no figures of their own: the kernel counts for
processes. A look costs some microseconds for each process of the job's, however many others the machine has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobrunner.conductor.isolation.descent import RSS, TIMES, WAITED_TIMES, descendants, stat_of
from jobrunner.model import Job

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A job's processes at one moment: seconds of processor time so far, bytes in memory, how many they are."""

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
    worked: float = 0.0
    """Seconds by which samples grew. A process that nobody waits for takes its own along; then ``cpu`` stands still."""
    _at: float | None = field(default=None)
    _last: float = field(default=0.0)

    @classmethod
    def after(cls, used: Mapping[str, Any] | None) -> Usage:
        """That of a job whose former owners used so much."""
        if used is None:
            return cls()
        return cls(before=float(used.get("cpu", 0.0)), peak=int(used.get("peak", 0)))

    def note(self, sample: Sample, now: float) -> None:
        """Take a sample; processor time that an ended process did not pass on to its parent is not lost."""
        grown = max(0.0, sample.cpu - self._last)
        if self._at is not None and now > self._at:
            self.percent = 100 * grown / (now - self._at)
        self._at, self._last = now, sample.cpu
        self.worked += grown
        self.cpu = max(self.cpu, sample.cpu)
        self.memory, self.peak = sample.memory, max(self.peak, sample.memory)

    def end(self, *, cpu: float, peak: int) -> None:
        """Take what the kernel says when all is over: also of what began and ended between two samples."""
        self.cpu, self.peak, self.memory = max(self.cpu, cpu), max(self.peak, peak), 0

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


def look(guardian: int) -> Sample | None:
    """What is below a guardian; None if it is gone.

    A parent is looked at before its children: one that ends meanwhile is missed until the next look, rather than
    counted once by itself and once with its parent.
    """
    own = stat_of(guardian)
    if own is None:
        return None
    ticks, pages, number = _sum_of(own, WAITED_TIMES), 0, 0
    for pid in descendants(guardian):
        stat = stat_of(pid)
        if stat is not None:
            ticks += _sum_of(stat, TIMES)
            pages += int(stat[RSS])
            number += 1
    return Sample(cpu=ticks / _TICKS, memory=pages * _PAGE, processes=number)


def _sum_of(stat: list[bytes], part: slice) -> int:
    return sum(map(int, stat[part]))
