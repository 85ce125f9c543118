"""Pages of jobs by index.

No database reads an index in order for ``state IN (...) ORDER BY seq``: it sorts all that match. So a page is put
together from one short page for each wanted state and type, each of which an index yields in order: reading a page
costs about as many rows as it shows, times the states asked for, however many jobs there are. Jobs with a tag, and
those of an author, are in order in an index, too; whatever else is asked of them is looked at one by one. A search for
text reads until it has found enough.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from jobrunner.errors import UsageError
from jobrunner.model import OPEN_STATES, UNOWNED_STATES, JobState
from jobrunner.names import may_be_stored
from jobrunner.persistence.tables import jobs, tags

COUNTED = 1000
"""Of two tags that more jobs than this have, either may be looked for first."""
BRANCHES_MAX = 40
"""With more combinations of states and types than this, the database may find its own way."""

_ROWS = sa.select(jobs)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs to list. Every part that is given must hold; times are milliseconds, by when a job was posted.

    ``text`` is looked for in types, parameters, properties, errors and nodes, whatever its case. ``tags`` are names
    with values, or with None for any value.
    """

    states: Collection[JobState] = ()
    types: Collection[str] = ()
    text: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict)
    author: str | None = None
    jobset_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Branch:
    """A part of a page that one index yields in order."""

    conditions: tuple[sa.ColumnElement[bool], ...] = ()
    index: str | None = None

    def of(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """``query`` for this part. MySQL is told which index: it would rather hope to meet enough of a rare state."""
        query = query.where(*self.conditions)
        return query.with_hint(jobs, f"FORCE INDEX ({self.index})", "mysql") if self.index else query


def rarest_first(connection: Connection, wanted: JobFilter) -> JobFilter:
    """The filter with its tags in the order in which they are best looked for; a query if there are several."""
    if len(wanted.tags) < 2:
        return wanted
    counts = [
        sa.select(sa.func.count())
        .select_from(_tagged(name, value).limit(COUNTED).subquery())
        .scalar_subquery()
        for name, value in wanted.tags.items()
    ]
    found = connection.execute(sa.select(*counts)).one()
    order = sorted(zip(found, wanted.tags.items(), strict=True))
    return replace(wanted, tags=dict(tag for _, tag in order))


def require_limit(limit: int) -> None:
    """Raise UsageError for a page of no rows: there would be no mark of the next one."""
    if limit < 1:
        raise UsageError(f"A page cannot have {limit} rows.", hint="Give a limit of 1 or more.")


def require_text(wanted: JobFilter) -> None:
    """Raise UsageError for a text that no job has, since no database takes it."""
    asked = (*wanted.types, wanted.text, wanted.author, *wanted.tags, *wanted.tags.values())
    for text in asked:
        if text is not None and not may_be_stored(text):
            raise UsageError(f"{text!r} is not valid text, so no job has it.", hint="Write it in UTF-8.")


def newest_first(wanted: JobFilter, *, limit: int, before: int | None) -> sa.Select[Any]:
    """The rows of a page below the mark ``before``."""
    conditions = _other_conditions(wanted)
    if wanted.tags:
        return _tagged_page(wanted, conditions, limit=limit, before=before)
    if wanted.author is not None:
        conditions.append(jobs.c.author == wanted.author)
    if before is not None:
        conditions.append(jobs.c.seq < before)
    return _page(_branches(wanted), conditions, jobs.c.seq.desc(), limit)


@functools.cache
def open_oldest_first() -> sa.Select[Any]:
    """Places and ids of a page of open jobs above the mark ``after``, ``most`` of them; without those that are parked.

    Made once: a reconciler asks again and again, and to make it anew leaves more garbage than there are jobs in a page.
    """
    on_board = [jobs.c.seq > sa.bindparam("after", type_=sa.BigInteger), jobs.c.parked.is_(None)]
    branches = _branches(JobFilter(states=OPEN_STATES))
    most = sa.bindparam("most", type_=sa.Integer)
    return _page(branches, on_board, jobs.c.seq.asc(), most, what=sa.select(jobs.c.seq, jobs.c.id))


@functools.cache
def awaiting_oldest_first() -> sa.Select[Any]:
    """Places and ids of a page of jobs above the mark ``after``, ``most`` of them, that nobody owns and that await a
    signal; and what they await.
    """
    awaiting = [jobs.c.seq > sa.bindparam("after", type_=sa.BigInteger), jobs.c.awaits.is_not(None)]
    branches = _branches(JobFilter(states=UNOWNED_STATES))
    most = sa.bindparam("most", type_=sa.Integer)
    what = sa.select(jobs.c.seq, jobs.c.id, jobs.c.awaits)
    return _page(branches, awaiting, jobs.c.seq.asc(), most, what=what)


def _tagged_page(
    wanted: JobFilter, conditions: list[sa.ColumnElement[bool]], *, limit: int, before: int | None
) -> sa.Select[Any]:
    """A page by the first tag's index; jobs and their other tags are looked up one by one."""
    (first, *others) = wanted.tags.items()
    found = _tagged(*first)
    if before is not None:
        found = found.where(tags.c.job_seq < before)
    for number, (name, value) in enumerate(others):
        other = tags.alias(f"other_{number}")
        same = (other.c.job_seq == tags.c.job_seq, other.c.name == name)
        found = found.where(
            sa.exists().where(*same, *([other.c.value == value] if value is not None else []))
        )
    if wanted.author is not None:
        conditions = [*conditions, jobs.c.author == wanted.author]
    conditions = [*conditions, *_in_states_and_types(wanted)]
    if conditions:
        # MySQL would rather begin with the jobs, in the hope to meet enough that are tagged.
        found = found.join(jobs, jobs.c.seq == tags.c.job_seq).where(*conditions)
        found = found.prefix_with("STRAIGHT_JOIN", dialect="mysql")
    page = found.order_by(tags.c.job_seq.desc()).limit(limit).subquery("found")
    return sa.select(jobs).join(page, jobs.c.seq == page.c.job_seq).order_by(jobs.c.seq.desc())


def _tagged(name: str, value: str | None) -> sa.Select[Any]:
    """The places of jobs with a tag, in an index that has them in order."""
    query = sa.select(tags.c.job_seq).where(tags.c.name == name)
    if value is None:
        return query.with_hint(tags, "FORCE INDEX (job_tags_name)", "mysql")
    return query.where(tags.c.value == value).with_hint(tags, "FORCE INDEX (PRIMARY)", "mysql")


def _in_states_and_types(wanted: JobFilter) -> list[sa.ColumnElement[bool]]:
    states = sorted(JobState(state).value for state in set(wanted.states))
    return [
        *([jobs.c.state.in_(states)] if states else []),
        *([jobs.c.type.in_(sorted(set(wanted.types)))] if wanted.types else []),
    ]


@functools.cache
def overdue() -> sa.Select[Any]:
    """Places and ids of a page of jobs above the mark ``after``, ``most`` of them, that expired by ``now_ms`` before
    anybody started them, or were due by ``due_before_ms``.

    Each state's part is read by its index, and some numbers of each row. Made once, as above.
    """
    now_ms = sa.bindparam("now_ms", type_=sa.BigInteger)
    after, most = sa.bindparam("after", type_=sa.BigInteger), sa.bindparam("most", type_=sa.Integer)
    expired = sa.and_(jobs.c.expires_ms <= now_ms, jobs.c.attempt == 1, jobs.c.started_ms.is_(None))
    due = sa.and_(
        jobs.c.available_ms <= sa.bindparam("due_before_ms", type_=sa.BigInteger), jobs.c.parked.is_(None)
    )
    parts = []
    for state in sorted(OPEN_STATES - {JobState.RUNNING}):
        (branch,) = _branches(JobFilter(states=[state]))
        wanted = sa.or_(expired, due) if state is JobState.SCHEDULED else expired
        page = branch.of(sa.select(jobs.c.seq, jobs.c.id)).where(wanted, jobs.c.seq > after)
        parts.append(sa.select(page.order_by(jobs.c.seq).limit(most).subquery()))
    found = sa.union_all(*parts).subquery("found")
    return sa.select(found).order_by(found.c.seq).limit(most)


def _branches(wanted: JobFilter) -> list[_Branch]:
    if wanted.author is not None and not (wanted.states and OPEN_STATES.issuperset(wanted.states)):
        # Open jobs are few; of those that have ended an author has fewer than there are in all.
        return [_Branch(conditions=tuple(_in_states_and_types(wanted)), index="jobs_author_seq")]
    states = sorted(JobState(state).value for state in set(wanted.states))
    types = sorted(set(wanted.types))
    if wanted.jobset_id is not None:
        return [_jobset_branch(wanted.jobset_id, states, types)]
    if max(1, len(states)) * max(1, len(types)) > BRANCHES_MAX:
        in_states = (jobs.c.state.in_(states),) if states else ()
        return [_Branch(conditions=(*in_states, jobs.c.type.in_(types)))]
    if states and types:
        pairs = [(jobs.c.state == state, jobs.c.type == name) for state in states for name in types]
        return [_Branch(conditions=pair, index="jobs_state_type_seq") for pair in pairs]
    if states:
        return [_Branch(conditions=(jobs.c.state == state,), index="jobs_state_seq") for state in states]
    return [_Branch(conditions=(jobs.c.type == name,), index="jobs_type_seq") for name in types] or [
        _Branch()
    ]


def _jobset_branch(jobset_id: str, states: list[str], types: list[str]) -> _Branch:
    """The whole of a jobset in order; whatever else is asked for is looked for in it."""
    conditions = [jobs.c.jobset_id == jobset_id]
    conditions += [jobs.c.state.in_(states)] if states else []
    conditions += [jobs.c.type.in_(types)] if types else []
    return _Branch(conditions=tuple(conditions), index="jobs_jobset")


def _page(
    branches: list[_Branch],
    conditions: list[sa.ColumnElement[bool]],
    order: sa.ColumnElement[Any],
    limit: int | sa.BindParameter[int],
    *,
    what: sa.Select[Any] = _ROWS,
) -> sa.Select[Any]:
    if len(branches) == 1:
        return branches[0].of(what).where(*conditions).order_by(order).limit(limit)
    pages = [
        sa.select(branch.of(sa.select(jobs.c.seq)).where(*conditions).order_by(order).limit(limit).subquery())
        for branch in branches
    ]
    found = sa.union_all(*pages).subquery("found")
    return what.join(found, jobs.c.seq == found.c.seq).order_by(order).limit(limit)


def _other_conditions(wanted: JobFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.since_ms is not None:
        conditions.append(jobs.c.created_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        conditions.append(jobs.c.created_ms <= wanted.until_ms)
    if wanted.text:
        pattern = "%" + wanted.text.replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"
        columns = (jobs.c.type, jobs.c.parameters, jobs.c.properties, jobs.c.error, jobs.c.node)
        conditions.append(sa.or_(*(column.ilike(pattern, escape="!") for column in columns)))
    return conditions
