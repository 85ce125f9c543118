"""When a worker that died is started again: at once after a first death, later after pauses that double."""

from __future__ import annotations

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0
STEADY_S = 30.0
"""A worker that lived so long has nothing to do with the deaths before it."""


class Restarts:
    """The restarts that are due, by the workers' slots; times are seconds by a clock that the caller names."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._pause: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def died(self, slot: int, *, now: float, lived: float) -> None:
        """A worker died after ``lived`` seconds: plan another."""
        if lived > STEADY_S:
            self._pause.pop(slot, None)
        pause = self._pause.get(slot, 0.0)
        self._pause[slot] = min(max(pause * 2, BACKOFF_FIRST_S), BACKOFF_MAX_S)
        self._due[slot] = now + pause

    def could_not_start(self, slot: int, *, now: float) -> None:
        """Not even a process could be made: try again after the longest pause."""
        self._due[slot] = now + BACKOFF_MAX_S

    def take_due(self, now: float) -> list[int]:
        """The slots whose time has come."""
        due = [slot for slot, at in self._due.items() if at <= now]
        for slot in due:
            del self._due[slot]
        return due

    def until_next(self, now: float) -> float | None:
        """Seconds until the next is due."""
        return max(0.0, min(self._due.values()) - now) if self._due else None

    def clear(self) -> None:
        self._due.clear()
