"""Stock TaskFlow conductors on the boards: jobs are run once, and go on elsewhere when their conductor dies."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from taskflow import states

from tests.support.boards import until
from tests.support.stock_conductors import WITHIN, Stage

pytestmark = pytest.mark.thorough

STEPS = ["step1", "step2", "step3"]


@pytest.mark.parametrize("kind", ["blocking", "nonblocking"])
def test_a_stock_conductor_runs_what_a_program_posts(anywhere: Stage, kind: str) -> None:
    conductor = anywhere.start(kind=kind)
    jobs = [anywhere.post(f"job-{number}") for number in range(4)]
    for job in jobs:
        anywhere.complete(job)
        assert [line["atom"] for line in anywhere.evidence(job=job.name, what="start")] == STEPS
    until(lambda: anywhere.board.job_count == 0)
    conductor.process.terminate()
    assert conductor.process.wait(WITHIN) == 0, conductor.log


def test_a_killed_conductors_job_is_taken_over_after_the_lease(anywhere: Stage) -> None:
    anywhere.start("alice")
    job = anywhere.post("job", held=True)
    first = anywhere.started("step2")
    second = anywhere.start("bob", kind="nonblocking")
    until(lambda: "looks for jobs" in second.log, within=WITHIN)
    assert anywhere.board.find_owner(job) == "alice"
    os.kill(first["pid"], signal.SIGKILL)
    killed = time.monotonic()
    again = anywhere.started("step2", times=2)
    assert time.monotonic() - killed < anywhere.lease + 3, anywhere.tails()
    assert again["pid"] == second.pid
    assert anywhere.board.find_owner(job) == "bob"
    anywhere.gate.touch()
    anywhere.complete(job)
    assert [line["atom"] for line in anywhere.evidence(what="start")] == ["step1", "step2", "step2", "step3"]


def test_a_job_longer_than_the_lease_is_run_once_while_its_conductor_lives(anywhere: Stage) -> None:
    """Two conductors with one name and one job each, both at their limit: neither refreshes by claiming again."""
    for _ in range(2):
        anywhere.start("namesake")
    jobs = [anywhere.post(f"job-{number}", held=True) for number in range(3)]
    pids = {anywhere.started("step2", times=number)["pid"] for number in (1, 2)}
    assert len(pids) == 2
    threading.Event().wait(2.5 * anywhere.lease)
    assert len(anywhere.evidence(atom="step2", what="start")) == 2, anywhere.tails()
    anywhere.gate.touch()
    for job in jobs:
        anywhere.complete(job)
        assert [line["atom"] for line in anywhere.evidence(job=job.name, what="start")] == STEPS


@pytest.mark.parametrize("kind", ["blocking", "nonblocking"])
def test_a_conductor_that_stood_still_can_not_end_its_namesakes_claim(networked: Stage, kind: str) -> None:
    zombie = networked.start("namesake", kind=kind)
    job = networked.post("job", held=True)
    assert networked.started("step2")["pid"] == zombie.pid
    os.kill(zombie.pid, signal.SIGSTOP)
    successor = networked.start("namesake", kind=kind)
    assert networked.started("step2", times=2)["pid"] == successor.pid
    os.kill(zombie.pid, signal.SIGCONT)
    until(lambda: f"The lease of job {job.uuid} was lost" in zombie.log, within=WITHIN)
    networked.gate.with_name(f"gate.{zombie.pid}").touch()
    until(lambda: "Failed job consumption" in zombie.log, within=WITHIN)
    assert job.state == states.CLAIMED
    assert networked.board.find_owner(job) == "namesake"
    assert job.expires_in() <= networked.lease
    networked.gate.touch()
    networked.complete(job)
    assert "Failed job consumption" not in successor.log
    assert [line["pid"] for line in networked.evidence(atom="step2", what="end")] == [
        zombie.pid,
        successor.pid,
    ]


def test_a_conductor_that_is_told_to_stop_hands_its_job_back_at_once(anywhere: Stage) -> None:
    first = anywhere.start("alice")
    job = anywhere.post("job", held=True)
    anywhere.started("step2")
    first.process.terminate()
    anywhere.gate.with_name(f"gate.{first.pid}").touch()
    assert first.process.wait(WITHIN) == 0, first.log
    assert job.state == states.UNCLAIMED
    anywhere.start("bob")
    anywhere.complete(job)
    assert [line["atom"] for line in anywhere.evidence(what="start")] == STEPS
