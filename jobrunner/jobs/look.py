"""Looking at jobs: one, many, their atoms, their output, and waiting for their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from jobrunner.errors import CorruptRow, JobNotFound, WaitTimedOut
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.pace import Pace
from jobrunner.model import AtomRecord, AttemptRecord, Job, JobState, When
from jobrunner.persistence import flows, nodes, output
from jobrunner.persistence.chains import links
from jobrunner.persistence.chains.links import Link
from jobrunner.persistence.nodes import Node
from jobrunner.persistence.output import OutputChunk
from jobrunner.persistence.ownership.attempts import read_attempts
from jobrunner.persistence.store import LOOKUP_BATCH, JobFilter

__all__ = [
    "AtomRecord",
    "AttemptRecord",
    "Job",
    "JobFilter",
    "Link",
    "Node",
    "OutputChunk",
    "at_attempt",
    "atoms",
    "attempts",
    "comes_after",
    "comes_before",
    "counts",
    "find",
    "history",
    "nodes_known",
    "page",
    "read_output",
    "running_by_node",
    "wait",
]

PAUSE_S = 3.0


def find(context: JobContext, prefix: str) -> Job:
    """The one job whose id starts with ``prefix``; raises JobNotFound, AmbiguousJobId or CorruptRow."""
    return context.store.find(prefix)


def page(
    context: JobContext, wanted: JobFilter | None = None, *, limit: int = 50, before: int | None = None
) -> tuple[list[Job], int | None, list[CorruptRow]]:
    """A page of jobs, newest first, with the mark of the next page and the rows that cannot be read."""
    return context.store.page(wanted or JobFilter(), limit=limit, before=before)


def counts(context: JobContext) -> dict[JobState, int]:
    """How many jobs are in each open state."""
    return context.store.counts()


def atoms(context: JobContext, jobs: Sequence[Job]) -> dict[str, list[AtomRecord]]:
    """The atoms of the jobs' present attempts, by job id, in the order of their flows."""
    return flows.atoms_of(context.database, jobs)


def attempts(context: JobContext, job: Job) -> list[AttemptRecord]:
    """How the job's attempts before the present one ended, oldest first; no query for a job in its first one."""
    return read_attempts(context.database, job.id) if job.attempt > 1 else []


def at_attempt(context: JobContext, job: Job, attempt: int) -> Job:
    """The job as it was when this attempt ended: for its atoms, its output, its error. Raises JobNotFound."""
    if attempt == job.attempt:
        return job
    found = next((one for one in attempts(context, job) if one.attempt == attempt), None)
    if found is None:
        there = "It has had one only" if job.attempt == 1 else f"It has had {job.attempt}, counted from 1"
        raise JobNotFound(
            f"Job {job.id} has no attempt {attempt} that was kept.",
            hint=f"{there}.",
        )
    return replace(
        job, attempt=found.attempt, state=found.state, node=found.node, started_ms=found.started_ms,
        finished_ms=found.finished_ms, result=found.result, error=found.error, owner=None, note=None, deaths=0,
        cancel=None, parked=None, awaits=None, held=False, adopted=False,
        misfits=0,
    )  # fmt: skip


def history(context: JobContext, job: Job) -> list[dict[str, Any]]:
    """What happened to the job, oldest first."""
    return context.store.history(job.id)


def comes_after(context: JobContext, job: Job) -> list[Link]:
    """The jobs that come before this one, with how they stand."""
    return links.links_of(context.database, [job.id]).get(job.id, [])


def comes_before(context: JobContext, job: Job) -> list[tuple[str, When, str, str]]:
    """Jobs that come after this one: id, condition, type and state of the first hundred."""
    return links.links_after(context.database, job.id)


def nodes_known(context: JobContext) -> list[Node]:
    """The nodes that have ever run a conductor."""
    return nodes.list_nodes(context.database)


def running_by_node(context: JobContext) -> dict[str, int]:
    """How many jobs run on each node, by the jobs' own rows."""
    return context.store.running_by_node()


def wait(
    context: JobContext,
    job_ids: Sequence[str],
    *,
    timeout: float | None = None,
    on_end: Callable[[Job], None] | None = None,
    on_pause: Callable[[Sequence[str]], None] | None = None,
) -> list[Job]:
    """Wait until all the jobs have ended; the jobs as they ended, in the order asked for.

    The end of an attempt that another follows by itself is not the job's.

    :param timeout: seconds; raises WaitTimedOut, naming those that are not finished, when they have passed
    :param on_end: called once for each job when it is seen to have ended
    :param on_pause: called now and then, at first after some seconds, with the ids of those that are not finished
    """
    told_at = time.monotonic()
    pace = Pace(timeout)
    ended: dict[str, Job] = {}
    while True:
        missing = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in ended]
        states = context.store.states(missing)
        for job_id in set(missing) - set(states):
            context.store.get(job_id)  # says what is wrong with it: no such job, or a row that cannot be read
        finished = [job_id for job_id, state in states.items() if state.is_terminal]
        for job in _in_pages(context, finished):
            ended[job.id] = job
            if on_end is not None:
                on_end(job)
        missing = [job_id for job_id in missing if job_id not in ended]
        if not missing:
            return [ended[job_id] for job_id in job_ids]
        if pace.is_over:
            raise WaitTimedOut(f"Not finished after {timeout:g} s: {', '.join(missing)}.")
        if on_pause is not None and time.monotonic() - told_at > PAUSE_S:
            on_pause(missing)
            told_at = time.monotonic()
        if finished:
            pace.quicken()
        pace.rest()


def _in_pages(context: JobContext, job_ids: Sequence[str]) -> Iterator[Job]:
    """These jobs, in this order; raises JobNotFound or CorruptRow when it comes to one that is not to be had."""
    for start in range(0, len(job_ids), LOOKUP_BATCH):
        page = job_ids[start : start + LOOKUP_BATCH]
        found = context.store.get_many(page)
        for job_id in page:
            yield found[job_id] if job_id in found else context.store.get(job_id)


def read_output(
    context: JobContext, job: Job, *, after: int = 0, attempt: int | None = None
) -> Iterator[OutputChunk]:
    """What the job's tasks printed and logged so far, in order."""
    return output.read_output(context.database, job.id, after=after, attempt=attempt)
