"""Tasks that only wait: for a time, or for a signal. Meanwhile their job is a row in the database and holds nothing.

A task that waits is begun again when its job goes on. These do nothing besides waiting, so nothing is done twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from taskflow.task import Task

from jobrunner import waits
from jobrunner.errors import SignalTimedOut
from jobrunner.quantities import parse_duration

Duration = str | float | int | timedelta
"""Seconds, a timedelta, or text such as ``10m``."""

_RAISE: Any = object()


class Sleep(Task):
    """Waits for a time: so long after it was first started, or until a moment.

    :param duration: ``"10m"``, a timedelta, or seconds
    :param until: a datetime (without a zone, the conductor's local time); either this or ``duration``
    :param name: the task's name; the default is ``sleep``. Two tasks of a flow cannot have the same

    Raises ValueError if it is told both, or neither.
    """

    def __init__(
        self,
        duration: Duration | None = None,
        *,
        until: datetime | None = None,
        name: str = "sleep",
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        if (duration is None) == (until is None):
            raise ValueError("Sleep: give a duration, or a time by until=...")
        self._seconds = None if duration is None else _seconds(duration)
        self._until = until

    def execute(self) -> None:
        if self._until is not None:
            waits.sleep_until(self._until)
        elif self._seconds is not None:
            waits.sleep(self._seconds)


class WaitForSignal(Task):
    """Waits for a signal; the data that came with it is what the task provides.

    :param signal: the signal's name
    :param timeout: how long at most, counted from when it was first started; None for ever
    :param default: what it provides if no signal comes in time; without it, it fails then, by SignalTimedOut
    :param name: the task's name; the default is ``wait for`` and the signal's
    """

    def __init__(
        self,
        signal: str,
        *,
        timeout: Duration | None = None,
        default: Any = _RAISE,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name or f"wait for {signal}", **options)
        self._signal = waits.check_name(signal)
        self._timeout = None if timeout is None else _seconds(timeout)
        self._default = default

    def execute(self) -> Any:
        try:
            return waits.wait_for_signal(self._signal, self._timeout)
        except SignalTimedOut:
            if self._default is _RAISE:
                raise
            return self._default


def _seconds(duration: Duration) -> float:
    seconds = parse_duration(duration)
    if seconds < 0:
        raise ValueError(f"{duration!r} is less than nothing")
    return seconds
