"""Limits of tags: a job holds what its properties ask for, besides what its policies name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from jobrunner.model import Job
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.tables import semaphores
from jobrunner.policies import Hold

TAG = "tag:"


def with_tags(job: Job, limited: frozenset[str]) -> Job:
    """The job as it holds what its properties ask for as well, where there is a limit of such a tag."""
    tags = {f"{TAG}{name}={_word(value)}" for name, value in job.properties.items()} & limited
    more = tags - {hold.name for hold in job.policies.holds}
    if not more:
        return job
    holds = (*job.policies.holds, *(Hold(name=name) for name in sorted(more)))
    return replace(job, policies=replace(job.policies, holds=holds))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def limited_tags(pipeline: Pipeline) -> frozenset[str]:
    """The limits of tags that somebody has set, or configured; one round trip."""
    return frozenset(row["name"] for row in pipeline.ask(_LIMITED_TAGS, {}))


_LIMITED_TAGS = Statement(
    sa.select(semaphores.c.name).where(
        semaphores.c.name >= TAG,
        semaphores.c.name < TAG[:-1] + ";",
        sa.or_(
            semaphores.c.count.is_not(None),
            semaphores.c.starts.is_not(None),
            semaphores.c.configured.is_not(None),
        ),
    )
)
