"""Jobs that start at their time, and jobs that are not started after it."""

from __future__ import annotations

import time

import pytest

from jobrunner.jobs import post
from jobrunner.model import JobState, Posting, Priority
from jobrunner.policies import Policies
from tests.support.conductors import Cluster

ON_TIME_S = 0.1


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_delayed_jobs_start_within_a_tenth_of_a_second_of_their_time(networked: Cluster) -> None:
    """On Redis, from a conductor that has nothing else to do; one in ten may meet a busy machine."""
    networked.start()
    networked.succeeded(networked.post("quick"))
    begin_ms = now_ms() + 1_500
    due = {
        networked.post("quick", posting={"available_ms": begin_ms + 150 * number}): begin_ms + 150 * number
        for number in range(20)
    }
    assert {networked.job(job_id).state for job_id in due} == {JobState.SCHEDULED}
    networked.succeeded(*due)
    wall = time.time() - time.monotonic()
    late = sorted(networked.evidence(job=job_id)[0].at + wall - at_ms / 1000 for job_id, at_ms in due.items())
    print(f"late by {late[10] * 1000:.1f} ms (p50), {late[-1] * 1000:.1f} ms (max)")
    assert late[0] > -0.005
    assert late[17] < ON_TIME_S, late


def test_what_nobody_can_run_expires_and_leaves_the_board(both: Cluster) -> None:
    both.start()
    soon = now_ms() + 1_000
    lost = both.post("quick", posting={"node": "nowhere", "expires_ms": soon})
    fine = both.post("quick", posting={"expires_ms": now_ms() + 60_000})
    both.succeeded(fine)
    (job,) = both.ended(lost)
    assert (job.state, job.error and job.error.kind) == (JobState.EXPIRED, "Expired")
    assert job.error is not None
    assert "'nowhere'" in job.error.message or "Nobody had started it" in job.error.message
    both.until(lambda: not both.context.board.known([lost]), "it was taken off the board")
    assert both.ends(lost) == ["expired"]


def test_what_comes_to_a_conductor_too_late_is_never_started(embedded: Cluster) -> None:
    job_id = embedded.post("quick", posting={"expires_ms": now_ms() + 300})
    embedded.until(lambda: now_ms() > (embedded.job(job_id).expires_ms or 0), "it has expired")
    embedded.start()
    (job,) = embedded.ended(job_id)
    assert (job.state, embedded.evidence()) == (JobState.EXPIRED, [])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Priority.NORMAL),
        ({"policies": Policies(critical=True)}, Priority.VERY_HIGH),
        ({"policies": Policies(critical=True), "priority": Priority.LOW}, Priority.LOW),
    ],
)
def test_a_critical_job_has_the_highest_priority(
    embedded: Cluster, said: dict[str, object], expected: Priority
) -> None:
    posting = Posting(type="quick", parameters={"evidence": "e"}, **said)  # type: ignore[arg-type]
    job = embedded.job(post.post(embedded.context, posting).job_id)
    assert (job.priority, job.policies.critical) == (expected, "policies" in said)
