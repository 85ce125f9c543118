"""Letting a half-done job go on with other code than it began with."""

from __future__ import annotations

from jobrunner.jobs.context import JobContext
from jobrunner.jobs.offering import offer
from jobrunner.model import Job
from jobrunner.persistence.ownership import adoption


def adopt(context: JobContext, job: Job) -> Job:
    """Let the next owner go on with the code that it has, at once; the job as it is then.

    Tasks that ended stay ended, whatever has become of them; new ones are run; what is gone is neither run nor undone.
    Raises WrongState if the job is not half done, or runs.
    """
    allowed = adoption.allow_other_code(context.database, job.id)
    if allowed.parked is None and allowed.awaits is None:
        offer(context, [allowed])
    return allowed
