"""Why jobs wait, and what it costs to know it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobrunner.jobs import reasons
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.reasons import ALL_DRAINED, NOBODY
from jobrunner.model import Job, JobState
from tests.support.made_up import made_up_job


def told(*jobs: Job) -> dict[str, str]:
    by_id = {job.id: job for job in jobs}
    store = SimpleNamespace(get_many=lambda ids: {job_id: by_id[job_id] for job_id in ids})
    return reasons.reasons(cast("JobContext", SimpleNamespace(store=store)), list(by_id))


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The nodes that conductors run on, to be filled."""
    nodes: list[Any] = []
    monkeypatch.setattr(reasons, "living_nodes", lambda context: nodes)
    return nodes


def test_a_job_waits_as_its_note_says_or_as_the_nodes_are(alive: list[Any]) -> None:
    plain = made_up_job(JobState.WAITING)
    noted = made_up_job(JobState.WAITING, note="It waits for db.")
    later = made_up_job(JobState.SCHEDULED)
    running = made_up_job(JobState.RUNNING, note="It went on.")
    jobs = (plain, noted, later, running)
    assert told(*jobs) == {plain.id: NOBODY, noted.id: "It waits for db."}
    alive.append(SimpleNamespace(drained=True))
    assert told(*jobs) == {plain.id: ALL_DRAINED, noted.id: "It waits for db."}
    alive.append(SimpleNamespace(drained=False))
    assert told(*jobs) == {noted.id: "It waits for db."}


def test_nodes_are_asked_for_only_if_a_job_waits_without_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "living_nodes", lambda context: pytest.fail("the nodes were read"))
    noted = made_up_job(JobState.WAITING, note="It waits for db.")
    assert told(noted, made_up_job(JobState.SCHEDULED), made_up_job(JobState.RUNNING)) == {
        noted.id: "It waits for db."
    }
