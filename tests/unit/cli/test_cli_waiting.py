from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from jobrunner.cli import waiting
from jobrunner.errors import StoreUnavailable, WaitTimedOut
from jobrunner.model import Job, JobState
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

    def get(self, job_id: str) -> Job:
        return self._jobs[job_id]


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
