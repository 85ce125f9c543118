"""How claimed jobs begin: their epochs are raised, or they are put where they belong.

Invariants:

- A claim counts only once ``begin`` has raised the job's epoch here. The epoch is compared, under a lock on the row,
  by every later write of that owner; whoever began last is the only one who can record anything.
- ``begin`` never returns a terminal job as started.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from jobrunner import times
from jobrunner.errors import CorruptRow
from jobrunner.model import Job, JobError, JobState
from jobrunner.persistence.job_rows import event_row, job_from_row
from jobrunner.persistence.ownership.parking import park_held
from jobrunner.persistence.ownership.settling import (
    INSERT_EVENTS,
    Settled,
    Settlement,
    set_columns,
    settle_rows,
)
from jobrunner.persistence.permits.ending import free_job
from jobrunner.persistence.permits.granting import Refused, ask
from jobrunner.persistence.permits.tags import limited_tags, with_tags
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.row_locks import lock_to_begin
from jobrunner.persistence.server.server_clock import server_ms
from jobrunner.persistence.tables import jobs

T = TypeVar("T")

MAX_DEATHS = 5
"""So many owners may die with one job in one attempt; the next claim sets it aside."""
EARLY_MS = 2_000
"""A job that is claimed so long before its time goes back: the board lost its delay. The clocks of board and database
differ by less."""


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
    parked_jobs: list[Job] = field(default_factory=list)
    """These, as they were found."""
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
    finished. A batch with a job that can expire, or whose time seems to be wrong, costs one round trip more, for the
    database's clock. One that holds semaphores begins if it gets them; what that costs is told in permits/__init__.py.

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
            now_ms=times.now_ms(),
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
    rows = lock_to_begin(pipeline, job_ids)
    begun = Begun()
    begun.unknown.extend(sorted(set(job_ids) - {row["id"] for row in rows}))
    if any(_needs_the_clock(row, now_ms) for row in rows):
        now_ms = server_ms(pipeline)
    sorted_in = (_sorted_in(begun, row, owner, node, now_ms, threads_only) for row in rows)
    ended = [end for end in sorted_in if end is not None]
    _ask_for_permits(pipeline, begun, rows, tags, now_ms)
    _raise_epochs(pipeline, begun.started, owner=owner, node=node, now_ms=now_ms)
    end_unstarted(pipeline, ended, now_ms)
    begun.set_aside.extend(job for job, _ in ended)
    for job in begun.held:
        park_held(pipeline, job, now_ms, epoch=job.epoch)
    return begun


def _needs_the_clock(row: Mapping[str, Any], now_ms: int) -> bool:
    """Whether a job can expire, or is too early or has used up its time by this machine's clock.

    If that is wrong, it would put off what all others can run, or end it for good: so the database's is asked.
    """
    start, timeout = row["started_ms"], row["timeout"]
    early = row["state"] == JobState.SCHEDULED.value and not _is_past(row["available_ms"], now_ms + EARLY_MS)
    spent = isinstance(timeout, int | float) and _is_past(start, now_ms - timeout * 1000)
    return early or spent or (start is None and row["expires_ms"] is not None)


def _is_past(at_ms: Any, now_ms: float) -> bool:
    """Whether it is a time, and over; rows that somebody broke come later."""
    return isinstance(at_ms, int) and at_ms <= now_ms


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
        begun.parked_jobs.append(job)
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
        begun.parked_jobs.append(job)
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


def _owners_died(deaths: int) -> JobError:
    return JobError(
        kind="OwnersDied",
        message=f"The process that ran this job died {deaths} times, or was cut off or stood still for longer than its "
        "lease, each time with this job. It is set aside. "
        "A task that crashes the interpreter, or that uses up the machine's memory, does this. "
        "`jobrunner logs` shows what it printed last; `jobrunner retry` runs it again.",
    )
