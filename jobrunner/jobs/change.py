"""Changing jobs after they were posted: cancel, suspend, resume, retry. Each is safe to repeat, from any machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jobrunner.errors import BoardUnavailable
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.following import follow, leave_sets, settle_blocked
from jobrunner.jobs.offering import offer
from jobrunner.jobs.post import put_on_board
from jobrunner.model import CancelMode, Job, JobState
from jobrunner.persistence import signals
from jobrunner.persistence.chains import links
from jobrunner.persistence.ownership import holding, ownership
from jobrunner.persistence.store import board_entry

log = logging.getLogger(__name__)

CANCELLED_AT_ONCE = 200


def cancel(context: JobContext, job: Job, mode: CancelMode = CancelMode.REVERT) -> JobState:
    """Cancel a job that waits, now; ask the owner of a running one to, at its next atom border. The state after that.

    Raises WrongState if the job has ended otherwise.
    """
    state, changed = ownership.request_cancel(context.database, job.id, mode)
    if state is JobState.CANCELLED and changed:
        withdraw(context, [job.id])
        follow(context.database, lambda: context.board, [job.id])
        leave_sets(context.database, lambda: context.board, [job.id])
    elif changed and state is not JobState.RUNNING:
        if _stood_for_later(job):
            withdraw(context, [job.id])  # where it may stand as delayed
        offer(context, [context.store.get(job.id)])  # its owner may have left it to wait since it was read
    return state


def _stood_for_later(job: Job) -> bool:
    """Whether the board had the job for later, or not at all, when it was read: since then it may have been claimed."""
    return job.parked is not None or job.available_ms > job.updated_ms


def cancel_all(context: JobContext, job_ids: Sequence[str], mode: CancelMode = CancelMode.REVERT) -> int:
    """Cancel many jobs as :func:`cancel` does, some hundred in a transaction; how many that changed.

    Those that have ended meanwhile are left as they are. Those that wait, and have something to undo, are offered now.
    """
    changed = 0
    for start in range(0, len(job_ids), CANCELLED_AT_ONCE):
        batch = job_ids[start : start + CANCELLED_AT_ONCE]
        outcome = ownership.request_cancels(context.database, batch, mode)
        ended = [job_id for job_id, (state, new) in outcome.items() if new and state is JobState.CANCELLED]
        changed += sum(new for _, new in outcome.values())
        waiting = [
            job_id
            for job_id, (state, new) in outcome.items()
            if new and state not in (JobState.CANCELLED, JobState.RUNNING)
        ]
        if waiting:
            offer(context, list(context.store.get_many(waiting).values()))
        if ended:
            withdraw(context, ended)
            follow(context.database, lambda: context.board, ended)
            leave_sets(context.database, lambda: context.board, ended)
    return changed


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
    if resumed.state is JobState.BLOCKED:
        return _followed(context, resumed)
    if changed and resumed.parked is None and resumed.state is not JobState.RUNNING:
        put_on_board(context, [board_entry(resumed)])
    if changed and resumed.awaits is not None:
        offer(context, signals.wake_signalled(context.database, [job.id]))  # one came while it was held back
    return resumed


def retry(context: JobContext, job: Job) -> Job:
    """Run a job that ended badly again, as a new attempt; raises WrongState otherwise.

    One that was skipped, since it comes after others, waits for them again if those are to be run again.
    """
    again = ownership.retry(context.database, job.id, gate=links.gate)
    withdraw(context, [job.id])  # what an old snapshot of the board may still hold of the last attempt
    if again.state is JobState.BLOCKED:
        return _followed(context, again)
    put_on_board(context, [board_entry(again)])
    return again


def _followed(context: JobContext, job: Job) -> Job:
    """A job that is blocked again, as it is once somebody looked: those that come first may have ended meanwhile."""
    settle_blocked(context.database, lambda: context.board, [job.id])
    return context.store.get(job.id)


def withdraw(context: JobContext, job_ids: Sequence[str]) -> None:
    """Take jobs off the board that SQL does not want there any more; if it is away, that is left to the reconciler."""
    if not job_ids:
        return
    try:
        context.board.withdraw(job_ids)
    except BoardUnavailable as error:
        log.warning("%s The reconciler takes the jobs off the board when it is back.", error.sentence)
