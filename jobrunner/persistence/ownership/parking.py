"""Taking a job that nobody runs off the board for a person: how it is left, whoever does it.

Two do: ``suspend``, for a job that nobody runs, and the next claim of one whose owner was asked to stop and died before
it did. (An owner that does as it is asked settles its job so by itself; see settling.py.)
"""

from __future__ import annotations

from typing import Any

from jobrunner.model import Job, JobState, Parked
from jobrunner.persistence.job_rows import event_row
from jobrunner.persistence.ownership.settling import HELD_NOTE, INSERT_EVENTS, set_columns
from jobrunner.persistence.permits.ending import free_job
from jobrunner.persistence.pipelines.pipeline import Pipeline


def park_held(pipeline: Pipeline, job: Job, now_ms: int, *, epoch: int) -> dict[str, Any]:
    """Suspend a job whose row is locked, until a person resumes it; the columns that this changed.

    :param epoch: a higher one than its own: who owned it last may be about to repeat a commit whose answer it never got
    """
    before = job.parked if job.parked is not Parked.HELD else job.parked_before
    changed = {
        "state": JobState.SUSPENDED.value,
        "parked": Parked.HELD.value,
        "parked_before": None if before is None else before.value,
        "held": 1,
        "owner": None,
        "deaths": job.deaths,
        "epoch": epoch,
        "note": HELD_NOTE,
        "updated_ms": now_ms,
    }
    set_columns(pipeline, [job.id], changed)
    suspended = event_row(job.id, "suspended", at_ms=now_ms, epoch=epoch, attempt=job.attempt)
    pipeline.add(INSERT_EVENTS, [suspended])
    free_job(pipeline, job)
    return changed
