"""Pages of jobs by index.

No database reads an index in order for ``state IN (...) ORDER BY seq``: it sorts all that match. So a page is put
together from one short page for each wanted state and type, each of which an index yields in order: reading a page
costs about as many rows as it shows, times the states asked for, however many jobs there are. A search for text reads
until it has found enough.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jobrunner.model import OPEN_STATES, JobState
from jobrunner.persistence.tables import jobs

BRANCHES_MAX = 40
"""With more combinations of states and types than this, the database may find its own way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs to list. Every part that is given must hold; times are milliseconds, by when a job was posted.

    ``text`` is looked for in types, parameters, properties, errors and nodes, whatever its case.
    """

    states: Collection[JobState] = ()
    types: Collection[str] = ()
    text: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


def newest_first(wanted: JobFilter, *, limit: int, before: int | None) -> sa.Select[Any]:
    """The rows of a page below the mark ``before``."""
    conditions = _other_conditions(wanted)
    if before is not None:
        conditions.append(jobs.c.seq < before)
    return _page(_branches(wanted), conditions, jobs.c.seq.desc(), limit)


def open_oldest_first(*, after: int, limit: int) -> sa.Select[Any]:
    """The rows of a page of open jobs above the mark ``after``."""
    return _page(_branches(JobFilter(states=OPEN_STATES)), [jobs.c.seq > after], jobs.c.seq.asc(), limit)


def _branches(wanted: JobFilter) -> list[list[sa.ColumnElement[bool]]]:
    states = sorted(JobState(state).value for state in set(wanted.states))
    types = sorted(set(wanted.types))
    if len(states or "-") * len(types or "-") > BRANCHES_MAX:
        return [
            [
                jobs.c.state.in_(states) if states else sa.true(),
                jobs.c.type.in_(types) if types else sa.true(),
            ]
        ]
    by_state: list[list[sa.ColumnElement[bool]]] = [[jobs.c.state == state] for state in states] or [[]]
    by_type: list[list[sa.ColumnElement[bool]]] = [[jobs.c.type == name] for name in types] or [[]]
    return [state + name for state in by_state for name in by_type]


def _page(
    branches: list[list[sa.ColumnElement[bool]]],
    conditions: list[sa.ColumnElement[bool]],
    order: sa.ColumnElement[Any],
    limit: int,
) -> sa.Select[Any]:
    if len(branches) == 1:
        return sa.select(jobs).where(*branches[0], *conditions).order_by(order).limit(limit)
    pages = [
        sa.select(sa.select(jobs.c.seq).where(*branch, *conditions).order_by(order).limit(limit).subquery())
        for branch in branches
    ]
    found = sa.union_all(*pages).subquery("found")
    return sa.select(jobs).join(found, jobs.c.seq == found.c.seq).order_by(order).limit(limit)


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
