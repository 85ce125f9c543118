"""Keeping what jobs in processes of their own use: of those that run now and then, of those that ended soon.

All together, in one statement for many jobs; what could not be written is written later.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from jobrunner.conductor.outage import Outage
from jobrunner.errors import JobrunnerError
from jobrunner.persistence.ownership.unowned import UsageNote, note_usage
from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

USAGE_S = 10.0
"""So often is written what running jobs use."""
GATHER_S = 0.1
"""So long the last figures of ended jobs wait for others, to be written together."""


class UsageNotes:
    """Writes in a thread of its own, see :meth:`work`.

    :param running: what the jobs that run have used so far
    """

    def __init__(self, database: Database, running: Callable[[], list[UsageNote]]) -> None:
        self._database = database
        self._running = running
        self._last: queue.SimpleQueue[UsageNote] = queue.SimpleQueue()
        self._wanted = threading.Event()
        self._ending = threading.Event()

    def ended(self, note: UsageNote) -> None:
        """Soon write what a job has used that has ended."""
        self._last.put(note)
        self._wanted.set()

    def end(self) -> None:
        """Write nothing more."""
        self._ending.set()
        self._wanted.set()

    def work(self) -> None:
        """Write until the end."""
        outage = Outage(log, "keeping what jobs use")
        left: list[UsageNote] = []
        while not self._ending.is_set():
            ended = self._wanted.wait(USAGE_S)
            self._ending.wait(GATHER_S)
            self._wanted.clear()
            while not self._last.empty():
                left.append(self._last.get())
            try:
                note_usage(self._database, left if ended else [*self._running(), *left])
                left.clear()
                outage.is_over()
            except JobrunnerError as error:
                outage.goes_on(error)
            except Exception:
                log.exception("what jobs use could not be kept")
                left.clear()
