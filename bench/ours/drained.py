"""How fast waiting jobs are worked off.

The jobs are posted first, then a conductor is started. Measured is the time from the first job's begin to the last
one's end as the store has them: what starting processes takes is not in it, settling the last job is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from bench.conductor import Conductor
from bench.place import Place
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.post import post_many
from jobrunner.model import JobState, Posting
from jobrunner.persistence.tables import jobs

BATCH = 500
SLOWEST_PER_S = 50
"""With fewer atoms a second than this a run is given up."""
DEADLINE_MIN_S = 60.0
LOOK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Drained:
    """So many jobs were worked off in so many seconds."""

    jobs: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


class NotDone(Exception):
    """Some jobs did not succeed, or not in time."""


def drain(
    place: Place,
    *,
    number: int,
    atoms: int = 1,
    processes: int | None = 1,
    on_look: Callable[[Conductor, int], None] = lambda conductor, left: None,
) -> Drained:
    """Post jobs, then run a conductor until all have ended; raises NotDone.

    :param on_look: called now and then with the conductor and the number of jobs that are left
    """
    with place.context() as context:
        first = _newest(context) + 1
        for start in range(0, number, BATCH):
            size = min(BATCH, number - start)
            post_many(context, [Posting(type="bench_noop", parameters={"atoms": atoms})] * size)
        with Conductor(place, processes=processes) as conductor:
            within = max(DEADLINE_MIN_S, number * atoms / SLOWEST_PER_S)
            _wait_until_done(context, conductor, on_look, within)
        return _how_it_went(context, first, number)


def _wait_until_done(
    context: JobContext, conductor: Conductor, on_look: Callable[[Conductor, int], None], within: float
) -> None:
    deadline = time.monotonic() + within
    while left := sum(context.store.counts().values()):
        conductor.require_alive()
        on_look(conductor, left)
        if time.monotonic() > deadline:
            raise NotDone(conductor.with_log(f"left {left} jobs undone in {within:g} s"))
        time.sleep(LOOK_S)
    on_look(conductor, 0)


def _newest(context: JobContext) -> int:
    with context.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.max(jobs.c.seq))).scalar() or 0)


def _how_it_went(context: JobContext, first: int, number: int) -> Drained:
    query = sa.select(sa.func.count(), sa.func.min(jobs.c.started_ms), sa.func.max(jobs.c.finished_ms))
    wanted = query.where(jobs.c.seq >= first, jobs.c.state == JobState.SUCCEEDED.value)
    with context.database.read() as connection:
        succeeded, begun_ms, ended_ms = connection.execute(wanted).one()
    if succeeded != number:
        raise NotDone(f"{succeeded} of {number} jobs succeeded")
    return Drained(jobs=number, seconds=max(1, ended_ms - begun_ms) / 1000)
