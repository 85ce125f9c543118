"""What a worker knows of its leases."""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobrunner.conductor.worker import leases
from jobrunner.conductor.worker.leases import HeldJobs
from jobrunner.model import Job
from tests.support.made_up import made_up_job

LEASE = 10.0


def job(*, started_ago: float = 0.0, **columns: Any) -> Job:
    now_ms = time.time_ns() // 1_000_000
    return made_up_job(updated_ms=now_ms, started_ms=now_ms - round(started_ago * 1000), **columns)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, to be set."""
    time_is = [1000.0]
    monkeypatch.setattr(leases, "boottime", lambda: time_is[0])
    return time_is


def held_job(jobs: HeldJobs, found: Job, until: float) -> leases.Held:
    jobs.claimed([found.id], until)
    return jobs.add(found)


def test_a_lease_that_is_not_kept_stops_its_job_before_it_ends(now: list[float]) -> None:
    jobs = HeldJobs(LEASE)
    held = held_job(jobs, job(), now[0] + LEASE)
    now[0] += LEASE * 0.85
    assert jobs.stop_overdue() == []
    assert not held.stop.overdue()
    now[0] += LEASE * 0.06
    assert held.stop.overdue()
    assert jobs.stop_overdue() == [held.job.id]
    assert held.stop.reason == "lost"
    assert jobs.stop_overdue() == []  # said once


def test_a_lease_that_is_kept_goes_on(now: list[float]) -> None:
    jobs = HeldJobs(LEASE)
    held = held_job(jobs, job(), now[0] + LEASE)
    now[0] += LEASE * 0.8
    jobs.kept([held.job.id, "unknown"], now[0] + LEASE)
    now[0] += LEASE * 0.8
    assert jobs.stop_overdue() == []
    jobs.kept([held.job.id], now[0] - 1)  # an answer that was overtaken by a later one
    assert jobs.stop_overdue() == []


def test_a_lease_may_be_kept_while_the_job_is_being_begun(now: list[float]) -> None:
    """SQL was slow, and the supervisor kept the lease meanwhile."""
    jobs = HeldJobs(LEASE)
    found = job()
    jobs.claimed([found.id], now[0] + LEASE)
    now[0] += LEASE * 1.5
    jobs.kept([found.id], now[0] + LEASE)
    jobs.add(found)
    assert jobs.stop_overdue() == []


def test_time_is_up_by_the_attempts_first_start(now: list[float]) -> None:
    jobs = HeldJobs(LEASE)
    held = held_job(jobs, job(timeout=5.0, started_ago=3.0), now[0] + 1000)
    assert not held.stop.is_set()
    now[0] += 1.9
    jobs.stop_overdue()
    assert not held.stop.is_set()
    now[0] += 0.2
    jobs.stop_overdue()
    assert held.stop.reason == "timeout"


def test_a_job_whose_time_was_up_before_is_stopped_from_the_start(now: list[float]) -> None:
    held = held_job(HeldJobs(LEASE), job(timeout=5.0, started_ago=6.0), now[0] + 1000)
    assert held.stop.reason == "timeout"


def test_the_end_of_an_old_run_does_not_touch_a_new_one(now: list[float]) -> None:
    jobs = HeldJobs(LEASE)
    found = job()
    old = held_job(jobs, found, now[0] + LEASE)
    new = held_job(jobs, found, now[0] + LEASE)
    jobs.remove(old)
    assert jobs.get(found.id) is new


def test_waiting_for_room(now: list[float]) -> None:
    jobs = HeldJobs(LEASE)
    held = held_job(jobs, job(), now[0] + LEASE)
    assert not jobs.wait_below(1, 0.01)
    jobs.remove(held)
    assert jobs.wait_below(1, 0.0)
    assert jobs.ended == 1
