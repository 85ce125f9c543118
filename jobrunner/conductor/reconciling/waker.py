"""Jobs that wait though what they wait for is there, or somebody cancelled them: they are offered.

A signal wakes its job by itself, in the job's row and then on the board. That is not enough where it came after the
job's task had looked for it, and before the job was recorded as waiting; where it came before the job's owner took the
job off the board; and where whoever sent it died before the board heard of it. A person's word to cancel is for the
owner of a running job; one that comes when all that is left is to record that the job waits, is heard by nobody. And a
job that is held back may be let go on when somebody has claimed it, and found it held back, but has not told the board
yet. So the owner looks once more, when the board has been told; and the leader looks now and then.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from jobrunner.boards.board import Board
from jobrunner.jobs.offering import offer_now
from jobrunner.model import Job, JobState, Parked
from jobrunner.persistence.ownership.ownership import offer_all_cancelled, offer_cancelled
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.signals import wake_all_signalled, wake_signalled
from jobrunner.persistence.store import Store


class Waker:
    """Offers jobs that wait in vain; a step of the aftermath. Fine to repeat, on any machine.

    Costs two queries for all jobs that were left to wait since the last look, and one if any of them was parked for
    anything but a signal.
    """

    def __init__(self, database: Database, board: Board) -> None:
        self._database = database
        self._board = board

    @staticmethod
    def concerns(job: Job) -> bool:
        """Whether a job was just left to wait for a signal, or for its time: it is noted as it was left then."""
        return job.state is JobState.SUSPENDED

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Look after these jobs, which were just left."""
        job_ids = [job.id for job in jobs if self.concerns(job)]
        if job_ids:
            offer_now(self._board, wake_signalled(self._database, job_ids))
            offer_now(self._board, offer_cancelled(self._database, job_ids))
        parked = [job.id for job in jobs if job.parked not in (None, Parked.SIGNAL)]
        if parked:
            self._board.post(Store(self._database).entries(parked))

    def sweep(self) -> int:
        """Look after all jobs; how many were offered."""
        number = 0
        for found in itertools.chain(wake_all_signalled(self._database), offer_all_cancelled(self._database)):
            offer_now(self._board, found)
            number += len(found)
        return number
