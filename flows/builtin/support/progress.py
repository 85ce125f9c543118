"""Progress of a task, file by file, without flooding the store."""

from __future__ import annotations

import time
from collections.abc import Callable

from taskflow import task

INTERVAL_SECONDS = 0.1


class Progress:
    """Reports how far a task is: the first and the last word always, the others at most ten times a second."""

    def __init__(self, of: task.Task, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier = of.notifier
        self._clock = clock
        self._next_at = float("-inf")

    def report(self, fraction: float, message: str) -> None:
        """Say that ``fraction`` (0 to 1) is done, and what is being done."""
        now = self._clock()
        if now < self._next_at and fraction < 1.0:
            return
        self._next_at = now + INTERVAL_SECONDS
        details = {"progress": min(max(fraction, 0.0), 1.0), "message": message}
        self._notifier.notify(task.EVENT_UPDATE_PROGRESS, details)
