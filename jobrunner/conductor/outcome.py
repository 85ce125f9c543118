"""How a flow's end becomes its job's: the words for people, and what the job provided."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable

from taskflow import exceptions as taskflow_errors
from taskflow import states
from taskflow.persistence import models
from taskflow.storage import Storage
from taskflow.types import failure as ft

from jobrunner.conductor.engine.engine import JobEngine
from jobrunner.errors import JobrunnerError, NotStorable
from jobrunner.model import CancelMode, Job, JobError, JobState, Json, Parked
from jobrunner.persistence.flows import META_KEY
from jobrunner.persistence.ownership.beginning import MAX_DEATHS
from jobrunner.persistence.ownership.settling import HELD_NOTE, Settlement, followed_up
from jobrunner.persistence.signals import awaits_of
from jobrunner.stopping import StopReason
from jobrunner.waits import Waiting

log = logging.getLogger(__name__)

LIMIT_MARGIN_MS = 20
"""So much after its time limit a waiting job is offered again, so that whoever gets it agrees that the time is over."""
META_UNDO = "undo"
"""Key in the flow's meta data (under META_KEY): at whose word ("cancel", "timeout") everything is undone."""


def undone_for(detail: models.FlowDetail) -> StopReason | None:
    """At whose word this flow undoes itself, if not by its own failure; remembered over owners."""
    reason = (detail.meta.get(META_KEY) or {}).get(META_UNDO)
    return reason if reason in ("cancel", "timeout") else None


def settlement_of_ended(job: Job, detail: models.FlowDetail) -> Settlement | None:
    """How a flow that is recorded as ended leaves its job; it is never run again.

    None if it has not ended, or has to be undone: a job whose end is not recorded can still be cancelled.
    """
    if detail.state == states.SUCCESS and job.cancel is not None:
        return stopped("cancel", job.cancel) if job.cancel is CancelMode.KEEP else None
    if detail.state == states.SUCCESS:
        tasks = (atom for atom in detail if isinstance(atom, models.TaskDetail))
        outputs = {task.name: task.results for task in tasks if task.name != Storage.injector_name}
        return Settlement(state=JobState.SUCCEEDED, result=outputs)
    if detail.state not in (states.REVERTED, states.FAILURE):
        return None
    found = next(((atom.name, atom.failure) for atom in detail if atom.failure is not None), None)
    if detail.state == states.REVERTED:
        return reverted(job, detail, _from_failure(*found) if found else None)
    return failed(_from_failure(*found) if found else None)


def succeeded(job: Job, engine: JobEngine, detail: models.FlowDetail) -> Settlement:
    """The flow succeeded; what its atoms provided, by name, without what went in, is the job's result."""
    went_in = next((atom.results for atom in detail if atom.name == Storage.injector_name), None) or {}
    try:
        found = engine.storage.fetch_all()
    except Exception:
        log.exception("job %s: its result cannot be gathered; its atoms have theirs", job.id)
        found = {}
    result: Json = {name: value for name, value in found.items() if name not in went_in}
    return Settlement(state=JobState.SUCCEEDED, result=result or None)


def failed(error: JobError | None) -> Settlement:
    """The flow failed, and not everything could be undone."""
    return Settlement(
        state=JobState.FAILED, error=error or JobError(kind="Failure", message="The flow failed.")
    )


def reverted(job: Job, detail: models.FlowDetail, error: JobError | None) -> Settlement:
    """The flow undid what it did: at somebody's word, or since an atom failed.

    If that was below a retry that gave up, TaskFlow keeps what was done outside of it: then the job has FAILED.
    """
    asked = undone_for(detail)
    if asked == "timeout":
        limit = "the time it was given" if job.timeout is None else f"its {job.timeout:g} s"
        message = f"It took longer than {limit}; what was done was undone."
        return Settlement(state=JobState.TIMED_OUT, error=JobError(kind="TimedOut", message=message))
    if asked == "cancel":
        return Settlement(state=JobState.CANCELLED, error=_cancelled("Cancelled; what was done was undone."))
    if any(atom.state == states.SUCCESS and atom.name != Storage.injector_name for atom in detail):
        return failed(error)
    return Settlement(
        state=JobState.REVERTED, error=error or JobError(kind="Reverted", message="It was reverted.")
    )


