"""Why jobs have not ended yet, for somebody who waits for them and would like to know."""

from __future__ import annotations

from collections.abc import Sequence

from jobrunner.jobs.context import JobContext
from jobrunner.jobs.fan_out import living_nodes
from jobrunner.model import Job, JobState

NOBODY = "No conductor is running: `jobrunner run` starts one."
ALL_DRAINED = (
    "All nodes that run conductors are drained: `jobrunner node undrain NAME` lets one take jobs again."
)


def reasons(context: JobContext, job_ids: Sequence[str]) -> dict[str, str]:
    """By job, what is known of why it waits; nothing of those that run or have ended.

    Costs a query, and another one only if a job waits and has no note that says why.
    """
    jobs = [job for job in context.store.get_many(job_ids).values() if _waits(job)]
    untold = any(job.state is JobState.WAITING and not job.note for job in jobs)
    otherwise = _why_nobody_takes_any(context) if untold else None
    given = {job.id: job.note or (otherwise if job.state is JobState.WAITING else None) for job in jobs}
    return {job_id: reason for job_id, reason in given.items() if reason is not None}


def _why_nobody_takes_any(context: JobContext) -> str | None:
    alive = living_nodes(context)
    if not alive:
        return NOBODY
    return ALL_DRAINED if all(node.drained for node in alive) else None


def _waits(job: Job) -> bool:
    return not job.state.is_terminal and job.state is not JobState.RUNNING
