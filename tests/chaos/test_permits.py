"""Jobs that hold a semaphore, while workers and conductors are killed: never above its count, and nothing leaks.

A job has its permit from its first start to its end in SQL, whoever runs it: so at no moment may more jobs than there
are units be between the two. The evidence for the starts is the jobs' own; ends are as SQL has them, which is never
before the permit ends.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from jobrunner.jobs import limits
from jobrunner.jobs.jobsets import post_set
from jobrunner.model import After, JobState, Posting
from jobrunner.persistence.listing import JobFilter
from jobrunner.persistence.tables import permits
from jobrunner.policies import Hold, Policies
from tests.support.conductors import Cluster, Conductor, cluster

COUNT = 3
JOBS = 90
HOLD_S = 0.25
KILLS = 14
EVERY_S = (0.3, 1.0)
ENDS_WITHIN_S = 45.0


class Killer:
    """Kills a worker, or a whole conductor, now and then; what is killed comes back."""

    def __init__(self, found: Cluster, seed: int) -> None:
        self._cluster = found
        self._random = random.Random(seed)
        self._conductors: dict[str, Conductor] = {}
        self.workers = self.machines = 0

    @property
    def kills(self) -> int:
        return self.workers + self.machines

    def start(self, name: str) -> None:
        self._conductors[name] = self._cluster.start(name, ready=False, conductor__processes=2)

    def strike(self) -> None:
        """Kill something of a conductor that has jobs under way, if there is one."""
        under_way, _, _ = self._cluster.context.store.page(JobFilter(states=[JobState.RUNNING]))
        busy = {job.node for job in under_way} & self._conductors.keys()
        name = self._random.choice(sorted(busy or self._conductors))
        if self._random.random() < 0.3:
            self._conductors[name].kill_all()
            self.machines += 1
            self.start(name)
            return
        workers = self._conductors[name].workers()
        if workers:
            self.workers += _kill(self._random.choice(workers))


def _kill(process: psutil.Process) -> int:
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def at_once(found: Cluster, holders: list[list[str]]) -> int:
    """How many, each of one or several jobs, had their permits at the same time, at most."""
    offset = time.time() - time.monotonic()
    firsts: dict[str, float] = {}
    for line in found.evidence(what="start"):
        firsts.setdefault(line.job, line.at + offset)
    steps: list[tuple[float, int]] = []
    for ids in holders:
        first = min(firsts[job_id] for job_id in ids)
        last = max((found.job(job_id).finished_ms or 0) / 1000 for job_id in ids)
        steps += [(first, 1), (max(first, last), -1)]
    running = most = 0
    for _, step in sorted(steps):
        running += step
        most = max(most, running)
    return most


def rows(found: Cluster) -> list[Any]:
    with found.context.database.read() as connection:
        return list(connection.execute(sa.select(permits)).mappings())


@pytest.mark.parametrize(
    "board",
    [pytest.param("redis", marks=pytest.mark.redis), pytest.param("sql", marks=pytest.mark.thorough)],
)
@pytest.mark.mariadb
def test_never_above_the_count_and_no_leak(
    board: str, tmp_path: Path, mariadb_url: str, request: pytest.FixtureRequest
) -> None:
    seed = secrets.randbelow(1_000_000)
    board_url = request.getfixturevalue("redis_url") if board == "redis" else None
    with cluster(tmp_path, store_url=mariadb_url, board_url=board_url) as found:
        limits.set_limit(found.context, "db", count=COUNT)
        holding = {"policies": Policies(holds=(Hold(name="db"),))}
        ids = found.post_many("busy", count=JOBS, posting=holding, seconds=HOLD_S)
        survive(found, ids, seed)
        assert at_once(found, [[job_id] for job_id in ids]) == COUNT, f"seed {seed}"
        found.until(lambda: not rows(found), f"no permit is left (seed {seed}): {rows(found)}")


@pytest.mark.thorough
@pytest.mark.redis
@pytest.mark.mariadb
def test_never_more_jobsets_than_the_count_and_no_leak(
    tmp_path: Path, mariadb_url: str, redis_url: str
) -> None:
    seed = secrets.randbelow(1_000_000)
    with cluster(tmp_path, store_url=mariadb_url, board_url=redis_url) as found:
        limits.set_limit(found.context, "db", count=2)
        parameters = {"evidence": str(found.evidence_path), "seconds": HOLD_S}
        member = Posting(type="busy", parameters=parameters)
        last = replace(member, after=(After(job=0),))
        made = [post_set(found.context, [member, member, last], holds=[Hold(name="db")]) for _ in range(30)]
        sets = [[one.job_id for one in posted.posted] for posted in made]
        survive(found, [job_id for ids in sets for job_id in ids], seed)
        assert at_once(found, sets) == 2, f"seed {seed}"
        found.until(lambda: not rows(found), f"no permit is left (seed {seed}): {rows(found)}")


def taken_over(found: Cluster, ids: list[str]) -> bool:
    return any(len(found.owner_changes(job_id)) > 1 for job_id in ids)


def survive(found: Cluster, ids: list[str], seed: int) -> None:
    """Have the jobs run by conductors that are killed now and then, until all have ended."""
    killer = Killer(found, seed)
    for name in ("alice", "bob", "carol"):
        killer.start(name)
    found.until(lambda: len(found.evidence(what="start")) >= 2, "jobs run")
    pause = random.Random(-seed)
    while (killer.kills < KILLS or not taken_over(found, ids)) and found.context.store.counts():
        threading.Event().wait(pause.uniform(*EVERY_S))
        killer.strike()
    ended = found.ended(*ids, within=ENDS_WITHIN_S)
    assert killer.kills >= KILLS // 3, f"seed {seed}: too little was killed"
    assert taken_over(found, ids), f"seed {seed}: no takeover"
    assert {job.state for job in ended} == {JobState.SUCCEEDED}, f"seed {seed}"
