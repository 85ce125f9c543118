"""Suspending jobs until a person resumes them.

What is wished stands in ``held``, what is so in ``parked``; whoever writes either has the job's row locked:

- A job that nobody runs is parked at once. One that runs gets the wish only: its owner hears of it within half a
  second, stops at the next atom border, and parks the job as it settles it, if that is still wished then. If the owner
  dies before, the next claim parks it.
- A job is parked, and not only said to be: ``begin`` never starts one that is, whatever the board offers.
- Resuming takes back the wish and what came of it, in one transaction. What the job was parked for before (other jobs,
  a signal) it is parked for again: whether that is over by now is for those to say who let such jobs go.
- A person's word to cancel comes before one to suspend: it ends the wish, and a job that is being cancelled takes none.
"""

from __future__ import annotations

from typing import Any

from jobrunner import times
from jobrunner.errors import WrongState
from jobrunner.model import Job, JobState, Parked
from jobrunner.persistence.job_rows import event_row, job_from_row
from jobrunner.persistence.ownership.parking import park_held
from jobrunner.persistence.ownership.settling import INSERT_EVENTS, set_columns
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.row_locks import lock_job
from jobrunner.persistence.server.database import Database


def suspend(database: Database, job_id: str) -> tuple[Job, bool]:
    """Suspend a job that nobody runs, now, or ask the owner of a running one to; the job after that, and if it changed.

    Suspending a job twice is fine. Raises WrongState if it has ended or is being cancelled, JobNotFound or CorruptRow.
    """
    return database.pipelined(lambda pipeline: _suspend(pipeline, job_id))


def resume(database: Database, job_id: str) -> tuple[Job, bool]:
    """Let a suspended job go on, or take the wish back; the job after that, and whether that changed it.

    Resuming one that is not suspended changes nothing. Raises WrongState if it has ended, JobNotFound or CorruptRow.
    """
    return database.pipelined(lambda pipeline: _resume(pipeline, job_id))


def _suspend(pipeline: Pipeline, job_id: str) -> tuple[Job, bool]:
    row = lock_job(pipeline, job_id)
    job = job_from_row(row)
    _require_open(job, "to suspend")
    if job.cancel is not None:
        raise WrongState(
            f"Job {job_id} is being cancelled, so it cannot be suspended.",
            hint="`jobrunner wait` waits for its end; `jobrunner retry` then runs it again.",
        )
    if job.held and (job.parked is Parked.HELD or job.state is JobState.RUNNING):
        return job, False
    now_ms = times.now_ms()
    if job.state is JobState.RUNNING:
        changed: dict[str, Any] = {"held": 1, "updated_ms": now_ms}
        _change(pipeline, job, changed, "suspend_requested")
    else:
        changed = park_held(pipeline, job, now_ms, epoch=job.epoch + 1)
    return job_from_row({**row, **changed}), True


def _resume(pipeline: Pipeline, job_id: str) -> tuple[Job, bool]:
    row = lock_job(pipeline, job_id)
    job = job_from_row(row)
    _require_open(job, "to resume")
    if not job.held and job.parked is not Parked.HELD:
        return job, False
    now_ms = times.now_ms()
    changed: dict[str, Any] = {"held": None, "updated_ms": now_ms}
    if job.state is not JobState.RUNNING:
        before = job.parked_before
        changed |= {
            "state": _state_after(job, now_ms).value,
            "parked": None if before is None else before.value,
            "parked_before": None,
            "note": None,
            "epoch": job.epoch + 1,
        }
    _change(pipeline, job, changed, "resumed")
    return job_from_row({**row, **changed}), True


def _state_after(job: Job, now_ms: int) -> JobState:
    if job.parked_before is Parked.AFTER:
        return JobState.BLOCKED
    if job.parked_before is Parked.SIGNAL:
        return JobState.SUSPENDED
    return JobState.SCHEDULED if job.available_ms > now_ms else JobState.WAITING


def _require_open(job: Job, what: str) -> None:
    if job.state.is_terminal:
        raise WrongState(
            f"Job {job.id} has ended already: {job.state}.", hint=f"There is nothing left {what}."
        )


def _change(pipeline: Pipeline, job: Job, changed: dict[str, Any], kind: str) -> None:
    set_columns(pipeline, [job.id], changed)
    epoch = changed.get("epoch", job.epoch)
    event = event_row(job.id, kind, at_ms=changed["updated_ms"], epoch=epoch, attempt=job.attempt)
    pipeline.add(INSERT_EVENTS, [event])
