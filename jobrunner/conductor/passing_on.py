"""What was held of semaphores goes on to those who wait for it: they are called, so that they can be claimed at once.

Whoever is called asks for its permits as everybody does when it is begun; so calling too many, or too often, harms
nothing. What is not called, since a worker died just then, the leader calls within seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobrunner.boards.board import Board
from jobrunner.model import Job
from jobrunner.persistence.database import Database
from jobrunner.persistence.passing import next_in_line


class PassingOn:
    """A step of the aftermath: calls who may have what jobs left, or were refused a moment ago.

    Costs nothing for jobs that hold nothing; else three queries, one more for each semaphore beyond the first, and a
    round trip to the board if somebody waits.
    """

    def __init__(self, database: Database, board: Board) -> None:
        self._database = database
        self._board = board

    @staticmethod
    def concerns(job: Job) -> bool:
        """Whether the job may have left something that others wait for."""
        return bool(job.policies.holds)

    def __call__(self, jobs: Sequence[Job]) -> None:
        names = sorted({hold.name for job in jobs for hold in job.policies.holds})
        if not names:
            return
        called = next_in_line(self._database, names)
        if called:
            self._board.hasten(called)
