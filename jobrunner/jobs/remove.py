"""Removing jobs for good, with all that is recorded of them: one by name, or those that have ended long enough ago."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from jobrunner import times
from jobrunner.errors import JobNotFound, UsageError, WrongState
from jobrunner.jobs import change, look
from jobrunner.jobs.context import JobContext
from jobrunner.model import CancelMode, JobState
from jobrunner.persistence import removal, retention
from jobrunner.persistence.retention import Limit, Pruned

__all__ = ["Deleted", "Pruned", "delete", "prune"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """A job that is not there any more; ``existed`` is false if it was not there before."""

    job_id: str
    existed: bool


def delete(
    context: JobContext, given: str, *, cancel: CancelMode | None = None, timeout: float | None = None
) -> Deleted:
    """Remove the job whose id is, or starts with, ``given``, whatever its state; its key may then be used again.

    :param cancel: cancel a running job first, and wait for its end; without it WrongState is raised for one
    :param timeout: seconds for that; then WaitTimedOut is raised, and the job goes on being cancelled

    Nothing is undone but by ``cancel``. A complete id of which there is no job is fine. Raises JobNotFound or
    AmbiguousJobId for the start of one, and WrongState for a job that open jobs come after.
    """
    try:
        job_id = context.store.find_id(given)
    except JobNotFound:
        if not _is_complete(given):
            raise
        return Deleted(job_id=given.strip().lower(), existed=False)
    if cancel is not None and context.store.states([job_id]).get(job_id) is JobState.RUNNING:
        with contextlib.suppress(WrongState):  # it ended just now
            change.cancel(context, context.store.get(job_id), cancel)
        look.wait(context, [job_id], timeout=timeout)
    removed = removal.remove(context.database, [job_id])
    if removed.kept:
        raise WrongState(
            f"Job {job_id} is running, so it is not deleted.",
            hint="Cancel it with it: jobrunner delete --cancel",
        )
    if removed.needed:
        raise WrongState(
            f"Job {job_id} is not deleted: open jobs come after it.",
            hint="Delete or cancel those first; `jobrunner list --state blocked` shows them.",
        )
    change.withdraw(context, removed.ids)
    return Deleted(job_id=job_id, existed=bool(removed.ids))


def prune(
    context: JobContext,
    *,
    older_than: float | None = None,
    keep: int | None = None,
    states: Collection[JobState] = (),
    types: Collection[str] = (),
    dry_run: bool = False,
    go_on: Callable[[float], bool] | None = None,
) -> Iterator[Pruned]:
    """Remove finished jobs, or count them: what became of each state and type, as soon as it has.

    :param older_than: seconds; only jobs that ended longer ago
    :param keep: never the newest so many of each state and type
    :param go_on: called after each batch with the seconds for which it should pause; whether there is to be another

    With neither, what the configuration's ``[retention]`` says. Raises UsageError if that says nothing either.
    """
    now_ms = times.now_ms()
    section = context.config.retention
    given = older_than is not None or keep is not None
    if not given and not section.is_limited:
        raise UsageError(
            "It was not said which jobs are to go.",
            hint="Give --older-than 30d, --keep 1000 or both, or set limits in [retention] of the configuration.",
        )
    before = None if older_than is None else now_ms - int(older_than * 1000)
    said = [Limit(ended_before_ms=before, keep=keep or 0)]
    for kind in retention.kinds(context.database, states=states, types=types):
        limits = said if given else retention.limits_of(kind, section, now_ms)
        yield retention.prune(context.database, kind, limits, dry_run=dry_run, go_on=go_on)


def _is_complete(text: str) -> bool:
    try:
        return str(uuid.UUID(text.strip())) == text.strip().lower()
    except ValueError:
        return False
