"""An owner that dies at any commit of a job that is retried: the end is that of a run in which nobody died."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from taskflow.patterns import linear_flow

from jobrunner.conductor import run
from jobrunner.model import JobState, Posting
from jobrunner.persistence.ownership.attempts import read_attempts
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.policies import Policies, RetryPolicy
from tests.support.journals import now_ms
from tests.support.runs import Note, Runs, raises

RETRY = RetryPolicy(attempts=3, delay=0, jitter=0)
MOST_OWNERS = 12


@pytest.fixture
def stored(store_url: str) -> Iterator[Runs]:
    found = Runs(store_url)
    yield found
    found.close()


@contextlib.contextmanager
def death_at(number: int, *, committed: bool) -> Iterator[list[int]]:
    """Whoever makes this commit dies there: before it reaches the server, or after; yields the commits, counted."""
    send = Pipeline.commit
    made: list[int] = []

    def commit(pipeline: Pipeline) -> None:
        made.append(len(made) + 1)
        if made[-1] != number:
            send(pipeline)
            return
        if committed:
            send(pipeline)
        raise RuntimeError("its owner died here")

    def leave_nothing(*args: Any, **options: Any) -> None:
        raise RuntimeError("who is dead leaves no job")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "commit", commit)
        patch.setattr(run, "hand_back_stopped", leave_nothing)
        yield made


def post(runs: Runs) -> tuple[str, list[str]]:
    """A job whose second atom fails, and what its atoms do."""
    calls: list[str] = []
    name = f"failing{len(runs.registry.job_types)}"
    runs.register(
        name, lambda: linear_flow.Flow("f").add(Note("good", calls), Note("bad", calls, does=raises(OSError("x"))))
    )  # fmt: skip
    posting = Posting(type=name, policies=Policies(retry=RETRY))
    return runs.store.insert([posting], now_ms=now_ms())[0][0], calls


def run_to_its_end(runs: Runs, job_id: str) -> None:
    """Own and run the job again and again, each time as somebody else, until it has ended."""
    for _ in range(MOST_OWNERS):
        with contextlib.suppress(RuntimeError):
            runs.run(job_id)
        if runs.store.get(job_id).state.is_terminal:
            return
    raise AssertionError(f"{job_id} did not end: {runs.store.history(job_id)}")


def end_of(runs: Runs, job_id: str) -> dict[str, Any]:
    """What is left of the job, but for who ran it, and how often it was claimed."""
    job = runs.store.get(job_id)
    kinds = [(event["kind"], event["attempt"]) for event in runs.store.history(job_id)]
    return {
        "job": (job.state, job.attempt, job.owner, job.note, job.error and job.error.message),
        "attempts": [
            (one.attempt, one.state, one.error and one.error.message)
            for one in read_attempts(runs.database, job_id)
        ],
        "events": [each for each in kinds if each[0] != "claimed"],
        "atoms": runs.states(job_id),
    }


def test_a_death_at_any_commit_loses_no_attempt_and_doubles_none(stored: Runs) -> None:
    job_id, calls = post(stored)
    with death_at(0, committed=False) as made:
        run_to_its_end(stored, job_id)
    expected = end_of(stored, job_id)
    assert expected["job"][:2] == (JobState.REVERTED, 3)
    assert expected["attempts"] == [(1, JobState.REVERTED, "x"), (2, JobState.REVERTED, "x")]
    assert calls == ["good", "bad", "-bad", "-good"] * 3
    assert len(made) >= 9
    for number in range(1, len(made) + 1):
        for committed in (False, True):
            job_id, calls = post(stored)
            with death_at(number, committed=committed):
                run_to_its_end(stored, job_id)
            assert end_of(stored, job_id) == expected, (
                f"commit {number} {'was' if committed else 'was not'} done"
            )
            assert calls.count("good") <= 4, f"at commit {number}: {calls}"
