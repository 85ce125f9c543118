"""Why jobs have not ended yet, for somebody who waits for them and would like to know."""

from __future__ import annotations

from collections.abc import Sequence

from jobrunner import times
from jobrunner.jobs.context import JobContext
from jobrunner.model import Job, JobState
from jobrunner.persistence.nodes import list_nodes

NOBODY = "No conductor is running: `jobrunner run` starts one."


def reasons(context: JobContext, job_ids: Sequence[str]) -> dict[str, str]:
    """By job, what is known of why it waits; nothing of those that run or have ended. Costs two queries."""
    jobs = [job for job in context.store.get_many(job_ids).values() if _waits(job)]
    if not jobs:
        return {}
    now_ms = times.now_ms()
    nobody = not any(node.is_alive(now_ms) for node in list_nodes(context.database))
    given = {
        job.id: job.note or (NOBODY if nobody and job.state is JobState.WAITING else None) for job in jobs
    }
    return {job_id: reason for job_id, reason in given.items() if reason is not None}


def _waits(job: Job) -> bool:
    return not job.state.is_terminal and job.state is not JobState.RUNNING