def stopped(asked: StopReason | None, mode: CancelMode) -> Settlement:
    """The flow stopped at an atom border."""
    if asked == "cancel" and mode is CancelMode.KEEP:
        return Settlement(state=JobState.CANCELLED, error=_cancelled("Cancelled; what was done was kept."))
    if asked == "hold":
        return Settlement(state=JobState.SUSPENDED, parked=Parked.HELD, note=HELD_NOTE)
    return Settlement(state=JobState.SUSPENDED)


def waiting(job: Job, waits: Iterable[Waiting]) -> Settlement:
    """Everything that is left of the flow waits for the outside world: its job is offered again when that comes.

    At its first time, or at a signal; when the time limit of the job is over, it is offered to be undone.
    """
    found = list(waits)
    times = [wait.until_ms for wait in found if wait.until_ms is not None]
    if job.timeout is not None and job.started_ms is not None:
        times.append(job.started_ms + round(job.timeout * 1000) + LIMIT_MARGIN_MS)
    awaits = awaits_of([wait.signal for wait in found if wait.signal is not None])
    if times:
        return Settlement(state=JobState.SUSPENDED, awaits=awaits, available_ms=min(times))
    return Settlement(state=JobState.SUSPENDED, awaits=awaits, parked=Parked.SIGNAL)


def stopped_by_us(job: Job, error: BaseException, deaths: int, *, again_s: float) -> Settlement:
    """How a job is left that an error of our own stopped: it is tried again, but not for ever.

    :param deaths: so many owners have come to grief with it, this one included
    """
    what = f"An internal error of jobrunner's stopped it on node {job.node}: {in_words(error)}"
    if deaths < MAX_DEATHS:
        note = f"{what} It goes on in {again_s:g} s from what is recorded; the conductor's log tells more."
        return Settlement(state=JobState.SUSPENDED, note=note)
    message = (
        f"{what} That, or the death of its process, has come {MAX_DEATHS} times, so it is set aside; what it had done "
        "was kept. `jobrunner retry` runs it again."
    )
    error_of_ours = JobError(kind="InternalError", message=message, traceback=traceback_of(error))
    return followed_up(job, Settlement(state=JobState.FAILED, error=error_of_ours))


def not_recorded(job: Job, error: NotStorable) -> Settlement:
    """How a job is left whose progress holds what this database never takes: to run it again would not help."""
    remedy = f" {error.hint}" if error.hint else ""
    message = (
        f"What it did cannot be recorded: {error.sentence}{remedy} What it had done was kept. "
        "`jobrunner retry` runs it again."
    )
    found = JobError(kind=type(error).__name__, message=message)
    return followed_up(job, Settlement(state=JobState.FAILED, error=found))


def job_error(engine: JobEngine, problem: Exception) -> JobError:
    """What went wrong first, as the flow recorded it; else what the engine raised."""
    executing = [_from_failure(name, found) for name, found in engine.failures().items()]
    reverting = [_from_failure(name, found) for name, found in engine.storage.get_revert_failures().items()]
    if reverting:
        return _while_undoing(reverting[0], executing[0] if executing else None)
    if executing:
        return executing[0]
    if isinstance(problem, taskflow_errors.WrappedFailure):
        return _from_failure(None, next(iter(problem)))
    return JobError(kind=type(problem).__name__, message=in_words(problem), traceback=traceback_of(problem))


def in_words(error: BaseException) -> str:
    """The error as people should read it."""
    if isinstance(error, JobrunnerError):
        return error.message
    return f"{type(error).__name__}: {error}"


def traceback_of(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__))


def _while_undoing(revert: JobError, first: JobError | None) -> JobError:
    after = "" if first is None else f" It was undone since {first.atom} had failed: {first.message}"
    message = f"The revert of {revert.atom} failed: {revert.message}{after}"
    return JobError(kind=revert.kind, message=message, atom=revert.atom, traceback=revert.traceback)


def _from_failure(atom: str | None, found: ft.Failure) -> JobError:
    names = list(found)
    kind = names[0].rpartition(".")[2] if names else "Error"
    return JobError(kind=kind, message=found.exception_str, atom=atom, traceback=found.traceback_str)


def _cancelled(message: str) -> JobError:
    return JobError(kind="Cancelled", message=message)
