from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from jobrunner.cli import waiting
from jobrunner.errors import StoreUnavailable, WaitTimedOut
from jobrunner.jobs import pace
from jobrunner.model import Job, JobState
from jobrunner.persistence.chains import jobsets
from jobrunner.persistence.chains.jobsets import Jobset
from tests.support.made_up import made_up_job


class Jobs:
    """Stands for the context and its store: jobs by id, and how often the store is away before it answers."""

    def __init__(self, *jobs: Job, outages: int = 0, patience: float = 60.0) -> None:
        self._jobs = {job.id: job for job in jobs}
        self.outages = outages
        self.store = self
        self.config = SimpleNamespace(persistence=SimpleNamespace(patience=patience))

    def states(self, ids: list[str]) -> dict[str, JobState]:
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable("It is away.")
        return {job_id: self._jobs[job_id].state for job_id in ids}

    def get_many(self, ids: list[str]) -> dict[str, Job]:
        return {job_id: self._jobs[job_id] for job_id in ids}


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "OUTAGE_PAUSE_S", 0.001)


def wait_for(jobs: Any, ids: list[str], **settings: Any) -> list[Job]:
    return waiting.wait_for(jobs, ids, **settings)


def test_an_outage_costs_time_only_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    job = made_up_job(JobState.SUCCEEDED)
    assert wait_for(Jobs(job, outages=5), [job.id]) == [job]
    said = capsys.readouterr().err
    assert said.count("It is away. Trying on") == 1
    assert "The database is back." in said


def test_an_outage_longer_than_the_patience_is_an_error() -> None:
    job = made_up_job(JobState.SUCCEEDED)
    with pytest.raises(StoreUnavailable):
        wait_for(Jobs(job, outages=10**9, patience=0.01), [job.id])


def test_the_time_runs_out_during_an_outage_too() -> None:
    job = made_up_job(JobState.SUCCEEDED)
    start = time.monotonic()
    with pytest.raises(StoreUnavailable):
        wait_for(Jobs(job, outages=10**9), [job.id], timeout=0.05)
    assert time.monotonic() - start < 30


def test_the_first_of_several_is_enough_if_that_is_asked_for() -> None:
    done, running = made_up_job(JobState.FAILED), made_up_job()
    assert wait_for(Jobs(done, running), [running.id, done.id], any_of_them=True) == [done]


def test_those_that_are_not_finished_are_named() -> None:
    done, running = made_up_job(JobState.FAILED), made_up_job()
    with pytest.raises(WaitTimedOut, match=running.id) as error:
        wait_for(Jobs(done, running), [running.id, done.id], timeout=0.05)
    assert done.id not in error.value.message


def test_the_exit_code_is_one_unless_all_succeeded(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = made_up_job(JobState.SUCCEEDED), made_up_job(JobState.CANCELLED)
    assert waiting.tell_ends([good]) == 0
    assert capsys.readouterr().err == ""
    assert waiting.tell_ends([good, bad]) == 1
    assert "was cancelled" in capsys.readouterr().err


class Sets(Jobs):
    """A jobset with a job that does not end; at first the store is away."""

    database = None

    def find(self, *_: Any) -> Jobset:
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable("It is away.")
        return made_up_set()


def made_up_set() -> Jobset:
    counts = {JobState.RUNNING: 1, JobState.SUCCEEDED: 2}
    return Jobset(id="5" * 36, seq=1, name=None, author=None, created_ms=0, counts=counts, skipped=0)


def test_an_outage_takes_of_the_time_that_there_is_to_wait_for_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, clock = Sets(outages=3), Clock()
    for module in (waiting, pace):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(waiting, "OUTAGE_PAUSE_S", 3.0)
    monkeypatch.setattr(jobsets, "get_jobset", sets.find)
    with pytest.raises(WaitTimedOut, match="after 10s: 2 of 3 jobs have ended"):
        waiting.wait_for_set(sets, made_up_set(), timeout=10)  # type: ignore[arg-type]
    assert clock.now == pytest.approx(10, abs=0.1)


def test_the_time_for_a_set_runs_out_during_an_outage_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, clock = Sets(outages=10**9), Clock()
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(waiting, "OUTAGE_PAUSE_S", 3.0)
    monkeypatch.setattr(jobsets, "get_jobset", sets.find)
    with pytest.raises(StoreUnavailable):
        waiting.wait_for_set(sets, made_up_set(), timeout=10)  # type: ignore[arg-type]
    assert clock.now < 15


class Clock:
    """Stands for the module time; who sleeps makes it go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
