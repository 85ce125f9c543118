"""Changing jobs after they were posted: cancel, suspend, resume, retry. Each is safe to repeat, from any machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jobrunner.errors import BoardUnavailable
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.offering import offer_now
from jobrunner.jobs.post import put_on_board
from jobrunner.model import CancelMode, Job, JobState
from jobrunner.persistence import holding, ownership, signals
from jobrunner.persistence.store import board_entry

log = logging.getLogger(__name__)


def cancel(context: JobContext, job: Job, mode: CancelMode = CancelMode.REVERT) -> JobState:
    """Cancel a job that waits, now; ask the owner of a running one to, at its next atom border. The state after that.

    Raises WrongState if the job has ended otherwise.
    """
    state, changed = ownership.request_cancel(context.database, job.id, mode)
    if state is JobState.CANCELLED and changed:
        withdraw(context, [job.id])
    elif changed and (job.parked is not None or job.available_ms > job.updated_ms):
        withdraw(context, [job.id])  # where it may stand as delayed
        put_on_board(context, [board_entry(context.store.get(job.id))])
    return state


def suspend(context: JobContext, job: Job) -> Job:
    """Suspend a job until somebody resumes it: now if it waits, at its next atom border if it runs. The job after that.

    Raises WrongState if it has ended or is being cancelled.
    """
    suspended, changed = holding.suspend(context.database, job.id)
    if changed and suspended.state is not JobState.RUNNING:
        withdraw(context, [job.id])
    return suspended


def resume(context: JobContext, job: Job) -> Job:
    """Let a suspended job go on; one that was about to be suspended runs on. The job after that.

    Raises WrongState if it has ended.
    """
    resumed, changed = holding.resume(context.database, job.id)
    if changed and resumed.parked is None and resumed.state is not JobState.RUNNING:
        put_on_board(context, [board_entry(resumed)])
    if changed and resumed.awaits is not None:
        _wake(context, resumed)
    return resumed


def retry(context: JobContext, job: Job) -> Job:
    """Run a job that ended badly again, as a new attempt; raises WrongState otherwise."""
    again = ownership.retry(context.database, job.id)
    withdraw(context, [job.id])  # what an old snapshot of the board may still hold of the last attempt
    put_on_board(context, [board_entry(again)])
    return again


def _wake(context: JobContext, job: Job) -> None:
    """Offer a job whose signal came while it was held back."""
    try:
        offer_now(context.board, signals.wake_signalled(context.database, [job.id]))
    except BoardUnavailable as error:
        log.warning("%s A leader offers the job when it is back.", error.message)


def withdraw(context: JobContext, job_ids: Sequence[str]) -> None:
    """Take jobs off the board that SQL does not want there any more; if it is away, that is left to the reconciler."""
    if not job_ids:
        return
    try:
        context.board.withdraw(job_ids)
    except BoardUnavailable as error:
        log.warning("%s The reconciler takes the jobs off the board when it is back.", error.message)
