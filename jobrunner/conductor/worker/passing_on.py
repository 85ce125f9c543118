"""What was held of semaphores goes on to those who wait for it: the worker that left it takes the next of them itself.

So nobody else has to hear of it, and a unit stands idle for as long as it takes to look who is next, and to begin that
job. Those whom this worker may not run, or has no room for, are called for others to claim.

Whoever is called asks for its permits as everybody does when it is begun; so calling too many, or too often, harms
nothing. What is not called, since a worker died just then, the leader calls within seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from jobrunner.boards.board import Board
from jobrunner.model import Job, JobClass
from jobrunner.persistence.permits.passing import next_in_line, release_sets
from jobrunner.persistence.server.link import Link


class PassingOn:
    """The semaphores of which jobs left something here, or were refused it, since somebody looked. For several threads.

    Costs nothing for jobs that hold nothing; else three queries, one more for each semaphore beyond the first, and a
    round trip to the board if somebody waits.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._names: set[str] = set()
        self._sets: set[str] = set()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._names)

    def note(self, job: Job, *, left: bool = True) -> bool:
        """A job was left, or else refused; whether there is anything that others may wait for."""
        if job.policies.holds:
            with self._lock:
                self._names.update(hold.name for hold in job.policies.holds)
                if left and job.jobset_id is not None and any(hold.by_set for hold in job.policies.holds):
                    self._sets.add(job.jobset_id)
        return bool(job.policies.holds)

    def note_begun(self, job: Job) -> None:
        """A job began: what its jobset has since then, others of the set may have waited for."""
        names = [hold.name for hold in job.policies.holds if hold.by_set]
        if names:
            with self._lock:
                self._names.update(names)

    def take_over(
        self, board: Board, owner: str, classes: Collection[JobClass], *, limit: int, lease: float
    ) -> list[str]:
        """Claim up to ``limit`` jobs of these classes whose turn it is, and call the others; the ids of the former.

        If it raises, what was noted is noted still.
        """
        if not self._names:
            return []
        with self._lock:
            names, self._names = self._names, set()
            sets, self._sets = self._sets, set()
        try:
            release_sets(self._link.database, sorted(sets))
            called = next_in_line(self._link.database, sorted(names), link=self._link)
            return board.call(owner, called, classes, limit=limit, lease=lease) if called else []
        except BaseException:
            with self._lock:
                self._names |= names
                self._sets |= sets
            raise
