"""How long finished jobs stay: which of them go, and removing those in batches.

Jobs of one state and one type are looked at together, oldest posting first, by the index of state and type. Looking
ends with those that were posted too late to have ended too long ago, so a round reads about as many rows as it removes.
Each batch is a transaction of its own of about a twentieth of a second. On SQLite, where a writer keeps all others out,
a pause as long as that follows, so whoever works beside it gets half of the time at least; elsewhere, where only jobs
that have ended are locked, a short one. Two that do this at once do no harm: a batch looks again at what it has locked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jobrunner.config import RetentionSection
from jobrunner.model import TERMINAL_STATES, JobState
from jobrunner.persistence.removal import remove
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs

BATCH = 500
"""Jobs in one transaction at most ..."""
BATCH_MIN = 10
BATCH_S = 0.05
"""... and fewer, if it takes longer than this."""
PAUSE = {"sqlite": 1.0}
PAUSE_ELSEWHERE = 0.1
"""So many times as long as a batch took is the pause after it."""
DAY_S = 86_400
_INDEX = "FORCE INDEX (jobs_state_type_seq)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Finished jobs of one state and one type."""

    state: JobState
    type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """Which of the jobs of a kind go: those that ended before then, and never the newest ``keep``."""

    ended_before_ms: int | None = None
    keep: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What became of a kind: how many jobs went, and how many would have, but for open jobs that need them."""

    kind: Kind
    removed: int = 0
    needed: int = 0


def kinds(
    database: Database, *, states: Collection[JobState] = (), types: Collection[str] = ()
) -> Iterator[Kind]:
    """The kinds of finished jobs that there are, of these states and types, if any are given; a query for each."""
    for state in sorted(states or TERMINAL_STATES):
        type_ = _next_type(database, state, None)
        while type_ is not None:
            if not types or type_ in types:
                yield Kind(state=state, type=type_)
            type_ = _next_type(database, state, type_)


def limits_of(kind: Kind, retention: RetentionSection, now_ms: int) -> list[Limit]:
    """What the configuration says of a kind: whatever any of these limits says goes."""
    rule = next(rule for rule in retention.all_rules if rule.fits(kind.state.value, kind.type))
    found: list[Limit] = []
    if rule.max_days is not None:
        found.append(Limit(ended_before_ms=now_ms - int(rule.max_days * DAY_S * 1000)))
    if rule.max_count is not None:
        found.append(Limit(keep=rule.max_count))
    return found


def prune(
    database: Database,
    kind: Kind,
    limits: Sequence[Limit],
    *,
    dry_run: bool = False,
    go_on: Callable[[float], bool] | None = None,
) -> Pruned:
    """Remove the jobs of a kind that any of the limits says, oldest first, or count them.

    :param go_on: called after each batch with the seconds to pause; whether there is to be another
    """
    if dry_run:
        return Pruned(kind=kind, removed=_count(database, kind, limits))
    removed, needed = 0, set[str]()  # what is needed stays, and is found by the next limit again
    pace = _Pace(PAUSE.get(database.dialect, PAUSE_ELSEWHERE))
    for limit in limits:
        for page in _pages(database, kind, limit):
            for ids in pace.batches(page):
                done = remove(database, ids, states=[kind.state])
                removed += len(done.ids)
                needed.update(done.needed)
                if not (go_on or _after_a_pause)(pace.took()):
                    return Pruned(kind=kind, removed=removed, needed=len(needed))
    return Pruned(kind=kind, removed=removed, needed=len(needed))


def _count(database: Database, kind: Kind, limits: Sequence[Limit]) -> int:
    if len(limits) == 1:
        return sum(len(page) for page in _pages(database, kind, limits[0]))
    return len({job_id for limit in limits for page in _pages(database, kind, limit) for job_id in page})


class _Pace:
    """How many jobs are removed in one transaction, from how long the last one took.

    :param pause: the pause after it, as a part of that time
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._size = BATCH // 8
        self._began = 0.0

    def batches(self, ids: list[str]) -> Iterator[list[str]]:
        """The ids in parts; ``took`` is to be called after each."""
        while ids:
            part, ids = ids[: self._size], ids[self._size :]
            self._began = time.monotonic()
            yield part

    def took(self) -> float:
        """The seconds to pause after the present batch; the next one is made to fit."""
        seconds = time.monotonic() - self._began
        wanted = int(self._size * BATCH_S / max(seconds, 0.001))
        self._size = max(BATCH_MIN, min(BATCH, wanted, 2 * self._size))
        return seconds * self._pause


def _after_a_pause(pause: float) -> bool:
    time.sleep(pause)
    return True


def _pages(database: Database, kind: Kind, limit: Limit) -> Iterator[list[str]]:
    """The ids of the jobs that go, a batch at a time, oldest first."""
    newest = _newest_that_goes(database, kind, limit.keep)
    after = 0
    while newest is not None:
        query = _of(kind, jobs.c.id, jobs.c.seq, jobs.c.created_ms, _ENDED).order_by(jobs.c.seq).limit(BATCH)
        with database.read() as connection:
            rows = connection.execute(query.where(jobs.c.seq > after, jobs.c.seq <= newest)).all()
        before = limit.ended_before_ms
        going = [row.id for row in rows if before is None or row.ended_ms < before]
        if going:
            yield going
        if len(rows) < BATCH or (before is not None and all(row.created_ms >= before for row in rows)):
            return
        after = rows[-1].seq


_ENDED = sa.func.coalesce(jobs.c.finished_ms, jobs.c.updated_ms).label("ended_ms")


def _newest_that_goes(database: Database, kind: Kind, keep: int) -> int | None:
    query = _of(kind, jobs.c.seq).order_by(jobs.c.seq.desc()).offset(keep).limit(1)
    with database.read() as connection:
        found: int | None = connection.execute(query).scalar()
    return found


def _next_type(database: Database, state: JobState, after: str | None) -> str | None:
    query = sa.select(jobs.c.type).where(jobs.c.state == state.value)
    if after is not None:
        query = query.where(jobs.c.type > after)
    with database.read() as connection:
        query = query.order_by(jobs.c.type).limit(1).with_hint(jobs, _INDEX, "mysql")
        return connection.execute(query).scalar()


def _of(kind: Kind, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    wanted = (jobs.c.state == kind.state.value, jobs.c.type == kind.type)
    return sa.select(*columns).where(*wanted).with_hint(jobs, _INDEX, "mysql")
