"""What listing, paging and showing cost among a million finished jobs.

The rows are made of a few real ones, inside the database. Time is measured around the calls that the command line
makes; rows read are what MariaDB itself counts on the same connection.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bench.place import Place
from bench.samples import percentile
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.model import TERMINAL_STATES, JobState, Posting
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import JobFilter
from jobrunner.persistence.tables import jobs

SEED = 1000
PAGE = 50
REPEAT = 15

# One in ten failed, one in a hundred was cancelled; four types of which one is rare. All are strewn over the table.
NUMBER = "(jobs.seq * 31 + copies.n * 17)"
STATES = f"IF({NUMBER} % 10 = 0, 'FAILED', IF({NUMBER} % 100 = 1, 'CANCELLED', 'SUCCEEDED'))"
COMMON = "'bench_noop', 'bench_stamped', 'bench_hold'"
TYPES = f"IF({NUMBER} % 997 = 7, 'bench_rare', ELT(1 + {NUMBER} DIV 100 % 3, {COMMON}))"


@dataclass(frozen=True, kw_only=True)
class Look:
    """One kind of look at jobs: milliseconds of its slowest in twenty, and the rows that MariaDB read for one."""

    kind: str
    p95_ms: float
    rows: int


def looks(place: Place, *, number: int) -> list[Look]:
    """Fill the store with ``number`` finished jobs, then look at them in all the ways that there are."""
    with place.context() as context:
        _fill(context, number)
        newest = _newest(context.database)
        ids = _some_ids(context, newest)
        return [
            _measured(context.database, kind, call) for kind, call in _kinds(context, newest, ids).items()
        ]


def _kinds(context: JobContext, newest: int, ids: list[str]) -> dict[str, Callable[[], object]]:
    def page(wanted: JobFilter, *, deep: bool = False) -> Callable[[], object]:
        return lambda: _require_jobs(
            look.page(
                context, wanted, limit=PAGE, before=random.randrange(newest // 4, newest) if deep else None
            )[0]
        )

    failed, finished = JobFilter(states=[JobState.FAILED]), JobFilter(states=TERMINAL_STATES)
    rare = JobFilter(types=["bench_rare"])
    rare_failed = JobFilter(states=[JobState.CANCELLED], types=["bench_noop", "bench_hold"])
    return {
        "all jobs": page(JobFilter()),
        "all jobs, deep": page(JobFilter(), deep=True),
        "one state": page(failed),
        "one state, deep": page(failed, deep=True),
        "all terminal states, deep": page(finished, deep=True),
        "a rare type": page(rare),
        "a rare type, deep": page(rare, deep=True),
        "state and types, deep": page(rare_failed, deep=True),
        "one job by its id's start": lambda: look.find(context, random.choice(ids)[:13]),
        "one job's atoms": lambda: look.atoms(context, [look.find(context, random.choice(ids))]),
        "one job's history": lambda: look.history(context, look.find(context, random.choice(ids))),
        "how many are open": lambda: look.counts(context),
    }


def _measured(database: Database, kind: str, call: Callable[[], object]) -> Look:
    call()
    times = []
    rows = 0
    for _ in range(REPEAT):
        before = _rows_read(database)
        own = _rows_read(database) - before  # asking costs some itself
        before += own
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
        rows = max(rows, _rows_read(database) - before - own)
    return Look(kind=kind, p95_ms=percentile(times, 95), rows=rows)


def _rows_read(database: Database) -> int:
    """The rows that this connection has read; the pool hands a single thread the same connection each time."""
    with database.read() as connection:
        found = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'").all()
    return sum(
        int(value)
        for name, value in found
        if "_key" in name
        or "_next" in name
        or "_prev" in name
        or "_rnd" in name
        or "_first" in name
        or "_last" in name
    )


def _require_jobs(found: list[look.Job]) -> None:
    if not found:
        raise RuntimeError("a page that should be full is empty")


# -- making the rows


def _fill(context: JobContext, number: int) -> None:
    context.store.insert([Posting(type="bench_noop", parameters={"atoms": 1})] * SEED, now_ms=_now_ms())
    with context.database.write() as connection:
        _finish(connection)
    have = SEED
    while have < number:
        with context.database.write() as connection:
            have += _copy(connection, min(SEED * 100, number - have))
    with context.database.write() as connection:
        connection.exec_driver_sql("ANALYZE TABLE jobs")
        found = connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar()
    if found != number:
        raise RuntimeError(f"the store has {found} jobs, not {number}")


def _finish(connection: Connection) -> None:
    connection.execute(
        jobs.update().values(
            state=JobState.SUCCEEDED.value, epoch=1, node="bench", started_ms=_now_ms(), finished_ms=_now_ms()
        )
    )


def _copy(connection: Connection, number: int) -> int:
    """Add ``number`` jobs, each a copy of a seed with an id, a state and a type of its own."""
    computed = {"id": "UUID()", "state": STATES, "type": TYPES}
    kept = [column.name for column in jobs.columns if column.name != "seq"]
    values = ", ".join(computed.get(name, f"jobs.{name}") for name in kept)
    statement = (
        f"INSERT INTO jobs ({', '.join(f'`{name}`' for name in kept)}) SELECT {values} "
        f"FROM jobs JOIN (SELECT seq AS n FROM seq_0_to_{number // SEED}) AS copies "
        f"WHERE jobs.seq <= {SEED} LIMIT {number}"
    )
    return int(connection.exec_driver_sql(statement.replace("%", "%%")).rowcount)


def _some_ids(context: JobContext, newest: int) -> list[str]:
    with context.database.read() as connection:
        seqs = [random.randrange(1, newest) for _ in range(200)]
        return list(connection.execute(sa.select(jobs.c.id).where(jobs.c.seq.in_(seqs))).scalars())


def _newest(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.select(sa.func.max(jobs.c.seq))).scalar() or 0)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
