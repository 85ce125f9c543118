"""Who gets a process of its own, and when."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from jobrunner.conductor.channel import Channel
from jobrunner.conductor.supervisor.lone import (
    ACQUITTED_S,
    SETTLED_S,
    SPARE_PAUSE_S,
    SPARE_S,
    SPARES,
    SUSPECTS,
    LoneJobs,
    spares,
)
from jobrunner.conductor.supervisor.process import LoneJob, WorkerProcess
from jobrunner.policies import RunLimits

OWN = RunLimits(isolation="process")


@pytest.fixture
def channel() -> Iterator[Channel]:
    ours, theirs = socket.socketpair()
    yield Channel(ours)
    ours.close()
    theirs.close()


def lone(name: str, limits: RunLimits | None = OWN) -> LoneJob:
    return LoneJob(job_id=name, holder="holder", limits=limits)


def runs(channel: Channel, job: LoneJob | None, *, since: float = 0.0) -> WorkerProcess:
    return WorkerProcess(slot=None, owner="alone", channel=channel, lone=job, given=since, started=since)


def test_there_are_as_many_as_slots_and_first_come_first_served(channel: Channel) -> None:
    waiting = LoneJobs(2)
    jobs = [lone("a"), lone("b"), lone("c")]
    for job in jobs:
        waiting.add(job, 0.0)
    workers: list[WorkerProcess] = []
    for expected in ("a", "b"):
        found = waiting.next(workers, 0.0)
        assert found is not None
        assert found.job_id == expected
        workers.append(runs(channel, found))
    assert waiting.next(workers, 0.0) is None
    assert len(waiting) == 1
    workers.pop()
    assert waiting.next(workers, 0.0) is jobs[2]


def test_suspects_have_room_of_their_own_until_they_are_acquitted(channel: Channel) -> None:
    waiting = LoneJobs(1)
    waiting.add(lone("own"), 0.0)
    for number in range(SUSPECTS + 1):
        waiting.add(lone(f"suspect {number}", None), 0.0)
    workers = [runs(channel, waiting.next([], 0.0)) for _ in range(SUSPECTS)]
    assert {str(worker.lone and worker.lone.job_id)[:7] for worker in workers} == {"suspect"}
    found = waiting.next(workers, 1.0)
    assert found is not None
    assert found.job_id == "own"
    assert waiting.next(workers, 1.0) is None
    assert len(LoneJobs(1)) == 0
    assert waiting.next(workers[1:], ACQUITTED_S + 1) is not None


def test_spares_are_wanted_while_such_jobs_come(channel: Channel) -> None:
    waiting = LoneJobs(4)
    assert waiting.spares_missing([], 0.0) == 0
    waiting.add(lone("suspect", None), 0.0)
    waiting.add(lone("nobody's", RunLimits(user="nobody")), 0.0)
    assert waiting.spares_missing([], 0.0) == 0
    waiting.add(lone("own"), 0.0)
    assert waiting.spares_missing([], 0.0) == SPARES
    there = [runs(channel, None), runs(channel, lone("own"))]
    assert waiting.spares_missing(there, 0.5) == 0  # one is about to begin
    there[1].taken = True
    assert waiting.spares_missing(there, 0.05) == 0
    assert spares(there) == there[:1]
    assert waiting.spares_missing(there, 1.0) == SPARES - 1
    assert waiting.spares_missing(there, SPARE_S + 1) == -1
    there[0].dismissed = True
    assert waiting.spares_missing(there, SPARE_S + 1) == 0


def test_after_a_spare_that_failed_there_is_a_pause(channel: Channel) -> None:
    waiting = LoneJobs(4)
    waiting.add(lone("own"), 0.0)
    waiting.spare_failed(1.0)
    assert waiting.spares_missing([], 1.1) == 0
    assert waiting.spares_missing([runs(channel, None) for _ in range(SPARES + 1)], 1.1) == -1
    assert waiting.spares_missing([], 1.0 + SPARE_PAUSE_S) == SPARES


def test_one_waits_where_there_are_types_of_such_jobs(channel: Channel) -> None:
    claims = WorkerProcess(slot=0, owner="claims", channel=channel, started=0.0)
    assert LoneJobs(4).spares_missing([claims], SETTLED_S + 1) == 0
    claims.isolates = True
    assert LoneJobs(4).spares_missing([claims], SETTLED_S / 2) == 0
    assert LoneJobs(4).spares_missing([claims], SETTLED_S + 1) == 1
    assert LoneJobs(4, spares=0).spares_missing([claims], SETTLED_S + 1) == 0


def test_nobody_waits_after_the_end(channel: Channel) -> None:
    waiting = LoneJobs(4)
    waiting.add(lone("own"), 0.0)
    waiting.add(lone("suspect", None), 0.0)
    assert {job.job_id for job in waiting.clear()} == {"own", "suspect"}
    assert len(waiting) == 0
    assert waiting.spares_missing([], 0.0) == 0


def test_what_a_worker_says_of_a_job_comes_through() -> None:
    said = {"id": "a", "limits": {"memory": 1 << 30}, "timeout": 3.0}
    found = LoneJob.from_message(said, "holder")
    assert found.limits == RunLimits(memory=1 << 30)
    assert (found.job_id, found.holder, found.timeout) == ("a", "holder", 3.0)
