"""Who owns a job: claims, cancelling, retrying. How an owner leaves its job is in settling.py.

Invariants:

- A claim counts only once ``begin`` has raised the job's epoch here. The epoch is compared, under a lock on the row,
  by every later write of that owner; whoever began last is the only one who can record anything.
- A job that is terminal stays so until a person retries it (an attempt that its policy has followed by another does
  not make it terminal); ``begin`` never returns one. Whoever ends a job that is
  not its own raises its epoch too, so that an owner that was thought dead finds that it has lost it.
- Rows are locked in the order of their ids, and those of semaphores after them, in the order of their names, so that
  two transactions over the same jobs cannot dead-lock.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobrunner.errors import CorruptRow, JobNotFound, LeaseLost, WrongState
from jobrunner.model import CancelMode, Job, JobError, JobState, flow_id
from jobrunner.persistence.attempts import keep_attempt
from jobrunner.persistence.database import Database
from jobrunner.persistence.flows import INJECTOR
from jobrunner.persistence.job_rows import event_row, job_from_row, preferred_again, state_of_row
from jobrunner.persistence.parking import park_held
from jobrunner.persistence.permits import Refused, ask, free_all, free_job, limited_tags, with_tags
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.settling import (
    A_NEW_ATTEMPT,
    INSERT_EVENTS,
    Settled,
    Settlement,
    is_settled,
    set_columns,
    settle_rows,
)
from jobrunner.persistence.tables import atomdetails, jobs

T = TypeVar("T")

__all__ = [
    "MAX_DEATHS",
    "Begun",
    "Settlement",
    "TagLimits",
    "begin",
    "hand_back",
    "lock_job",
    "lock_rows",
    "request_cancel",
    "request_cancels",
    "retry",
]

MAX_DEATHS = 5
"""So many owners may die with one job in one attempt; the next claim sets it aside."""
EARLY_MS = 2_000
"""A job that is claimed so long before its time goes back: the board lost its delay. Clocks differ by less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """What became of a batch of claims."""

    started: list[Job] = field(default_factory=list)
    fresh: set[str] = field(default_factory=set)
    """Those of ``started`` that nobody began before in their attempt: nothing is recorded of their flows."""
    finished: list[str] = field(default_factory=list)
    """Terminal already: to be taken off the board."""
    parked: list[str] = field(default_factory=list)
    """Open, but not to be run as they are: to be taken off the board."""
    apart: list[Job] = field(default_factory=list)
    """As they were, untouched: they want processes of their own, which begin them."""
    unknown: list[str] = field(default_factory=list)
    """Not in the store at all: to be taken off the board."""
    corrupt: list[str] = field(default_factory=list)
    """Their rows cannot be read: to be handed back with a delay."""
    early: dict[str, float] = field(default_factory=dict)
    """Their time has not come: to be handed back with delays of so many seconds."""
    set_aside: list[Job] = field(default_factory=list)
    """Those of ``finished`` that were ended here."""
    held: list[Job] = field(default_factory=list)
    """Those of ``parked`` that were parked here: their owners died before they could suspend them."""
    refused: list[Refused] = field(default_factory=list)
    """They wait for a semaphore: to be handed back with a delay of their own."""


