"""How a task learns that it should stop, and says that it did.

A conductor never kills a thread: it asks. A task that runs long looks at :func:`stop_requested` between its steps,
or waits with :func:`wait_for_stop` where it would sleep, and raises :class:`Stopped` when it ends early because it
was asked. The atom then keeps its recorded state: it is run again when the job resumes, or reverted when the job is
cancelled. Outside of a conductor nobody asks, so flows with such tasks run under plain TaskFlow as well.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Literal

from jobrunner.model import CancelMode

StopReason = Literal["suspend", "hold", "cancel", "timeout", "lost"]
"""``suspend``: the conductor shuts down, the job goes on elsewhere; ``hold``: a person suspends the job; ``cancel``: a
person's word; ``timeout``: the job's time is up; ``lost``: another conductor owns the job, so nothing that this one
still does can be recorded."""


class Stopped(Exception):
    """The task stopped early because it was asked to."""


_WEIGHT: dict[StopReason, int] = {"suspend": 0, "hold": 0, "timeout": 1, "cancel": 1, "lost": 2}


class StopSignal:
    """One job's request to stop; set once, by the conductor, read by the tasks of its flow."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason: StopReason | None = None
        self._leaving = False
        self.cancel_mode: CancelMode | None = None
        self.heeded = False
        """Whether the flow has come to an atom border since; what it does from there on is undoing."""
        self.overdue: Callable[[], bool] = lambda: False
        """Whether the time until which the conductor may run the job is over, though nobody has asked to stop yet."""
        self.forceful = False
        """Whether what the tasks have started is told to end as well: a task that fails then was interrupted."""
        self._lock = threading.Lock()

    @property
    def reason(self) -> StopReason | None:
        """Why: of several reasons the weightiest, of equal ones the first. Nothing overrules a lost lease."""
        return self._reason

    @property
    def leaving(self) -> bool:
        """Whether the conductor shuts down, whatever else there is to stop for: undoing goes on elsewhere as well."""
        return self._leaving

    def set(self, reason: StopReason) -> None:
        """Ask to stop."""
        with self._lock:
            self._leaving = self._leaving or reason == "suspend"
            if self._reason is None or _WEIGHT[reason] > _WEIGHT[self._reason]:
                self._reason = reason
            self._event.set()

    def interrupts(self) -> bool:
        """Whether what a task raises now comes of the request to stop."""
        return self.forceful and self._reason not in (None, "suspend", "hold")

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        return self._event.wait(timeout)


_current: contextvars.ContextVar[StopSignal | None] = contextvars.ContextVar("jobrunner_stop", default=None)


def bind(signal: StopSignal | None) -> contextvars.Token[StopSignal | None]:
    """Make ``signal`` the one that the functions below look at, in the present context; for conductors."""
    return _current.set(signal)


def unbind(token: contextvars.Token[StopSignal | None]) -> None:
    """Undo :func:`bind`."""
    _current.reset(token)


def stop_requested() -> bool:
    """Whether the task that calls this should stop."""
    signal = _current.get()
    return signal is not None and signal.is_set()


def stop_reason() -> StopReason | None:
    """Why it should stop, or None while nobody asks it to."""
    signal = _current.get()
    return signal.reason if signal is not None and signal.is_set() else None


def wait_for_stop(timeout: float) -> bool:
    """Wait up to ``timeout`` seconds; True as soon as the task should stop."""
    signal = _current.get()
    if signal is None:
        threading.Event().wait(timeout)
        return False
    return signal.wait(timeout)
