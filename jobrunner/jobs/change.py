"""Changing jobs after they were posted: cancel, retry. Each is safe to repeat, and works from any machine."""

from __future__ import annotations

import logging

from jobrunner.errors import BoardUnavailable
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.post import put_on_board
from jobrunner.model import CancelMode, Job, JobState
from jobrunner.persistence import ownership
from jobrunner.persistence.store import board_entry

log = logging.getLogger(__name__)


def cancel(context: JobContext, job: Job, mode: CancelMode = CancelMode.REVERT) -> JobState:
    """Cancel a job that waits, now; ask the owner of a running one to, at its next atom border. The state after that.

    Raises WrongState if the job has ended otherwise.
    """
    state, changed = ownership.request_cancel(context.database, job.id, mode)
    if state is JobState.CANCELLED and changed:
        _withdraw(context, job.id)
    return state


def retry(context: JobContext, job: Job) -> Job:
    """Run a job that ended badly again, as a new attempt; raises WrongState otherwise."""
    again = ownership.retry(context.database, job.id)
    _withdraw(context, job.id)  # what an old snapshot of the board may still hold of the last attempt
    put_on_board(context, [board_entry(again)])
    return again


def _withdraw(context: JobContext, job_id: str) -> None:
    try:
        context.board.withdraw([job_id])
    except BoardUnavailable as error:
        log.warning("%s The reconciler takes the job off the board when it is back.", error.message)
