"""Jobs in processes of their own: who waits for one, how many may run, and the spare processes that make it quick.

A spare is a process that has everything a job needs, loaded plugins and connections, and waits for its job; there is
one where there are types of such jobs, and some more while they come. A job that runs as another user gets none: its
process has to be that user's before it loads plugins. No process ever runs a second job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from jobrunner.conductor.supervisor.process import LoneJob, WorkerProcess

SUSPECTS = 4
"""Suspects that get a process of their own at the same time, of those that have not run for ACQUITTED_S yet."""
ACQUITTED_S = 5.0
"""Suspects that have run for so long do not keep others waiting."""
SPARES = 2
SPARE_S = 60.0
"""So long after the last such job that many spares are kept; after that one, if there are types of such jobs."""
SPARE_PAUSE_S = 5.0
"""No spare is made for so long after one could not be, or ended before it was ready: there is no room for it."""
SETTLED_S = 2.0
"""A conductor that has just started has other things to do than to make a spare that nobody has asked for."""
BEGINS_S, TAKES_S = 0.1, 1.0
"""No spare is made while a job's process is about to begin it, which has the processor first: for so long after it was
given its job, and until it has taken that over, but not for longer than the second."""


class LoneJobs:
    """The jobs of one conductor that wait for processes of their own. For the thread that supervises.

    :param slots: how many may run at the same time; for suspects there is a limit of their own
    :param spares: how many spare processes there are while such jobs come
    """

    def __init__(self, slots: int, *, spares: int = SPARES) -> None:
        self._slots = slots
        self._spares = spares
        self._suspects: deque[LoneJob] = deque()
        self._waiting: deque[LoneJob] = deque()
        self._wanted_at: float | None = None
        self._spares_after = 0.0

    def __len__(self) -> int:
        return len(self._suspects) + len(self._waiting)

    def add(self, job: LoneJob, now: float) -> None:
        """A job wants a process of its own."""
        if job.limits is None:
            self._suspects.append(job)
            return
        self._waiting.append(job)
        if job.limits.user is None:
            self._wanted_at = now

    def next(self, workers: Iterable[WorkerProcess], now: float) -> LoneJob | None:
        """The next job that may have its process, given those that live; it waits no more."""
        alone = [worker for worker in workers if worker.lone is not None]
        suspects = [worker for worker in alone if worker.lone is not None and worker.lone.limits is None]
        fresh = sum(now - worker.given < ACQUITTED_S for worker in suspects)
        if self._suspects and fresh < SUSPECTS and len(suspects) < max(SUSPECTS, self._slots):
            return self._suspects.popleft()
        if self._waiting and len(alone) - len(suspects) < self._slots:
            return self._waiting.popleft()
        return None

    def spares_missing(self, workers: Iterable[WorkerProcess], now: float) -> int:
        """How many spares are to be started now; less than 0: so many are to be ended."""
        workers = list(workers)
        missing = self._spares_wanted(workers, now) - len(spares(workers))
        later = now < self._spares_after or any(_is_about_to_begin(worker, now) for worker in workers)
        return min(0, missing) if later else missing

    def spare_failed(self, now: float) -> None:
        """A spare could not be made, or ended before it was ready."""
        self._spares_after = now + SPARE_PAUSE_S

    def _spares_wanted(self, workers: Iterable[WorkerProcess], now: float) -> int:
        if self._wanted_at is not None and now - self._wanted_at < SPARE_S:
            return self._spares
        return int(self._spares > 0 and any(w.isolates and now - w.started > SETTLED_S for w in workers))

    def clear(self) -> list[LoneJob]:
        """Nobody gets a process any more; who waited for one."""
        left = [*self._suspects, *self._waiting]
        self._suspects.clear()
        self._waiting.clear()
        self._wanted_at = None
        return left


def _is_about_to_begin(worker: WorkerProcess, now: float) -> bool:
    return worker.lone is not None and now - worker.given < (BEGINS_S if worker.taken else TAKES_S)


def spares(workers: Iterable[WorkerProcess]) -> list[WorkerProcess]:
    """The processes that wait for a job, oldest first: those that are ready first."""
    found = [
        worker
        for worker in workers
        if worker.alone and worker.lone is None and not worker.dismissed and not worker.hung_up
    ]
    return sorted(found, key=lambda worker: (not worker.ready, worker.started))
