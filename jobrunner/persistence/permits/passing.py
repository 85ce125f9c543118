"""Who is next to have a semaphore, and what is left behind of permits.

Looking locks nothing: what is seen may be over a moment later, and whoever is called is asked again when it is begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from jobrunner.model import OPEN_STATES, TERMINAL_STATES, JobState
from jobrunner.persistence.permits.line import LINE_SEEN, line_of, mates_of
from jobrunner.persistence.permits.rows import Ask, held, look_at
from jobrunner.persistence.permits.semaphores import Semaphore, Terms
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.link import Link
from jobrunner.persistence.tables import jobs, permits, semaphores

AT_ONCE = 500
FIRST_SEEN = 16
"""So many of a line are looked at first: mostly one or none of them can begin."""
COMES_MS = 10_000
"""Who was called, and does not come within this time, is not waited for any more."""
FORGET_MS = 24 * 3_600_000
"""A semaphore that nobody set, holds or waits for is forgotten if nobody started by it for so long."""

_LEFT = tuple(
    state.value for state in (*TERMINAL_STATES, JobState.WAITING, JobState.SCHEDULED, JobState.BLOCKED)
)
"""In these states a job holds nothing. One that is suspended may: it is on its way to a process of its own."""


def next_in_line(database: Database, names: Sequence[str], *, link: Link | None = None) -> list[str]:
    """The jobs that wait for these semaphores and could begin now; the first in line first.

    Not one that would be refused another of them: whoever is refused looks for all that it needs, and so would call
    itself again and again.

    :param link: a connection that is at hand, which saves asking for another; on SQLite readers wait for nobody
    """
    if link is not None and database.dialect != "sqlite":
        return link.pipelined(lambda pipeline: _next_in_line(pipeline.ask, database.dialect, names))
    with database.read() as connection:
        return _next_in_line(_asking(connection), database.dialect, names)


def _asking(connection: Connection) -> Ask:
    def ask(statement: Statement, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return cast(
            "Sequence[Mapping[str, Any]]",
            connection.execute(cast("sa.Executable", statement.core), values).mappings().all(),
        )

    return ask


def _next_in_line(ask: Ask, dialect: str, names: Sequence[str]) -> list[str]:
    rows = look_at(ask, dialect, names)
    if not rows:
        return []
    found, _ = held(ask, rows)
    fitting: dict[str, None] = {}
    refused: set[str] = set()
    for name, one in found.items():
        now_ms = rows[name]["now_ms"]
        fits = _fitting(ask, one, terms_said(rows[name]["said"]), now_ms)
        refused.update(wish.job_id for wish in one.line)
        fitting.update(dict.fromkeys(fits))
    return [job_id for job_id in fitting if job_id not in refused]


def _fitting(ask: Ask, one: Semaphore, said: Terms, now_ms: int) -> list[str]:
    """The jobs at the head of the line that could begin now, all together; its line is then that of the others.

    And those whose jobsets have it already, wherever they stand: who is before them waits for them.
    """
    fitting = [wish.job_id for wish in mates_of(ask, one, now_ms)]
    for most in (FIRST_SEEN, LINE_SEEN):
        seen = line_of(ask, one.name, now_ms, most=most)
        one.line = [wish for wish in seen if wish.job_id not in fitting]
        for wish in list(one.line):
            if one.refusal(wish, said, now_ms) is not None:
                return fitting
            one.grant(wish, said, now_ms)
            fitting.append(wish.job_id)
        if len(seen) < most:
            break
    return fitting


def call_late(database: Database) -> list[str]:
    """Those who could begin now of all that wait; one that does not come soon is not waited for any more.

    So a job that no living node can run does not keep a semaphore from others.
    """
    query = sa.select(permits.c.semaphore).where(permits.c.granted == 0).distinct().limit(AT_ONCE)
    with database.read() as connection:
        names = list(connection.execute(query).scalars())
    called = next_in_line(database, sorted(names)) if names else []
    if called:
        until = database.now_ms() + COMES_MS
        late = permits.update().where(
            permits.c.job_id.in_(called[:AT_ONCE]), permits.c.granted == 0, permits.c.until_ms > until
        )
        database.retrying(lambda connection: connection.execute(late.values(until_ms=until)))
    return called


def sweep(database: Database) -> int:
    """End permits that nobody ended: of jobs that were deleted, or that a conductor of an earlier version left.

    And of jobsets that have ended. How many there were. Also forgets semaphores of which nothing is left.
    """
    left = (
        sa.select(permits.c.job_id, jobs.c.id)
        .join(jobs, jobs.c.id == permits.c.job_id, isouter=True)
        .where(sa.or_(permits.c.set_id.is_(None), permits.c.granted == 0))
        .where(sa.or_(jobs.c.id.is_(None), sa.and_(permits.c.granted == 1, _is_left()), _is_terminal()))
        .limit(AT_ONCE)
    )
    with database.read() as connection:
        rows = connection.execute(left).all()
        sets = list(connection.execute(_HOLDING_SETS).scalars())
    swept = len(release_sets(database, sets))
    if rows:
        job_ids = sorted({row[0] for row in rows})
        swept += database.retrying(lambda connection: _sweep(connection, job_ids))
    _forget(database)
    return swept


def release_sets(database: Database, set_ids: Sequence[str]) -> list[str]:
    """End what those of the jobsets hold that have no open jobs; the semaphores' names.

    Costs one query if none of them holds anything. To be asked again whenever a job of such a set has ended: of two
    that end at the same time, at least one finds that none is open.
    """
    if not set_ids:
        return []
    wanted = sa.select(permits.c.semaphore).where(
        permits.c.job_id.in_(set_ids), permits.c.set_id.is_not(None)
    )
    with database.read() as connection:
        names = sorted(set(connection.execute(wanted).scalars()))
    return database.retrying(lambda connection: _release_sets(connection, set_ids, names)) if names else []


def _release_sets(connection: Connection, set_ids: Sequence[str], names: Sequence[str]) -> list[str]:
    """While the semaphores are locked nobody begins a job of theirs by what they hold."""
    locked = sa.select(semaphores.c.name).where(semaphores.c.name.in_(names)).order_by(semaphores.c.name)
    connection.execute(locked.with_for_update()).all()
    theirs = (
        sa.select(jobs.c.jobset_id).where(jobs.c.jobset_id.in_(set_ids), jobs.c.state.in_(_OPEN)).distinct()
    )
    ended = set(set_ids).difference(connection.execute(theirs).scalars())
    left = sa.and_(permits.c.job_id.in_(sorted(ended)), permits.c.semaphore.in_(names))
    freed = sorted(set(connection.execute(sa.select(permits.c.semaphore).where(left)).scalars()))
    connection.execute(permits.delete().where(left))
    return freed


def sets_of(database: Database, job_ids: Sequence[str]) -> list[str]:
    """The jobsets of these jobs that hold something."""
    query = (
        sa.select(permits.c.job_id)
        .join(jobs, jobs.c.jobset_id == permits.c.job_id)
        .where(jobs.c.id.in_(job_ids))
        .distinct()
    )
    with database.read() as connection:
        return list(connection.execute(query).scalars())


_OPEN = tuple(state.value for state in OPEN_STATES)
_HOLDING_SETS = (
    sa.select(permits.c.job_id)
    .where(
        permits.c.set_id.is_not(None),
        permits.c.granted == 1,
        ~sa.exists().where(jobs.c.jobset_id == permits.c.job_id, jobs.c.state.in_(_OPEN)),
    )
    .distinct()
    .limit(AT_ONCE)
)
"""Jobsets that hold something though none of their jobs is open."""


def _sweep(connection: Connection, job_ids: Sequence[str]) -> int:
    """The jobs' rows are locked first: one may have been begun again meanwhile."""
    locked = sa.select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(job_ids))
    states = {row.id: row.state for row in connection.execute(locked.order_by(jobs.c.id).with_for_update())}
    gone = [job_id for job_id in job_ids if states.get(job_id, _LEFT[0]) in _LEFT]
    return connection.execute(permits.delete().where(permits.c.job_id.in_(gone))).rowcount if gone else 0


