"""Ending the permits of jobs that are left, and their waiting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from jobrunner.model import Job
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.tables import permits


def free(pipeline: Pipeline, held: Mapping[str, Iterable[str]]) -> None:
    """End the permits of jobs, whose rows are locked, for these semaphores; no round trip of its own."""
    pipeline.add(
        FREE,
        [{"key": job_id, "name": name} for job_id in sorted(held) for name in sorted(held[job_id])],
    )


def free_all(pipeline: Pipeline, row: Mapping[str, Any]) -> None:
    """End whatever permits and waiting there may be of a job, by its row, which is locked."""
    if may_hold(row):
        pipeline.add(_FREE_ALL, [{"key": row["id"]}])


def free_job(pipeline: Pipeline, job: Job) -> None:
    """The same for a job that was read."""
    if job.policies.holds or job.properties:
        pipeline.add(_FREE_ALL, [{"key": job.id}])


def may_hold(row: Any) -> bool:
    """Whether a job may hold, or wait for, something: by its policies, or by a tag."""
    return row["policies"] is not None or row["properties"] != "{}"


FREE = Statement(
    permits.delete().where(
        permits.c.job_id == sa.bindparam("key"), permits.c.semaphore == sa.bindparam("name")
    )
)
_FREE_ALL = Statement(permits.delete().where(permits.c.job_id == sa.bindparam("key")))
