"""What a conductor costs that has nothing to do."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.conductor import Conductor
from bench.place import Place

SETTLE_S = 3.0
"""What follows the start and the first job is not idleness yet."""


@dataclass(frozen=True, kw_only=True)
class IdleCpu:
    """Percent of a core that each process used: the supervisor's first."""

    percent: list[float]

    @property
    def busiest(self) -> float:
        return max(self.percent)


def idle_cpu(place: Place, *, seconds: float, processes: int | None = None) -> IdleCpu:
    """Let a conductor stand idle for so long."""
    with Conductor(place, processes=processes) as conductor:
        conductor.wait_ready()
        time.sleep(SETTLE_S)
        everybody = [conductor.supervisor, *conductor.workers()]
        before = [_cpu_s(process) for process in everybody]
        start = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - start
        used = [_cpu_s(process) - old for process, old in zip(everybody, before, strict=True)]
        return IdleCpu(percent=[100 * cpu / took for cpu in used])


def _cpu_s(process: object) -> float:
    times = process.cpu_times()  # type: ignore[attr-defined]  # psutil comes without types
    return float(times.user + times.system)
