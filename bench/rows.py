"""The figures that are measured, and what each must reach."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

LEASE_S = 10.0
"""The lease in the failover figures: jobrunner's default."""


class Kind(str, Enum):
    """What a goal is compared with."""

    TIMES_STOCK = "times stock"  # the ratio to stock TaskFlow must be at least the goal
    AT_MOST = "at most"  # the value itself must be at most the goal
    TOLD = "told"  # no goal; it is told beside the others


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure: what is measured, in which unit, and its goal.

    ``long`` rows are measured by ``make bench-full`` only.
    """

    key: str
    title: str
    unit: str
    kind: Kind = Kind.TOLD
    goal: float | None = None
    long: bool = False


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _times(key: str, title: str, unit: str, goal: float) -> Row:
    return Row(key=key, title=title, unit=unit, kind=Kind.TIMES_STOCK, goal=goal)


def _at_most(key: str, title: str, unit: str, goal: float, *, long: bool = False) -> Row:
    return Row(key=key, title=title, unit=unit, kind=Kind.AT_MOST, goal=goal, long=long)


def _told(key: str, title: str, unit: str, *, long: bool = False) -> Row:
    return Row(key=key, title=title, unit=unit, long=long)


def _placed_rows(key: str, where: str) -> tuple[Row, ...]:
    elsewhere = f"single jobs of 100 that a busy node takes though another is idle, {where}"
    return (
        _at_most(f"placed_{key}_elsewhere", elsewhere, "jobs", 10, long=True),
        _at_most(
            f"placed_{key}_p99",
            "the same: post to start, p99 over that without giving way",
            "ms",
            20,
            long=True,
        ),
        _told(f"placed_{key}_p50", "the same, p50 with giving way", "ms", long=True),
    )


SERVERS = "Redis + MariaDB"

ROWS: tuple[Row, ...] = (
    _times("drain_one", f"one-atom jobs drained, one worker process, {SERVERS}", "jobs/s", 35),
    _times(
        "drain_cores",
        f"one-atom jobs drained, one worker process a core ({cores()} cores)",
        "jobs/s",
        80 if cores() >= 4 else 50,
    ),
    _times("atoms", "ten-atom linear flows, one worker process", "atoms/s", 20),
    _times("post_one", "posting one by one", "jobs/s", 5),
    _times("post_batch", "posting in batches of 500", "jobs/s", 40),
    _at_most("idle_p50", f"post to first atom started, idle, {SERVERS}, p50", "ms", 5),
    _at_most("idle_p99", f"post to first atom started, idle, {SERVERS}, p99", "ms", 20),
    _at_most("embedded_p50", "the same, embedded SQLite, two processes, p50", "ms", 30),
    _at_most("embedded_p99", "the same, embedded SQLite, two processes, p99", "ms", 80),
    _at_most("claim_redis", "claim with 100,000 jobs waiting against 100, Redis", "times", 1.5),
    _at_most("claim_mariadb", "claim with 100,000 jobs waiting against 100, board in MariaDB", "times", 1.5),
    _at_most("claim_sqlite", "claim with 100,000 jobs waiting against 100, board in SQLite", "times", 1.5),
    _at_most(
        "waiting_redis",
        f"claim beside 100,000 delayed jobs and 10,000 that wait for signals, against none, {SERVERS}",
        "times",
        1.5,
        long=True,
    ),
    _at_most("waiting_mariadb", "the same, board in MariaDB", "times", 1.5, long=True),
    _at_most("semaphore_most", f"a semaphore of 3, 200 jobs, 4 workers, {SERVERS}: at once", "jobs", 3),
    _at_most("semaphore_idle", "the same: a unit is free while somebody waits, p99", "ms", 50),
    _at_most("idle_cpu", f"CPU of the busiest process of an idle conductor, {SERVERS}", "% of a core", 1),
    _at_most(
        "idle_cpu_embedded", "CPU of the busiest process of an idle conductor, SQLite", "% of a core", 1
    ),
    _at_most("failover_worker", "worker process killed: its job goes on after", "s", 0.5),
    _at_most(
        "placed_elsewhere", "single jobs of 100 that a busy node takes though another is idle", "jobs", 10
    ),
    _at_most(
        "placed_p99",
        "post to start beside a busy node, p99: how much more than without giving way",
        "ms",
        20,
    ),
    _told("placed_p50", "the same, p50 with giving way", "ms"),
    *_placed_rows("mariadb", "board in MariaDB"),
    *_placed_rows("sqlite", "embedded SQLite"),
    _at_most(
        "failover_conductor",
        f"conductor killed: its job goes on elsewhere after (lease {LEASE_S:g} s)",
        "s",
        LEASE_S + 1,
        long=True,
    ),
    _at_most("memory_supervisor", "memory of the supervisor", "MB", 70),
    _at_most("memory_worker", "memory of a worker", "MB", 110),
    _at_most("memory_growth", "growth of both from the 5,000th to the 20,000th job", "MB", 5, long=True),
    _at_most(
        "listing", "a page, or a job, among 1,000,000 finished jobs: the slowest kind", "ms", 50, long=True
    ),
    _at_most("listing_rows", "rows read for it by MariaDB: the most of any kind", "rows", 1000, long=True),
    _told("drain_embedded", "one-atom jobs drained, embedded SQLite, one worker process", "jobs/s"),
    _told("idle_cores_p50", f"post to first atom started, idle, {SERVERS}, a worker a core, p50", "ms"),
    _told("idle_cores_p99", f"post to first atom started, idle, {SERVERS}, a worker a core, p99", "ms"),
)

BY_KEY = {row.key: row for row in ROWS}
