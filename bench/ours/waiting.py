"""What a claim costs beside many jobs that wait for their time or for a signal, against a board without them.

Two installations on the same servers are asked in turn, as in claiming.py. A claim here is all of it: the board hands
out a job, and its epoch is raised in SQL. Outside of the measured time it is handed back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from bench.ours.claiming import BATCH, CLASS, FEW, LEASE_S, OWNER, WARM_UP, Claims
from bench.place import Place
from bench.samples import median
from jobrunner.jobs import post
from jobrunner.jobs.context import JobContext
from jobrunner.model import JobState, Parked, Posting
from jobrunner.persistence.ownership import beginning, ownership
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.tables import jobs

DELAYED, ASKING = 100_000, 10_000
LATER_MS = 7 * 24 * 3_600_000


def claims(without: Place, among: Place, *, number: int) -> Claims:
    """Claim jobs one at a time from both places, which are empty, and of which one is filled with waiting jobs."""
    with _ready(without) as small, _ready(among, delayed=DELAYED, asking=ASKING) as large:
        few: list[float] = []
        many: list[float] = []
        for _ in range(WARM_UP + number):
            few.append(_claim_ms(small))
            many.append(_claim_ms(large))
        return Claims(few_ms=median(few[WARM_UP:]), many_ms=median(many[WARM_UP:]))


def _claim_ms(context: JobContext) -> float:
    start = time.perf_counter()
    ids = context.board.claim(OWNER, [CLASS], limit=1, lease=LEASE_S)
    begun = beginning.begin(context.database, ids, owner=OWNER, node="bench")
    took = time.perf_counter() - start
    (job,) = begun.started
    ownership.hand_back(context.database, job, Settlement(state=JobState.WAITING))
    if context.board.release(OWNER, ids) != 1:
        raise RuntimeError(f"claimed {len(ids)} jobs, and could not hand back one")
    return took * 1000


@contextlib.contextmanager
def _ready(place: Place, *, delayed: int = 0, asking: int = 0) -> Iterator[JobContext]:
    with place.context() as context:
        _post(context, FEW)
        _post(context, delayed, available_ms=time.time_ns() // 1_000_000 + LATER_MS)
        for ids in _post(context, asking):
            _park(context, ids)
        yield context


def _post(context: JobContext, number: int, *, available_ms: int | None = None) -> list[list[str]]:
    posting = Posting(type=CLASS.type, available_ms=available_ms)
    return [
        [posted.job_id for posted in post.post_many(context, [posting] * min(BATCH, number - start))]
        for start in range(0, number, BATCH)
    ]


def _park(context: JobContext, ids: Sequence[str]) -> None:
    """As their owners leave jobs that wait for a signal."""
    row = {"state": JobState.SUSPENDED.value, "parked": Parked.SIGNAL.value, "awaits": "go", "started_ms": 1}
    with context.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id.in_(ids)).values(row))
    context.board.withdraw(ids)