class TagLimits:
    """The limits of tags, as somebody has set them some seconds ago at most; for one thread."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._read_at = 0.0

    def known(self, pipeline: Pipeline) -> frozenset[str]:
        if time.monotonic() - self._read_at > TAG_LIMITS_S:
            self._known = limited_tags(pipeline)
            self._read_at = time.monotonic()
        return self._known


TAG_LIMITS_S = 3.0


def locking(query: sa.Select[Any]) -> Statement:
    """``query`` for the jobs whose ids are given as ``job_ids``, with its rows locked in the order of their ids.

    MySQL locks rows as it reads them, in the order of the index that it reads: the index is named, since for a small
    table it would read (and wait for) all rows. SQLite has locked everything at BEGIN.
    """
    given = jobs.c.id.in_(sa.bindparam("job_ids", expanding=True))
    locked = query.where(given).order_by(jobs.c.id).with_for_update()
    return Statement(locked.with_hint(jobs, "FORCE INDEX (id)", "mysql"), many="job_ids")


LOCKED_JOBS = locking(sa.select(jobs))
_NOT_READ: dict[str, None] = dict.fromkeys(("finished_ms", "idempotency_key", "unique_key", "parked_before"))
"""What tells nothing of a job that is about to run, or has ended: reading it would cost more than deciding."""
LOCKED_TO_BEGIN = locking(sa.select(*(column for column in jobs.c if column.name not in _NOT_READ)))
LOCKED_EPOCHS = locking(sa.select(jobs.c.id, jobs.c.epoch, jobs.c.state))
LOCKED_ENDS = locking(
    sa.select(
        jobs.c.id, jobs.c.epoch, jobs.c.state, jobs.c.cancel, jobs.c.held, jobs.c.node, jobs.c.started_ms
    )
)
"""What it takes to follow up an attempt with another."""

_HELD = sa.and_(
    sa.func.concat(jobs.c.id, ":", jobs.c.epoch).in_(sa.bindparam("held", expanding=True)),
    jobs.c.state == JobState.RUNNING.value,
)
RELY_ON_EPOCHS = Statement(
    sa.select(
        sa.func.IF(
            sa.func.sum(_HELD, type_=sa.Integer) == sa.bindparam("number", type_=sa.Integer),
            1,
            sa.func.exp(1000 + sa.func.count()),
        )
    )
    .select_from(jobs)
    .where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True)))
    .with_for_update()
    .with_hint(jobs, "FORCE INDEX (id)", "mysql"),
    many=("job_ids", "held"),
)
"""Locks jobs' rows as LOCKED_EPOCHS does, and fails unless all of them run in the epochs that are ``held``, each as
``id:epoch``; for ``Pipeline.rely``. That they are locked is what makes the comparison count."""

_RAISE = Statement(
    jobs.update()
    .where(jobs.c.seq.in_(sa.bindparam("seqs", expanding=True)))
    .values(
        epoch=jobs.c.epoch + 1,
        state=JobState.RUNNING.value,
        owner=sa.bindparam("new_owner"),
        node=sa.bindparam("new_node"),
        note=None,
        awaits=None,
        deaths=sa.bindparam("new_deaths"),
        updated_ms=sa.bindparam("now_ms"),
        started_ms=sa.func.coalesce(jobs.c.started_ms, sa.bindparam("now_ms", type_=sa.BigInteger)),
    ),
    many="seqs",
)


class Writes(Protocol):
    """What runs write transactions: a Database, or a Link for one thread."""

    def pipelined(self, work: Callable[[Pipeline], T], *, patience: float = 10.0) -> T: ...


def begin(
    writes: Writes,
    job_ids: Sequence[str],
    *,
    owner: str,
    node: str,
    tags: TagLimits | None = None,
    patience: float = 10.0,
    threads_only: bool = False,
) -> Begun:
    """Raise the epoch of claimed jobs and make ``owner`` theirs: one transaction of two round trips for any batch.

    The jobs come back as they are after that; ``started_ms`` of a job's first owner in its attempt is now. A job that
    killed MAX_DEATHS owners is set aside as FAILED here, one that nobody started in time ends as EXPIRED; both count as
    finished. One that holds semaphores begins if it gets them; what that costs is told in permits.py.

    :param tags: what is known of the limits of tags, kept from one batch to the next
    :param threads_only: leave jobs alone that want processes of their own
    """
    tags = tags or TagLimits()
    return writes.pipelined(
        lambda pipeline: _begin(
            pipeline,
            job_ids,
            owner=owner,
            node=node,
            tags=tags,
            now_ms=_now_ms(),
            threads_only=threads_only,
        ),
        patience=patience,
    )


def _begin(
    pipeline: Pipeline,
    job_ids: Sequence[str],
    *,
    owner: str,
    node: str,
    tags: TagLimits,
    now_ms: int,
    threads_only: bool,
) -> Begun:
    rows = [{**_NOT_READ, **row} for row in lock_rows(pipeline, job_ids, LOCKED_TO_BEGIN)]
    begun = Begun()
    begun.unknown.extend(sorted(set(job_ids) - {row["id"] for row in rows}))
    sorted_in = (_sorted_in(begun, row, owner, node, now_ms, threads_only) for row in rows)
    ended = [end for end in sorted_in if end is not None]
    _ask_for_permits(pipeline, begun, rows, tags, now_ms)
    _raise_epochs(pipeline, begun.started, owner=owner, node=node, now_ms=now_ms)
    end_unstarted(pipeline, ended, now_ms)
    begun.set_aside.extend(job for job, _ in ended)
    for job in begun.held:
        park_held(pipeline, job, now_ms, epoch=job.epoch)
    return begun


def _sorted_in(
    begun: Begun, row: Any, owner: str, node: str, now_ms: int, threads_only: bool
) -> tuple[Job, Settlement] | None:
    """Put a row where it belongs in ``begun``; the job, with how it ends, if it is not to be started any more."""
    try:
        job = job_from_row(row)
    except CorruptRow:
        begun.corrupt.append(row["id"])
        return None
    if job.state.is_terminal:
        begun.finished.append(job.id)
        return None
    if is_expired(job, now_ms):
        begun.finished.append(job.id)
        return replace(job, epoch=job.epoch + 1), expired(job)
    if job.parked is not None:
        begun.parked.append(job.id)
        return None
    if job.state is JobState.SCHEDULED and job.available_ms > now_ms + EARLY_MS:
        begun.early[job.id] = (job.available_ms - now_ms) / 1000
        return None
    # Who claims a job that it owns by the record is alive: its own claim's answer was lost, or it could not settle.
    died = job.state is JobState.RUNNING and job.owner is not None and job.owner != owner
    taken = replace(
        job, epoch=job.epoch + 1, state=JobState.RUNNING, owner=owner, node=node, note=None,
        awaits=None, deaths=job.deaths + died, updated_ms=now_ms, started_ms=job.started_ms or now_ms,
    )  # fmt: skip
    if taken.deaths >= MAX_DEATHS:
        begun.finished.append(job.id)
        return taken, Settlement(state=JobState.FAILED, error=_owners_died(taken.deaths))
    if job.held and job.cancel is None:
        begun.parked.append(job.id)
        begun.held.append(taken)
        return None
    if threads_only and job.policies.run is not None and job.policies.run.own_process:
        begun.apart.append(job)
        return None
    begun.started.append(taken)
    if job.started_ms is None:
        begun.fresh.add(job.id)
    return None


def is_expired(job: Job, now_ms: int) -> bool:
    """Whether a job is too old to be started: nobody ever started it, and nobody retried it by hand since."""
    return (
        job.expires_ms is not None
        and job.expires_ms <= now_ms
        and job.attempt == 1
        and job.started_ms is None
        and not job.state.is_terminal
    )


def expired(job: Job) -> Settlement:
    """How a job ends that nobody started in time; what it waited for last is said with it."""
    latest = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime((job.expires_ms or 0) / 1000))
    waited = f" What it waited for: {job.note}" if job.note else ""
    message = (
        f"Nobody had started it by {latest}, when it expired.{waited} `jobrunner retry` runs it all the same."
    )
    return Settlement(state=JobState.EXPIRED, error=JobError(kind="Expired", message=message))


def _ask_for_permits(
    pipeline: Pipeline, begun: Begun, rows: Sequence[Mapping[str, Any]], tags: TagLimits, now_ms: int
) -> None:
    """Leave in ``begun.started`` the jobs that need no semaphore, or have theirs."""
    if any(job.properties for job in begun.started):
        limited = tags.known(pipeline)
        begun.started[:] = [with_tags(job, limited) for job in begun.started]
    asking = [job for job in begun.started if job.policies.holds]
    if not asking:
        return
    answers = ask(pipeline, asking)
    refused = list(answers.refused.values())
    begun.refused.extend(refused)
    begun.started[:] = [job for job in begun.started if job.id not in answers.refused]
    begun.fresh.difference_update(answers.refused)
    _note_refusals(pipeline, refused, {row["id"]: row for row in rows}, now_ms)


def _note_refusals(
    pipeline: Pipeline, refused: Sequence[Refused], rows: Mapping[str, Mapping[str, Any]], now_ms: int
) -> None:
    """Say why the jobs wait. One whose owner died without a permit for it has no owner any more."""
    notes: dict[str, list[str]] = defaultdict(list)
    for one in refused:
        before = rows[one.job.id]
        if before["state"] == JobState.RUNNING.value:
            _take_from_dead(pipeline, one, now_ms)
        elif before["note"] != one.note:
            notes[one.note].append(one.job.id)
    for note, job_ids in notes.items():
        set_columns(pipeline, job_ids, {"note": note, "updated_ms": now_ms})


def _take_from_dead(pipeline: Pipeline, refused: Refused, now_ms: int) -> None:
    job = refused.job
    columns = {"state": JobState.SUSPENDED.value, "owner": None, "epoch": job.epoch, "deaths": job.deaths}
    set_columns(pipeline, [job.id], {**columns, "note": refused.note, "updated_ms": now_ms})
    suspended = event_row(job.id, "suspended", at_ms=now_ms, epoch=job.epoch, attempt=job.attempt)
    pipeline.add(INSERT_EVENTS, [suspended])


def _raise_epochs(pipeline: Pipeline, started: Sequence[Job], *, owner: str, node: str, now_ms: int) -> None:
    for deaths, seqs in _by_deaths(started).items():
        said = {"new_owner": owner, "new_node": node, "new_deaths": deaths, "now_ms": now_ms}
        pipeline.add(_RAISE, [{"seqs": seqs, **said}])
    claimed = [
        event_row(job.id, "claimed", at_ms=now_ms, epoch=job.epoch, attempt=job.attempt, owner=owner)
        for job in started
    ]
    pipeline.add(INSERT_EVENTS, claimed)


def end_unstarted(pipeline: Pipeline, ends: Sequence[tuple[Job, Settlement]], now_ms: int) -> None:
    """End jobs, whose rows are locked, that are not started any more, under the epochs that they have here."""
    for job, _ in ends:
        set_columns(pipeline, [job.id], {"epoch": job.epoch, "deaths": job.deaths})
    settled = [
        Settled(
            job_id=job.id,
            epoch=job.epoch,
            attempt=job.attempt,
            owner=None,
            settlement=settlement,
        )
        for job, settlement in ends
    ]
    settle_rows(pipeline, settled, now_ms)
    for job, _ in ends:
        free_job(pipeline, job)


def _by_deaths(taken: Sequence[Job]) -> dict[int, list[int]]:
    seqs: dict[int, list[int]] = defaultdict(list)
    for job in taken:
        seqs[job.deaths].append(job.seq)
    return seqs


def _names_held(job: Job) -> tuple[str, ...]:
    return tuple(hold.name for hold in job.policies.holds)


def _owners_died(deaths: int) -> JobError:
    return JobError(
        kind="OwnersDied",
        message=f"The process that ran this job died {deaths} times, each time with this job. It is set aside. "
        "A task that crashes the interpreter, or that uses up the machine's memory, does this. "
        "`jobrunner logs` shows what it printed last; `jobrunner retry` runs it again.",
    )


def lock_rows(pipeline: Pipeline, job_ids: Sequence[str], wanted: Statement) -> list[dict[str, Any]]:
    """Rows of ``jobs`` by id, locked for this transaction, in the order of their ids; one round trip.

    :param wanted: LOCKED_JOBS for whole rows, LOCKED_TO_BEGIN for most of them, LOCKED_EPOCHS for what fences need
    """
    ids = sorted(set(job_ids))
    return pipeline.ask(wanted, {"job_ids": ids}) if ids else []


def rely_on_epochs(pipeline: Pipeline, epochs: Mapping[str, int]) -> None:
    """Lock the rows of these jobs, and rely on their epochs, and on that they run; no round trip of its own."""
    ids = sorted(epochs)
    held = [f"{job_id}:{epochs[job_id]}" for job_id in ids]
    pipeline.rely(RELY_ON_EPOCHS, {"job_ids": ids, "held": held, "number": len(ids)})


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
            settle_rows(pipeline, [settled], _now_ms())

    database.pipelined(work, patience=patience)


def request_cancel(database: Database, job_id: str, mode: CancelMode) -> tuple[JobState, bool]:
    """Cancel a job that waits, now, or ask the owner of a running one to; its state after that, and if that changed it.

    A job whose flow is half done and that waits for its next owner is cancelled at once with KEEP; with REVERT its
    next owner undoes it, and it may be claimed at once for that, whatever it waits for. A wish to suspend it ends.
    Cancelling a cancelled job again is fine; raises WrongState if it ended otherwise, JobNotFound or CorruptRow.
    """
    return database.pipelined(lambda pipeline: _request_cancel(pipeline, job_id, mode))


def request_cancels(
    database: Database, job_ids: Sequence[str], mode: CancelMode
) -> dict[str, tuple[JobState, bool]]:
    """:func:`request_cancel` for many jobs in one transaction; those that ended otherwise are left out."""

    def work(pipeline: Pipeline) -> dict[str, tuple[JobState, bool]]:
        done: dict[str, tuple[JobState, bool]] = {}
        for row in lock_rows(pipeline, job_ids, LOCKED_EPOCHS):
            with contextlib.suppress(WrongState, CorruptRow):
                done[row["id"]] = _request_cancel(pipeline, row["id"], mode)
        return done

    return database.pipelined(work)


def _request_cancel(pipeline: Pipeline, job_id: str, mode: CancelMode) -> tuple[JobState, bool]:
    row = lock_job(pipeline, job_id)
    state = state_of_row(row)
    if state is JobState.CANCELLED:
        return state, False
    if state.is_terminal:
        raise WrongState(f"Job {job_id} has ended already: {state}.", hint="There is nothing left to cancel.")
    keeps = mode is CancelMode.KEEP
    if state is not JobState.RUNNING and (keeps or not _anything_done(pipeline, row)):
        _cancel_now(pipeline, row)
        return JobState.CANCELLED, True
    now_ms = _now_ms()
    changed: dict[str, Any] = {"cancel": mode.value, "held": None, "updated_ms": now_ms}
    if state is not JobState.RUNNING:
        changed |= _offered_now(row, now_ms)
    set_columns(pipeline, [job_id], changed)
    asked = event_row(
        job_id,
        "cancel_requested",
        at_ms=now_ms,
        epoch=changed.get("epoch", row["epoch"]),
        attempt=row["attempt"],
        data={"mode": mode.value},
    )
    pipeline.add(INSERT_EVENTS, [asked])
    return state, True


def _offered_now(row: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """What makes a job that waits for anything but an owner wait for an owner only."""
    if row["parked"] is None and row["available_ms"] <= now_ms:
        return {}
    unparked = {"parked": None, "parked_before": None, "awaits": None, "note": None}
    return {**unparked, "epoch": row["epoch"] + 1, "available_ms": min(row["available_ms"], now_ms)}


def _cancel_now(pipeline: Pipeline, row: Mapping[str, Any]) -> None:
    epoch = row["epoch"] + 1
    set_columns(pipeline, [row["id"]], {"epoch": epoch})
    settlement = Settlement(state=JobState.CANCELLED, error=JobError(kind="Cancelled", message="Cancelled."))
    settled = Settled(
        job_id=row["id"], epoch=epoch, attempt=row["attempt"], owner=None, settlement=settlement
    )
    settle_rows(pipeline, [settled], _now_ms())
    free_all(pipeline, row)


_STARTED_ATOM = Statement(
    sa.select(atomdetails.c.uuid)
    .where(
        atomdetails.c.parent_uuid == sa.bindparam("flow_id"),
        atomdetails.c.name != INJECTOR,
        atomdetails.c.state.is_not(None),
        atomdetails.c.state.not_in(["PENDING", "IGNORE"]),
    )
    .limit(1)
)


def _anything_done(pipeline: Pipeline, row: Mapping[str, Any]) -> bool:
    """Whether an atom of the job's present attempt was ever started: only then is there something to undo."""
    if row["started_ms"] is None:
        return False
    return bool(pipeline.ask(_STARTED_ATOM, {"flow_id": flow_id(row["id"], row["attempt"])}))


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
        now_ms = _now_ms()
        changed = {
            **A_NEW_ATTEMPT, "state": JobState.WAITING.value, "attempt": row["attempt"] + 1,
            "epoch": row["epoch"] + 1, "cancel": None, "held": None, "unique_key": row["unique_over"],
            "available_ms": now_ms, "updated_ms": now_ms, **preferred_again(row, now_ms),
        }  # fmt: skip
        keep_attempt(pipeline, {**row, "finished_ms": row["finished_ms"] or now_ms})
        if gate is not None:
            changed |= gate(pipeline, row)
        set_columns(pipeline, [job_id], changed)
        retried = event_row(
            job_id, "retried", at_ms=now_ms, epoch=changed["epoch"], attempt=changed["attempt"]
        )
        pipeline.add(INSERT_EVENTS, [retried])
        free_all(pipeline, row)
        return job_from_row({**row, **changed})

    try:
        return database.pipelined(work)
    except IntegrityError as error:  # of its key, which it had given up with its end
        raise WrongState(
            f"Job {job_id} cannot be retried now: another job like it waits or runs, and only one of them may.",
            hint="Wait for that one's end, or cancel it, and try again.",
        ) from error


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


def lock_job(pipeline: Pipeline, job_id: str) -> dict[str, Any]:
    """A job's row, locked for this transaction; raises JobNotFound. One round trip."""
    rows = lock_rows(pipeline, [job_id], LOCKED_JOBS)
    if not rows:
        raise JobNotFound(f"There is no job {job_id}.", hint="`jobrunner list` shows the jobs there are.")
    return rows[0]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
