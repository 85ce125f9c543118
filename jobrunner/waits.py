"""How a task waits for the outside world without holding a worker: until a time, or until a signal arrives.

A task that has to wait is ended by :class:`Waiting`, which the functions below raise; its job is suspended, as a row in
the database and nothing else, and goes on when there is something to go on with. The task is then run again *from its
start*: what a call found before, it finds again, at once. So what a task does before it waits is done again; put
effects into tasks of their own.

Each call is told by what it waits for and its number: the second ``wait_for_signal("parcel")`` of a task is the second
one on each of its runs. The end of a :func:`sleep` and the time limit of a wait are set when the task first comes
there.

Outside of a conductor, as in tests of flows, ``sleep`` just sleeps, and signals are those of :func:`signals_given`.
"""

from __future__ import annotations

import abc
import contextlib
import contextvars
import copy
import math
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from jobrunner import times
from jobrunner.errors import OutsideConductor, SignalTimedOut, UsageError

NAME_LENGTH = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.:-]{{0,{NAME_LENGTH - 1}}}")

Duration = float | int | timedelta


class Waiting(BaseException):
    """A task has to wait; no error, so nothing in a task that handles errors gets hold of it.

    :param signal: the signal that it waits for, if it does
    :param until_ms: when it goes on at the latest; None for never
    """

    def __init__(self, *, signal: str | None = None, until_ms: int | None = None) -> None:
        super().__init__(f"waits for {'its time' if signal is None else f'the signal {signal}'}")
        self.signal = signal
        self.until_ms = until_ms


class Waits(abc.ABC):
    """What a conductor offers to a task that it runs. Each method returns when there is nothing to wait for."""

    @abc.abstractmethod
    def sleep_until(self, until_ms: int) -> None:
        """Wait for a time; one that an earlier run of the task set counts instead."""

    @abc.abstractmethod
    def take_signal(self, name: str, until_ms: int | None) -> Any:
        """The data of a signal, each of which is taken once; raises SignalTimedOut if none came until then."""


def sleep(duration: Duration) -> None:
    """Wait for so many seconds, counted from when the task first came here; raises UsageError if they are no time."""
    sleep_until_ms(times.now_ms() + round(_seconds(duration) * 1000))


def sleep_until(moment: datetime) -> None:
    """Wait for a time; one without a zone is the conductor's local time. Raises UsageError for what is no datetime."""
    if not isinstance(moment, datetime):
        raise UsageError(f"{moment!r} is no time to sleep until.", hint="Give a datetime.")
    sleep_until_ms(int(moment.timestamp() * 1000))


def sleep_until_ms(until_ms: int) -> None:
    """Wait for a time in milliseconds since the epoch."""
    waits = _current.get()
    if waits is not None:
        waits.sleep_until(min(until_ms, times.LAST_MS))
    else:
        time.sleep(max(0.0, (until_ms - times.now_ms()) / 1000))


def wait_for_signal(name: str, timeout: Duration | None = None) -> Any:
    """The data of the next signal of that name, as ``jobrunner signal`` sent it; signals wait for tasks as well.

    Raises UsageError for a bad name or time, OutsideConductor if no conductor runs the task and nobody gave it signals.

    :param timeout: seconds, counted from when the task first came here; raises SignalTimedOut when they have passed
    """
    check_name(name)
    until_ms = None if timeout is None else times.now_ms() + round(_seconds(timeout) * 1000)
    waits = _current.get()
    return _given(name) if waits is None else waits.take_signal(name, until_ms)


def check_name(name: object) -> str:
    """The name of a signal, if it can be one; raises UsageError."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    shown = repr(name) if len(repr(name)) < NAME_LENGTH else f"{repr(name)[:60]}..."
    raise UsageError(
        f"{shown} cannot be the name of a signal.",
        hint=f"Use up to {NAME_LENGTH} letters, digits and _ . : - , beginning with a letter or digit.",
    )


def timed_out(name: str) -> SignalTimedOut:
    """The error of a wait that was in vain."""
    return SignalTimedOut(f"The signal {name!r} did not arrive in time.")


def _seconds(duration: Duration) -> float:
    seconds: Any = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        raise UsageError(f"{duration!r} is no time to wait.", hint="Give seconds, or a timedelta.")
    return min(max(0.0, float(seconds)), float(times.LONGEST_S))


# -- for conductors

_current: contextvars.ContextVar[Waits | None] = contextvars.ContextVar("jobrunner_waits", default=None)


def bind(waits: Waits | None) -> contextvars.Token[Waits | None]:
    """Make ``waits`` what the functions above use, in the present context."""
    return _current.set(waits)


def unbind(token: contextvars.Token[Waits | None]) -> None:
    """Undo :func:`bind`."""
    _current.reset(token)


# -- for tests of flows

_signals: list[tuple[str, deque[Any]]] = []
_signals_lock = threading.Lock()


@contextlib.contextmanager
def signals_given(**signals: Any) -> Iterator[None]:
    """Let tasks that run outside of a conductor find these signals: by name the data, of several in a list.

    For tests: ``with signals_given(approve=[{"by": "Ada"}]): engines.run(flow)``. A task that waits for one that is not
    there times out at once.
    """
    given = [(name, deque(data if isinstance(data, list) else [data])) for name, data in signals.items()]
    with _signals_lock:
        before = list(_signals)
        _signals[:] = given
    try:
        yield
    finally:
        with _signals_lock:
            _signals[:] = before


def _given(name: str) -> Any:
    with _signals_lock:
        for given, data in _signals:
            if given == name and data:
                return copy.deepcopy(data.popleft())
        if _signals:
            raise timed_out(name)
    raise OutsideConductor(
        f"The task waits for the signal {name!r}, but no conductor runs it, so none can arrive.",
        hint="In a test, give it one: `with jobrunner.waits.signals_given(...):`.",
    )