def _is_left() -> sa.ColumnElement[bool]:
    return sa.or_(jobs.c.state.in_(_LEFT), jobs.c.parked.is_not(None))


def _is_terminal() -> sa.ColumnElement[bool]:
    return jobs.c.state.in_([state.value for state in TERMINAL_STATES])


def _forget(database: Database) -> None:
    """Whoever needs a semaphore makes it anew, so one that is forgotten too early is only made once more."""
    unset = sa.and_(
        semaphores.c.count.is_(None),
        semaphores.c.starts.is_(None),
        semaphores.c.configured.is_(None),
        semaphores.c.said.is_not(None),
    )
    used = sa.exists().where(permits.c.semaphore == semaphores.c.name)
    after: str | None = ""
    while after is not None:
        query = sa.select(semaphores.c.name, semaphores.c.started).where(
            unset, ~used, semaphores.c.name > after
        )
        with database.read() as connection:
            now_ms = connection.execute(sa.select(database.now_ms())).scalar_one()
            page = connection.execute(query.order_by(semaphores.c.name).limit(AT_ONCE)).all()
        idle = [row.name for row in page if _last(row.started) + FORGET_MS < now_ms]
        if idle:
            forget = semaphores.delete().where(semaphores.c.name.in_(idle), unset, ~used)
            database.retrying(lambda connection, forget=forget: connection.execute(forget))  # type: ignore[misc]
        after = page[-1].name if len(page) == AT_ONCE else None


def _last(text: str | None) -> int:
    with suppress(ValueError, TypeError, IndexError):
        return int(json.loads(text or "[]")[-1])
    return 0


def terms_said(text: str | None) -> Terms:
    """What a job said last of a semaphore that nobody set; a mutex, if that cannot be read."""
    with suppress(ValueError, TypeError):
        return Terms(**json.loads(text or "{}"))
    return Terms(count=1)
