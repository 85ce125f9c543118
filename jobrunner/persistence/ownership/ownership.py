"""Who owns a job: handing back, cancelling, retrying. How it begins is in beginning.py, how it is left in settling.py.

Invariants:

- A job that is terminal stays so until a person retries it (an attempt that its policy has followed by another does
  not make it terminal); ``begin`` never returns one. Whoever ends a job that is
  not its own raises its epoch too, so that an owner that was thought dead finds that it has lost it.
- Every change is made under a lock on the job's row: row_locks.py says in which order.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobrunner import times
from jobrunner.errors import CorruptRow, LeaseLost, WrongState
from jobrunner.model import CancelMode, Job, JobError, JobState, flow_id
from jobrunner.persistence.flows import INJECTOR
from jobrunner.persistence.job_rows import event_row, job_from_row, preferred_again, state_of_row
from jobrunner.persistence.ownership.attempts import keep_attempt
from jobrunner.persistence.ownership.settling import (
    A_NEW_ATTEMPT,
    INSERT_EVENTS,
    Settled,
    Settlement,
    is_settled,
    set_columns,
    settle_rows,
)
from jobrunner.persistence.permits.ending import free_all
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import (
    LOCKED_ENDS,
    LOCKED_JOBS,
    lock_job,
    lock_rows,
)
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails, jobs

OFFERED_AT_ONCE = 500
"""Bounds how long the rows of jobs are locked that are offered since they are cancelled."""


def _names_held(job: Job) -> tuple[str, ...]:
    return tuple(hold.name for hold in job.policies.holds)


def hand_back(
    database: Database,
    job: Job,
    settlement: Settlement,
    *,
    keeps_permits: bool = False,
    patience: float = 10.0,
) -> None:
    """Leave a job whose flow was not started, under its epoch; raises LeaseLost if somebody else owns it by now.

    :param keeps_permits: what it holds stays its own, for an owner who is just about to take it over
    """

    def work(pipeline: Pipeline) -> None:
        rows = lock_rows(pipeline, [job.id], LOCKED_ENDS)
        if not rows or rows[0]["epoch"] != job.epoch:
            raise LeaseLost
        if not is_settled(rows[0]["state"], settlement):
            settled = Settled(
                job_id=job.id,
                epoch=job.epoch,
                attempt=job.attempt,
                owner=job.owner,
                settlement=settlement,
                row=rows[0],
                holds=() if keeps_permits else _names_held(job),
            )
            settle_rows(pipeline, [settled], times.now_ms())

    database.pipelined(work, patience=patience)


def hand_back_stopped(database: Database, job: Job, choose: Callable[[int], Settlement]) -> Settlement:
    """Leave a job that an error of our own stopped, which counts as a death; how it is left. Raises LeaseLost.

    :param choose: how, by the number of deaths with this one: an earlier owner may have taken its own back since
    """

    def work(pipeline: Pipeline) -> Settlement:
        row = next(iter(lock_rows(pipeline, [job.id], LOCKED_JOBS)), None)
        if row is None or row["epoch"] != job.epoch:
            raise LeaseLost
        if row["state"] != JobState.RUNNING.value:  # this replays a commit whose answer was lost
            return choose(row["deaths"])
        deaths = row["deaths"] + 1
        settlement = choose(deaths)
        settled = Settled(
            job_id=job.id,
            epoch=job.epoch,
            attempt=job.attempt,
            owner=job.owner,
            settlement=settlement,
            row=row,
            holds=_names_held(job),
        )
        set_columns(pipeline, [job.id], {"deaths": deaths})
        settle_rows(pipeline, [settled], times.now_ms())
        return settlement

    return database.pipelined(work)


def request_cancel(database: Database, job_id: str, mode: CancelMode) -> tuple[JobState, bool]:
    """Cancel a job that waits, now, or ask the owner of a running one to; its state after that, and if that changed it.

    A job whose flow is half done and that waits for its next owner is cancelled at once with KEEP; with REVERT its
    next owner undoes it, and it may be claimed at once for that, whatever it waits for. A wish to suspend it ends.
    Cancelling a cancelled job again is fine; raises WrongState if it ended otherwise, JobNotFound or CorruptRow.
    """

    def work(pipeline: Pipeline) -> tuple[JobState, bool]:
        row = lock_job(pipeline, job_id)
        return _request_cancels(pipeline, [(row, _state_to_cancel(row))], mode)[job_id]

    return database.pipelined(work)


def request_cancels(
    database: Database, job_ids: Sequence[str], mode: CancelMode
) -> dict[str, tuple[JobState, bool]]:
    """:func:`request_cancel` for many jobs in one transaction; those that ended otherwise are left out.

    Costs three round trips at most, however many there are.
    """

    def work(pipeline: Pipeline) -> dict[str, tuple[JobState, bool]]:
        found: list[tuple[Mapping[str, Any], JobState]] = []
        for row in lock_rows(pipeline, job_ids, LOCKED_JOBS):
            with contextlib.suppress(WrongState, CorruptRow):
                found.append((row, _state_to_cancel(row)))
        return _request_cancels(pipeline, found, mode)

    return database.pipelined(work)


def _state_to_cancel(row: Mapping[str, Any]) -> JobState:
    """The state of a job that is to be cancelled, or was; raises WrongState if it ended otherwise, or CorruptRow."""
    state = state_of_row(row)
    if state.is_terminal and state is not JobState.CANCELLED:
        raise WrongState(
            f"Job {row['id']} has ended already: {state}.", hint="There is nothing left to cancel."
        )
    return state


def _request_cancels(
    pipeline: Pipeline, found: Sequence[tuple[Mapping[str, Any], JobState]], mode: CancelMode
) -> dict[str, tuple[JobState, bool]]:
    """What :func:`request_cancel` answers for each of these jobs, by their rows, which are locked, and states."""
    done = {row["id"]: (state, False) for row, state in found}
    open_ = [(row, state) for row, state in found if state is not JobState.CANCELLED]
    waiting = [row for row, state in open_ if state is not JobState.RUNNING]
    half_done = set() if mode is CancelMode.KEEP else _half_done(pipeline, waiting)
    at_once = [row for row in waiting if row["id"] not in half_done]
    now_ms = times.now_ms()
    _cancel_now(pipeline, at_once, now_ms)
    done |= {row["id"]: (JobState.CANCELLED, True) for row in at_once}
    for row, state in open_:
        if not done[row["id"]][1]:
            _ask_owner(pipeline, row, state, mode, now_ms)
            done[row["id"]] = (state, True)
    return done


def _ask_owner(
    pipeline: Pipeline, row: Mapping[str, Any], state: JobState, mode: CancelMode, now_ms: int
) -> None:
    """Let the owner of a job cancel it: the one that it has, or the next one."""
    changed: dict[str, Any] = {"cancel": mode.value, "held": None, "updated_ms": now_ms}
    if state is not JobState.RUNNING:
        changed |= _offered_now(row, now_ms)
    set_columns(pipeline, [row["id"]], changed)
    asked = event_row(
        row["id"],
        "cancel_requested",
        at_ms=now_ms,
        epoch=changed.get("epoch", row["epoch"]),
        attempt=row["attempt"],
        data={"mode": mode.value},
    )
    pipeline.add(INSERT_EVENTS, [asked])


_LEFT_TO_WAIT = sa.and_(jobs.c.state == JobState.SUSPENDED.value, jobs.c.cancel.is_not(None))


def offer_cancelled(database: Database, job_ids: Sequence[str]) -> list[Job]:
    """Let those of these jobs be claimed that were left to wait though somebody asked to cancel them.

    Their owners were asked too late: when all that was left to do was to record that the job waits. They are to be
    offered now. One query, and a transaction if there are any. Fine to repeat.
    """
    query = sa.select(jobs.c.id).where(_LEFT_TO_WAIT, jobs.c.id.in_(list(job_ids)))
    with database.read() as connection:
        found = list(connection.execute(query).scalars())
    return database.pipelined(lambda pipeline: _offer_cancelled(pipeline, found)) if found else []


def offer_all_cancelled(database: Database) -> Iterator[list[Job]]:
    """The same for all jobs that wait for anything but an owner, OFFERED_AT_ONCE at a time, the oldest first."""
    waits = sa.or_(jobs.c.parked.is_not(None), jobs.c.available_ms > times.now_ms())
    query = sa.select(jobs.c.seq, jobs.c.id).where(_LEFT_TO_WAIT, waits).order_by(jobs.c.seq)
    after: int | None = 0
    while after is not None:
        with database.read() as connection:
            page = connection.execute(query.where(jobs.c.seq > after).limit(OFFERED_AT_ONCE)).all()
        ids = [row.id for row in page]
        if ids:
            yield database.pipelined(lambda pipeline, ids=ids: _offer_cancelled(pipeline, ids))  # type: ignore[misc]
        after = page[-1].seq if len(page) == OFFERED_AT_ONCE else None


def _offer_cancelled(pipeline: Pipeline, job_ids: Sequence[str]) -> list[Job]:
    now_ms = times.now_ms()
    offered: list[Job] = []
    for row in lock_rows(pipeline, job_ids, LOCKED_JOBS):
        if row["state"] != JobState.SUSPENDED.value or row["cancel"] is None:
            continue
        changed = _offered_now(row, now_ms)
        with contextlib.suppress(CorruptRow):  # it is reported by whoever reads the row next
            offered.append(job_from_row({**row, **changed}))
            if changed:
                set_columns(pipeline, [row["id"]], {**changed, "updated_ms": now_ms})
    return offered


def _offered_now(row: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """What makes a job that waits for anything but an owner wait for an owner only."""
    if row["parked"] is None and row["available_ms"] <= now_ms:
        return {}
    unparked = {"parked": None, "parked_before": None, "awaits": None, "note": None}
    return {**unparked, "epoch": row["epoch"] + 1, "available_ms": min(row["available_ms"], now_ms)}


def _cancel_now(pipeline: Pipeline, rows: Sequence[Mapping[str, Any]], now_ms: int) -> None:
    """End jobs that nobody runs; their epochs are raised, as whenever somebody ends a job that is not his own."""
    by_epoch: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        by_epoch[row["epoch"]].append(row["id"])
    for epoch, job_ids in by_epoch.items():
        set_columns(pipeline, job_ids, {"epoch": epoch + 1})
    settlement = Settlement(state=JobState.CANCELLED, error=JobError(kind="Cancelled", message="Cancelled."))
    settled = [
        Settled(
            job_id=row["id"],
            epoch=row["epoch"] + 1,
            attempt=row["attempt"],
            owner=None,
            settlement=settlement,
        )
        for row in rows
    ]
    settle_rows(pipeline, settled, now_ms)
    for row in rows:
        free_all(pipeline, row)


_FLOWS_BEGUN = Statement(
    sa.select(atomdetails.c.parent_uuid)
    .where(
        atomdetails.c.parent_uuid.in_(sa.bindparam("flow_ids", expanding=True)),
        atomdetails.c.name != INJECTOR,
        atomdetails.c.state.is_not(None),
        atomdetails.c.state.not_in(["PENDING", "IGNORE"]),
    )
    .distinct(),
    many="flow_ids",
)


def _half_done(pipeline: Pipeline, rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """The jobs of which an atom of the present attempt was ever started: only then is there something to undo."""
    flows = {flow_id(row["id"], row["attempt"]): row["id"] for row in rows if row["started_ms"] is not None}
    begun = pipeline.ask(_FLOWS_BEGUN, {"flow_ids": sorted(flows)}) if flows else []
    return {flows[row["parent_uuid"]] for row in begun}


Gate = Callable[[Pipeline, Mapping[str, Any]], Mapping[str, Any]]
"""Is asked about the row of a job that is to wait again: the columns that it wants otherwise."""


def retry(database: Database, job_id: str, *, gate: Gate | None = None) -> Job:
    """Make a job that ended badly wait again, as a new attempt with a flow of its own; how the last ended is kept.

    It is free of what it waited for, and was asked to do, before. Raises WrongState if it has not ended, or has
    succeeded, or if another job took its place meanwhile, or if the gate says so; JobNotFound or CorruptRow.
    """

    def work(pipeline: Pipeline) -> Job:
        row = lock_job(pipeline, job_id)
        _require_ended_badly(job_id, state_of_row(row))
        return begin_again(pipeline, row, {} if gate is None else gate(pipeline, row))

    try:
        return database.pipelined(work)
    except IntegrityError as error:  # of its key, which it had given up with its end
        raise WrongState(
            f"Job {job_id} cannot be retried now: another job like it waits or runs, and only one of them may.",
            hint="Wait for that one's end, or cancel it, and try again.",
        ) from error


def begin_again(pipeline: Pipeline, row: Mapping[str, Any], otherwise: Mapping[str, Any]) -> Job:
    """Let a job that has ended, whose row is locked, wait for a new attempt; ``otherwise`` are columns on top.

    Raises CorruptRow. Whoever commits it may get an IntegrityError: another job may have its unique key by now.
    """
    now_ms = times.now_ms()
    changed = {
        **A_NEW_ATTEMPT, "state": JobState.WAITING.value, "attempt": row["attempt"] + 1,
        "epoch": row["epoch"] + 1, "cancel": None, "held": None, "unique_key": row["unique_over"],
        "available_ms": now_ms, "updated_ms": now_ms, **preferred_again(row, now_ms), **otherwise,
    }  # fmt: skip
    job = job_from_row({**row, **changed})
    keep_attempt(pipeline, {**row, "finished_ms": row["finished_ms"] or now_ms})
    set_columns(pipeline, [job.id], changed)
    retried = event_row(job.id, "retried", at_ms=now_ms, epoch=job.epoch, attempt=job.attempt)
    pipeline.add(INSERT_EVENTS, [retried])
    free_all(pipeline, row)
    return job


def _require_ended_badly(job_id: str, state: JobState) -> None:
    if not state.is_terminal:
        raise WrongState(
            f"Job {job_id} has not ended: it is {state}.", hint="Cancel it first, or wait for it."
        )
    if state is JobState.SUCCEEDED:
        raise WrongState(
            f"Job {job_id} has succeeded, so there is nothing to retry.",
            hint="Post it again to have it done again.",
        )
