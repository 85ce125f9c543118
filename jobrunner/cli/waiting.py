"""Waiting for jobs on behalf of a person: patient with a database that is away, and with an end in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from jobrunner.cli import output, text
from jobrunner.errors import EXIT_JOB_FAILED, EXIT_OK, StoreUnavailable, WaitTimedOut
from jobrunner.jobs import jobsets, look, reasons
from jobrunner.jobs.context import JobContext
from jobrunner.model import Job, JobState
from jobrunner.persistence.chains.jobsets import Jobset
from jobrunner.persistence.chains.links import SKIPPED

T = TypeVar("T")

OUTAGE_PAUSE_S = 0.5
TOLD_OF = 20
"""For so many jobs at most it is said why they wait."""


class _Ended(Exception):
    """The first of several jobs has ended."""


def wait_for(
    context: JobContext, job_ids: Sequence[str], *, timeout: float | None = None, any_of_them: bool = False
) -> list[Job]:
    """Wait until all the jobs have ended, or the first of them; an outage of the database costs time only.

    Says on stderr why jobs wait, where that is known.

    Raises WaitTimedOut after ``timeout`` seconds, StoreUnavailable after an outage longer than persistence.patience.
    """
    ended: dict[str, Job] = {}
    why = _Reasons(context)
    deadline = _deadline(timeout)

    def note(job: Job) -> None:
        ended[job.id] = job
        if any_of_them:
            raise _Ended

    def work() -> list[Job]:
        missing = [job_id for job_id in job_ids if job_id not in ended]
        look.wait(context, missing, timeout=_left(deadline), on_end=note, on_pause=why.tell)
        return [ended[job_id] for job_id in job_ids]

    try:
        return outlast(context, work, deadline=deadline)
    except _Ended:
        return list(ended.values())
    except WaitTimedOut as error:
        missing = ", ".join(job_id for job_id in job_ids if job_id not in ended)
        raise WaitTimedOut(
            f"Not finished after {text.duration(timeout)}: {missing}.",
            hint="The waiting ended, the jobs go on: `jobrunner status ID` tells how they stand.",
        ) from error


def wait_for_set(context: JobContext, jobset: Jobset, *, timeout: float | None = None) -> Jobset:
    """Wait until all jobs of a set have ended, as :func:`wait_for` does; the set as it is then."""
    deadline = _deadline(timeout)
    seen = [jobset]

    def work() -> Jobset:
        return jobsets.wait(context, jobset, timeout=_left(deadline), on_change=seen.append)

    try:
        return outlast(context, work, deadline=deadline)
    except WaitTimedOut as error:
        ended = f"{seen[-1].ended:,} of {jobset.size:,} jobs have ended"
        raise WaitTimedOut(
            f"Jobset {jobset.id} is not finished after {text.duration(timeout)}: {ended}.",
            hint="The waiting ended, the jobs go on: `jobrunner jobset show ID` tells how they stand.",
        ) from error


def _deadline(timeout: float | None) -> float | None:
    """By the monotonic clock."""
    return None if timeout is None else time.monotonic() + timeout


def _left(deadline: float | None) -> float | None:
    """How many seconds are left, however long an outage took of them."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class _Reasons:
    """Tells why jobs wait, each reason once."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._told: dict[str, str] = {}

    def tell(self, job_ids: Sequence[str]) -> None:
        for job_id, reason in reasons.reasons(self._context, job_ids[:TOLD_OF]).items():
            if self._told.get(job_id) != reason:
                output.say(f"job {job_id[:8]} waits: {reason}")
                self._told[job_id] = reason


def outlast(context: JobContext, work: Callable[[], T], *, deadline: float | None = None) -> T:
    """Do ``work``, again and again while the database is away, for as long as persistence.patience allows.

    :param deadline: of the monotonic clock, after which nothing is tried again; StoreUnavailable is raised then too
    """
    away_since: float | None = None
    while True:
        try:
            found = work()
        except StoreUnavailable as error:
            now = time.monotonic()
            if away_since is None:
                away_since = now
                output.say(f"{error.sentence} Trying on ...")
            if now - away_since > context.config.persistence.patience or (
                deadline is not None and now > deadline
            ):
                raise
            time.sleep(OUTAGE_PAUSE_S)
            continue
        if away_since is not None:
            output.say("The database is back.")
        return found


def tell_ends(jobs: Sequence[Job]) -> int:
    """Say how jobs that failed have failed, on stderr; the exit code that follows."""
    for job in jobs:
        if job.state is not JobState.SUCCEEDED:
            output.say(end_in_words(job))
    return EXIT_OK if all(job.state is JobState.SUCCEEDED for job in jobs) else EXIT_JOB_FAILED


def is_skipped(job: Job) -> bool:
    """Whether it was never run, since a job before it ended otherwise than its link asks for."""
    return job.state is JobState.CANCELLED and job.error is not None and job.error.kind == SKIPPED


def end_in_words(job: Job) -> str:
    """How a job ended, in one sentence, and why."""
    where = f" in {text.clean(job.error.atom)}" if job.error is not None and job.error.atom else ""
    how = {
        JobState.SUCCEEDED: "succeeded",
        JobState.FAILED: f"failed{where}",
        JobState.REVERTED: f"failed{where} and was undone",
        JobState.CANCELLED: "was cancelled",
        JobState.TIMED_OUT: f"took too long and was ended{where}",
        JobState.DEAD: f"did nothing any more and was ended{where}",
        JobState.EXPIRED: "was not started in time",
    }[job.state]
    words = f"job {job.short_id} ({text.clean(job.type)}) {how}"
    if job.error is None or (job.state is JobState.CANCELLED and not is_skipped(job)):
        return words
    return f"{words}: {text.clean(job.error.message or job.error.kind)}"
