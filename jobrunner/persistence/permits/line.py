"""Who waits for a semaphore, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from jobrunner.model import UNOWNED_STATES, Job
from jobrunner.persistence.job_rows import board_entry
from jobrunner.persistence.permits.rows import Ask
from jobrunner.persistence.permits.semaphores import Semaphore, Wish
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.tables import jobs, permits

LINE_SEEN = 100
"""So many of those who wait for a semaphore are looked at."""
LAST_SCORE = 4 * 10**12
"""In the year 2096; the product still fits its column."""
LAST_PLACE = (LAST_SCORE + 1) * 1_000_000

_UNOWNED = tuple(state.value for state in UNOWNED_STATES)


def place_of(job: Job) -> int:
    """A job's place in every line: as on the board, and of those posted in one millisecond the first goes first."""
    return min(board_entry(job).score, LAST_SCORE) * 1_000_000 + job.seq % 1_000_000


def line_of(ask: Ask, name: str, now_ms: int, *, last: int = LAST_PLACE, most: int = LINE_SEEN) -> list[Wish]:
    """Those who wait for a semaphore, the first in line first. One query.

    :param last: the place up to which the line is of interest: who is behind those that ask stands in nobody's way
    """
    return _wishes(ask(_LINE, {"semaphore": name, "now_ms": now_ms, "last": last, "most": most}))


def mates_of(ask: Ask, one: Semaphore, now_ms: int) -> list[Wish]:
    """Those who wait though their jobsets have it by now. One query, if any jobset has it."""
    if not one.sets:
        return []
    said = {"semaphore": one.name, "now_ms": now_ms, "last": LAST_PLACE, "most": LINE_SEEN}
    return _wishes(ask(_MATES, {**said, "sets": sorted(one.sets)}))


def _wishes(rows: Sequence[Mapping[str, Any]]) -> list[Wish]:
    return [
        Wish(row["score"], row["job_id"], row["units"], bool(row["shared"]), row["set_id"]) for row in rows
    ]


_IN_LINE = (
    sa.select(permits.c.job_id, permits.c.units, permits.c.shared, permits.c.score, permits.c.set_id)
    .join(jobs, jobs.c.id == permits.c.job_id)
    .where(
        permits.c.semaphore == sa.bindparam("semaphore"),
        permits.c.granted == 0,
        permits.c.score <= sa.bindparam("last", type_=sa.BigInteger),
        permits.c.until_ms > sa.bindparam("now_ms"),
        jobs.c.state.in_(_UNOWNED),
        jobs.c.parked.is_(None),
    )
    .order_by(permits.c.score, permits.c.job_id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
"""Those who wait for a semaphore, by index. A job that has ended, or that nobody can claim, waits no more."""
_LINE = Statement(_IN_LINE)
_MATES = Statement(_IN_LINE.where(permits.c.set_id.in_(sa.bindparam("sets", expanding=True))), many="sets")
