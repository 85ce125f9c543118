"""One engine works at a time; what waits, and what is a task's own, goes on beside it.

A worker runs many jobs in threads, of which only one can use the interpreter. Left to themselves they take it from each
other every half millisecond, with nothing gained, and the journal's writer and the claiming thread, for which everybody
waits, stand in line with all of them. So a job's thread works on its flow while it has the baton, and passes it on
whenever it waits for the journal or calls somebody else's code.

It is advice, not a lock: who does not get it in time goes on without, so nothing can hang by it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from jobrunner.conductor.turns.own_core import OwnCore

PATIENCE_S = 0.05
"""So long a thread waits for the baton; whoever has it for longer is stuck in something that it should not be."""


class Baton:
    """Passed from thread to thread within one process.

    :param core: where those who have it work
    """

    def __init__(self, core: OwnCore | None = None) -> None:
        self.core = core or OwnCore(None)
        self._lock = threading.Lock()
        self._mine = threading.local()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Work with the baton."""
        self.core.stay()
        self._take()
        try:
            yield
        finally:
            self._give()

    @contextlib.contextmanager
    def passed(self) -> Iterator[None]:
        """Let others have it meanwhile, if this thread has it."""
        if not self._give():
            yield
            return
        try:
            yield
        finally:
            self._take()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Run somebody else's code: others have the baton meanwhile, and that code all cores."""
        with self.passed(), self.core.left():
            yield

    def _take(self) -> None:
        self._mine.held = self._lock.acquire(timeout=PATIENCE_S)

    def _give(self) -> bool:
        """Whether this thread works by turns: it had the baton, or waited for it in vain."""
        if not hasattr(self._mine, "held"):
            return False
        if self._mine.held:
            self._lock.release()
        del self._mine.held
        return True
