"""A worker's pulse: says that it lives, and what it runs; looks whether its leases were kept, and which core suits it.

A message at each change, else about one a second: it costs a worker that has nothing to do next to nothing.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from jobrunner.conductor.channel import Channel
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.turns.own_core import OwnCore
from jobrunner.conductor.worker.leases import HeldJobs

log = logging.getLogger(__name__)

PULSE_S = 0.25
QUIET_PULSE_S = 0.9
"""With no news a pulse is given less often; the supervisor takes a worker to hang after 2 s at the earliest."""


class Pulse:
    """Says what becomes of the jobs that a worker holds."""

    def __init__(self, channel: Channel, held: HeldJobs, core: OwnCore) -> None:
        self._channel = channel
        self._held = held
        self._core = core

    def start(self) -> None:
        """Start its thread, which lives as long as the process."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def _run(self) -> None:
        ticks = threading.Event()
        told: tuple[Any, ...] | None = None
        told_at = 0.0
        while not ticks.wait(PULSE_S):
            self._stop_overdue()
            self._core.look()
            news = (self._held.ids(), self._held.ended, *self._held.asked())
            if news != told or boottime() - told_at >= QUIET_PULSE_S:
                self._say(*news)
                told, told_at = news, boottime()

    def _stop_overdue(self) -> None:
        lost = self._held.stop_overdue()
        if lost:
            log.error(
                "the leases of these jobs were not kept in time, so they stop here: %s", ", ".join(lost)
            )

    def _say(self, running: list[str], ended: int, asked: list[str], heeded: list[str]) -> None:
        self._channel.send(
            "pulse", running=running, ended=ended, asked=asked, heeded=heeded, used_s=_used_s()
        )


def _used_s() -> float:
    """Seconds of processors that this process has used, and those of its children that have ended."""
    times = os.times()
    return round(times.user + times.system + times.children_user + times.children_system, 2)
