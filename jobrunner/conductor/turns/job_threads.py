"""The threads in which a worker runs its jobs."""

from __future__ import annotations

import logging
from concurrent import futures

log = logging.getLogger(__name__)


class JobThreads(futures.ThreadPoolExecutor):
    """As its base, for a machine that lets no more threads be started: jobs wait for those that there are.

    The base raises then, but keeps the work in line: it would be done later, when its job is somebody else's.
    """

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads:
                self._work_queue.get_nowait()  # it is the only one: there was nobody to take it
                raise
            log.warning(
                "%s: jobs wait for the %d threads that there are. Raise the limit of processes (ulimit -u, TasksMax= "
                "in the service, the container's), or lower conductor.jobs.",
                error,
                len(self._threads),
            )
