"""How free a node is, and how willingly it takes the next job.

Nobody places jobs. When one comes to a line in which nobody waits, all idle workers hear of it; a node that is less
free than the freest other one lets that go first, for some milliseconds, and then claims what is still there. So a node
that is alone, or as free as any, never waits; nor does anybody while jobs queue up.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

import psutil

NOISE = 0.05
"""Nodes that differ by less than this part are equally free."""
MEMORY_PLENTY = 0.5
"""While so much of the memory is free it does not matter how much; file caches are no use of it."""
LEAST = 0.05
"""So free a node without free memory still counts: of two of them, the one with more free places is freer."""
SATURATED = 0.25
"""As LEAST, for processors. Rather much, for how busy they are differs from one look to the next without meaning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What is taken of a node, each from 0, nothing, to 1, all."""

    slots: float
    """Of the places for jobs."""
    own: float
    """Of the machine's processors, by this conductor's jobs: tells nodes apart that share a machine."""
    processor: float
    """Of the machine's processors, by whatever."""
    memory: float
    """Of the machine's memory, by whatever."""

    @property
    def free(self) -> float:
        """From 0 to 1; the less of anything is left, the less free it is. Without a free place nothing is."""
        memory = min(1.0, _left(self.memory, LEAST) / MEMORY_PLENTY)
        return _left(self.slots) * _left(self.own, SATURATED) * _left(self.processor, SATURATED) * memory


def reluctance(free: float, freest_other: float | None) -> float:
    """Which part of the longest pause a node makes before it claims: 0 if none other is freer, at most 1.

    The root, since already a small difference has to outlast what a wake-up differs from another: some milliseconds.
    """
    if freest_other is None or freest_other <= 0.0:
        return 0.0
    lack = 1.0 - free / freest_other
    return 0.0 if lack <= NOISE else math.sqrt(min(1.0, lack))


class Gauge:
    """Measures what is taken, between one look and the next."""

    def __init__(self) -> None:
        self._cpus = os.cpu_count() or 1
        self._at = time.monotonic()
        self._used_s = 0.0
        psutil.cpu_percent(None)  # the first answer means nothing

    def look(self, *, running: int, slots: int, used_s: float) -> Taken:
        """What is taken now.

        :param used_s: seconds of processors that the conductor's workers have used so far
        """
        now = time.monotonic()
        passed, used = now - self._at, used_s - self._used_s
        self._at, self._used_s = now, used_s
        return Taken(
            slots=_part(running, slots),
            own=_part(used, passed * self._cpus),
            processor=_part(psutil.cpu_percent(None), 100.0),
            memory=_part(psutil.virtual_memory().percent, 100.0),
        )


def _part(taken: float, total: float) -> float:
    return round(min(1.0, max(0.0, taken / total)), 3) if total > 0 else 0.0


def _left(taken: float, least: float = 0.0) -> float:
    return 1.0 - min(1.0, max(0.0, taken)) * (1.0 - least)
