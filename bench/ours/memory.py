"""What a conductor's processes hold in memory while they work off jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from bench.conductor import Conductor
from bench.ours.drained import drain
from bench.place import Place

WARM_JOBS = 5_000
"""Jobs after which all that is made once has been made: growth is counted from here."""


@dataclass(kw_only=True)
class Memory:
    """Resident bytes, by how many jobs were done when they were looked at; shared libraries are in each."""

    supervisor: list[tuple[int, int]] = field(default_factory=list)
    worker: list[tuple[int, int]] = field(default_factory=list)

    @property
    def supervisor_mb(self) -> float:
        """The most that was seen."""
        return max(size for _, size in self.supervisor) / 1e6

    @property
    def worker_mb(self) -> float:
        return max(size for _, size in self.worker) / 1e6

    @property
    def growth_mb(self) -> float:
        """The larger growth of the two, from WARM_JOBS on."""
        return max(_growth(self.supervisor), _growth(self.worker)) / 1e6


def memory(place: Place, *, number: int) -> Memory:
    """Drain jobs with one worker process, and look at its memory and its supervisor's meanwhile."""
    found = Memory()
    drain(place, number=number, on_look=_look(found, number))
    return found


def _look(found: Memory, number: int) -> Callable[[Conductor, int], None]:
    def look(conductor: Conductor, left: int) -> None:
        done = number - left
        workers: list[psutil.Process] = conductor.workers()
        if done and workers:
            found.supervisor.append((done, conductor.supervisor.memory_info().rss))
            found.worker.append((done, max(worker.memory_info().rss for worker in workers)))

    return look


def _growth(sizes: list[tuple[int, int]]) -> float:
    warm = next(size for done, size in sizes if done >= WARM_JOBS)
    return sizes[-1][1] - warm
