"""Jobs that await a signal which is there: they are offered, whatever was left undone between the two.

A signal wakes its job by itself, in the job's row and then on the board. That is not enough where it came after the
job's task had looked for it, and before the job was recorded as waiting; where it came before the job's owner took the
job off the board; and where whoever sent it died before the board heard of it. So the owner looks once more, when the
board has been told; and the leader looks now and then.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobrunner.boards.board import Board
from jobrunner.jobs.offering import offer_now
from jobrunner.model import Job
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.signals import wake_all_signalled, wake_signalled


class Waker:
    """Offers jobs that await what is there; a step of the aftermath. Fine to repeat, on any machine."""

    def __init__(self, database: Database, board: Board) -> None:
        self._database = database
        self._board = board

    @staticmethod
    def concerns(job: Job) -> bool:
        """Whether a job that was just left awaits a signal."""
        return job.awaits is not None

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Look after these jobs, which were just left."""
        job_ids = [job.id for job in jobs if self.concerns(job)]
        if job_ids:
            offer_now(self._board, wake_signalled(self._database, job_ids))

    def sweep(self) -> int:
        """Look after all jobs; how many were offered."""
        number = 0
        for woken in wake_all_signalled(self._database):
            offer_now(self._board, woken)
            number += len(woken)
        return number
