"""Jobsets: jobs that were posted as one. A set has a row for its name; how it stands is asked of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import AmbiguousJobId, JobsetNotFound
from jobrunner.membership import Member
from jobrunner.model import OPEN_STATES, TERMINAL_STATES, JobState
from jobrunner.persistence.chains.links import SKIPPED_ERROR
from jobrunner.persistence.flows import loads
from jobrunner.persistence.listing import require_limit
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs, jobsets

_BAD = (JobState.FAILED, JobState.REVERTED, JobState.TIMED_OUT, JobState.DEAD, JobState.EXPIRED)
_OPEN = (JobState.RUNNING, JobState.WAITING, JobState.SUSPENDED, JobState.SCHEDULED, JobState.BLOCKED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobset:
    """Jobs that were posted as one, and how many of them are in which state."""

    seq: int
    id: str
    created_ms: int
    name: str | None = None
    author: str | None = None
    counts: Mapping[JobState, int] = field(default_factory=dict)
    skipped: int = 0
    """Members that are CANCELLED since a link of theirs could not be met; counted in ``counts`` as well."""

    @property
    def short_id(self) -> str:
        return self.id[:8]

    @property
    def size(self) -> int:
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """How many members have ended."""
        return sum(number for state, number in self.counts.items() if state.is_terminal)

    @property
    def state(self) -> JobState:
        """How the set stands.

        While members are open: RUNNING if one of them is, else what comes next of WAITING, SUSPENDED, SCHEDULED and
        BLOCKED. Then FAILED if one ended badly, CANCELLED if one was cancelled or all were skipped, else SUCCEEDED.
        """
        going_on = next((state for state in _OPEN if self.counts.get(state)), None)
        if going_on is not None:
            return going_on
        if any(self.counts.get(state) for state in _BAD):
            return JobState.FAILED
        if self.counts.get(JobState.CANCELLED, 0) > self.skipped:
            return JobState.CANCELLED
        return JobState.SUCCEEDED if self.counts.get(JobState.SUCCEEDED) else JobState.CANCELLED


def find_jobset(database: Database, prefix: str) -> Jobset:
    """The one jobset whose id starts with ``prefix``; raises JobsetNotFound or AmbiguousJobId."""
    wanted = prefix.strip().lower()
    if not wanted or any(character not in "0123456789abcdef-" for character in wanted):
        raise JobsetNotFound(
            f"{prefix!r} is not a jobset's id, nor the start of one.",
            hint="Ids are made of 0-9, a-f and dashes.",
        )
    query = (
        sa.select(jobsets)
        .where(jobsets.c.id >= wanted, jobsets.c.id <= wanted + "~")
        .order_by(jobsets.c.id)
        .limit(2)
    )
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    if not rows:
        raise JobsetNotFound(
            f"There is no jobset whose id starts with {prefix}.",
            hint="`jobrunner jobset list` shows the jobsets there are.",
        )
    if len(rows) > 1:
        raise AmbiguousJobId(f"More than one jobset's id starts with {prefix}.", hint="Give more of it.")
    return _with_counts(database, rows)[0]


def get_jobset(database: Database, jobset_id: str) -> Jobset:
    """The jobset with this very id; raises JobsetNotFound."""
    with database.read() as connection:
        rows = connection.execute(sa.select(jobsets).where(jobsets.c.id == jobset_id)).mappings().all()
    if not rows:
        raise JobsetNotFound(f"There is no jobset {jobset_id}.")
    return _with_counts(database, rows)[0]


def page_of_jobsets(
    database: Database, *, limit: int = 50, before: int | None = None
) -> tuple[list[Jobset], int | None]:
    """A page of jobsets, newest first, and the mark to pass as ``before`` for the next one.

    Raises UsageError for a limit below 1.
    """
    require_limit(limit)
    query = sa.select(jobsets).order_by(jobsets.c.seq.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(jobsets.c.seq < before)
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return _with_counts(database, rows[:limit]), (rows[limit - 1]["seq"] if len(rows) > limit else None)


def _with_counts(database: Database, rows: Sequence[Mapping[Any, Any]]) -> list[Jobset]:
    """The jobsets of these rows; one query, by index, for the members of all."""
    was_skipped = sa.and_(jobs.c.state == JobState.CANCELLED.value, jobs.c.error.startswith(SKIPPED_ERROR))
    query = (
        sa.select(
            jobs.c.jobset_id, jobs.c.state, sa.func.count(), sa.func.sum(sa.case((was_skipped, 1), else_=0))
        )
        .where(jobs.c.jobset_id.in_([row["id"] for row in rows]))
        .group_by(jobs.c.jobset_id, jobs.c.state)
    )
    counts: dict[str, dict[JobState, int]] = {row["id"]: {} for row in rows}
    skipped = dict.fromkeys(counts, 0)
    known = {state.value: state for state in JobState}
    if rows:
        with database.read() as connection:
            for jobset_id, state, number, of_them in connection.execute(query):
                if state in known:
                    counts[jobset_id][known[state]] = int(number)
                    skipped[jobset_id] += int(of_them)
    return [
        Jobset(
            **{key: row[key] for key in ("seq", "id", "created_ms", "name", "author")},
            counts=counts[row["id"]],
            skipped=skipped[row["id"]],
        )
        for row in rows
    ]


def open_members(
    database: Database, jobset_id: str, *, blocked: bool | None = None, uncancelled: bool = False
) -> list[str]:
    """The ids of the set's open members in the order of their posting.

    :param blocked: only those that are, or are not, BLOCKED
    :param uncancelled: only those that nobody asked to cancel yet
    """
    states = {state.value for state in OPEN_STATES}
    if blocked is not None:
        states = {JobState.BLOCKED.value} if blocked else states - {JobState.BLOCKED.value}
    query = sa.select(jobs.c.id).where(jobs.c.jobset_id == jobset_id, jobs.c.state.in_(sorted(states)))
    if uncancelled:
        query = query.where(jobs.c.cancel.is_(None))
    with database.read() as connection:
        return list(connection.execute(query.order_by(jobs.c.seq)).scalars())


def unsuccessful_members(database: Database, jobset_id: str) -> list[str]:
    """The ids of the set's members that have ended and did not succeed, in the order of their posting."""
    states = sorted(state.value for state in TERMINAL_STATES - {JobState.SUCCEEDED})
    query = sa.select(jobs.c.id).where(jobs.c.jobset_id == jobset_id, jobs.c.state.in_(states))
    with database.read() as connection:
        return list(connection.execute(query.order_by(jobs.c.seq)).scalars())


def members_of(database: Database, jobset_id: str, *, self_id: str, limit: int) -> list[Member]:
    """The set's first members in the order of their posting; what cannot be read of one is left out."""
    columns = (
        jobs.c.id,
        jobs.c.type,
        jobs.c.state,
        jobs.c.node,
        jobs.c.parameters,
        jobs.c.result,
        jobs.c.error,
    )
    query = sa.select(*columns).where(jobs.c.jobset_id == jobset_id).order_by(jobs.c.seq).limit(limit)
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [_member(place, row, self_id) for place, row in enumerate(rows) if row["state"] in _KNOWN]


def _member(place: int, row: Mapping[Any, Any], self_id: str) -> Member:
    parameters, error = loads(row["parameters"]), loads(row["error"])
    return Member(
        place=place,
        id=row["id"],
        type=row["type"],
        state=JobState(row["state"]),
        is_self=row["id"] == self_id,
        node=row["node"],
        parameters=parameters if isinstance(parameters, dict) else {},
        result=loads(row["result"]),
        error=str(error.get("message", "")) if isinstance(error, dict) else None,
    )


_KNOWN = frozenset(state.value for state in JobState)
