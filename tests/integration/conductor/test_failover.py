"""Workers, conductors and machines that die or stand still: jobs go on elsewhere, from where they stopped."""

from __future__ import annotations

import os
import signal
import time

import psutil

from jobrunner.model import JobState
from tests.support.conductors import Cluster, lives


def killed_at(pid: int) -> float:
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def test_a_killed_workers_job_is_resumed_at_once_by_another_worker(anywhere: Cluster) -> None:
    conductor = anywhere.start(conductor__processes=2, conductor__lease=10)
    job_id = anywhere.post("steps", hold=2, gate=anywhere.gate())
    first = anywhere.started("step2")
    killed = killed_at(first.pid)
    second = anywhere.started("step2", times=2)
    anywhere.open(anywhere.gate())
    anywhere.succeeded(job_id)
    assert second.at - killed < 0.5, conductor.tail()
    assert [line.atom for line in anywhere.evidence(what="end")] == ["step1", "step2", "step3"]
    assert anywhere.atoms(job_id)["step1"].starts == 1
    assert anywhere.atoms(job_id)["step2"].starts == 2
    assert "killed by SIGKILL" in conductor.log
    anywhere.check_evidence([job_id])


def test_an_only_worker_that_is_killed_is_started_again_without_a_pause(embedded: Cluster) -> None:
    conductor = embedded.start(conductor__lease=30)
    job_id = embedded.post("steps", hold=2, gate=embedded.gate())
    killed = killed_at(embedded.started("step2").pid)
    second = embedded.started("step2", times=2)
    embedded.open(embedded.gate())
    embedded.succeeded(job_id)
    assert second.at - killed < 1.0, conductor.tail()


def test_a_worker_whose_child_outlives_it_is_noticed_all_the_same(embedded: Cluster) -> None:
    """The child holds everything open that its parent had, the line to the supervisor too."""
    conductor = embedded.start(conductor__processes=2, conductor__lease=30)
    job_id = embedded.post("leaves_a_child", gate=embedded.gate())
    embedded.succeeded(job_id, within=6)
    assert len(embedded.owner_changes(job_id)) == 2, conductor.tail()


def test_a_conductors_workers_end_with_it_and_another_resumes(both: Cluster) -> None:
    alice = both.start("alice")
    job_id = both.post("steps", hold=2, gate=both.gate())
    first = both.started("step2")
    bob = both.start("bob")
    workers = alice.workers()
    alice.kill()
    killed = time.monotonic()
    both.until(lambda: not any(lives(worker.pid) for worker in workers), "they end", within=1.0)
    second = both.started("step2", times=2)
    both.open(both.gate())
    both.succeeded(job_id)
    assert second.at - killed < both.lease + 1.0, bob.tail()
    assert second.pid != first.pid
    assert both.owner_changes(job_id) == ["alice", "bob"]
    assert [line.atom for line in both.evidence(what="end")] == ["step1", "step2", "step3"]
    both.check_evidence([job_id])


def test_a_worker_ends_with_its_supervisor_even_if_a_task_lets_no_thread_of_it_run(embedded: Cluster) -> None:
    alice = embedded.start("alice", conductor__lease=30)
    worker = embedded.started("greedy", job=embedded.post("greedy")).pid
    [server] = psutil.Process(alice.process.pid).children()
    alice.kill()
    embedded.until(lambda: not lives(worker) and not lives(server.pid), "they end", within=1.0)


def test_workers_end_with_their_fork_server_and_another_makes_their_successors(embedded: Cluster) -> None:
    alice = embedded.start(conductor__processes=2, conductor__lease=30)
    job_id = embedded.post("steps", hold=2, gate=embedded.gate())
    embedded.started("step2")
    before = alice.workers()
    [server] = psutil.Process(alice.process.pid).children()
    server.kill()
    embedded.started("step2", times=2)
    assert not any(lives(worker.pid) for worker in before)
    embedded.open(embedded.gate())
    embedded.succeeded(job_id)
    embedded.until(lambda: len(alice.workers()) == 2, "both have successors")
    assert "the fork server ended (killed by SIGKILL)" in alice.log
    embedded.check_evidence([job_id])


def test_a_machine_that_stands_still_records_nothing_when_it_goes_on(networked: Cluster) -> None:
    """Not on SQLite: whoever is stopped in the middle of a write there holds the file's lock, and all others up."""
    alice = networked.start("alice")
    job_id = networked.post("steps", count=4, hold=2, gate=networked.gate())
    networked.started("step2")
    bob = networked.start("bob")
    alice.pause()
    networked.started("step2", times=2)
    networked.open(networked.gate())
    networked.succeeded(job_id)
    result = networked.atoms(job_id)
    alice.resume()
    # The zombie's task ends too: it sees the gate. What it found out is not recorded, nor does it start step3.
    networked.until(lambda: len(networked.evidence(atom="step2", what="end")) == 2, "the zombie's task ended")
    later = networked.post("quick", posting={"node": "alice"})
    networked.succeeded(later)
    assert len(networked.evidence(atom="step3", what="start")) == 1, alice.tail()
    assert networked.atoms(job_id) == result
    assert networked.owner_changes(job_id) == ["alice", "bob"]
    assert alice.process.poll() is None
    assert "lost" in alice.log
    assert bob.process.poll() is None
    networked.check_evidence([job_id])


def test_a_worker_that_hangs_is_killed_after_a_lease(embedded: Cluster) -> None:
    conductor = embedded.start(conductor__processes=2)
    job_id = embedded.post("steps", hold=2, gate=embedded.gate())
    first = embedded.started("step2")
    psutil.Process(first.pid).suspend()
    embedded.started("step2", times=2)
    embedded.open(embedded.gate())
    embedded.succeeded(job_id, within=10)
    embedded.until(lambda: not lives(first.pid), "the worker that hangs was killed", within=10)
    assert "has not answered" in conductor.log
    embedded.until(lambda: conductor.log.count("takes jobs") == 3, "another took its place")


def test_a_deadly_job_is_set_aside_and_does_no_harm_to_others(embedded: Cluster) -> None:
    """It dies with whatever shares its process; those have done nothing, and must not be set aside with it."""
    conductor = embedded.start()
    others = [embedded.post("steps", hold=2, gate=embedded.gate()) for _ in range(2)]
    for job_id in others:
        embedded.started("step2", job=job_id)
    began = time.monotonic()
    deadly = embedded.post("deadly")
    job = embedded.in_state(deadly, JobState.FAILED, within=30)
    took = time.monotonic() - began
    assert job.error is not None
    assert job.error.kind == "OwnersDied"
    assert "died 5 times" in job.error.message
    assert len(embedded.evidence(job=deadly, what="start")) == 5
    assert took < 20, f"{took:.1f} s\n{conductor.tail()}"
    embedded.open(embedded.gate())
    embedded.succeeded(*others)
    assert max(embedded.job(job_id).deaths for job_id in others) <= 2
    quick = embedded.post("quick")
    embedded.succeeded(quick, within=15)
    embedded.check_evidence([*others, quick])
    printed = embedded.context.store.history(deadly)
    assert [event["kind"] for event in printed if event["kind"] == "failed"] == ["failed"]


def test_a_task_that_calls_sys_exit_fails_its_job_and_not_its_process(embedded: Cluster) -> None:
    conductor = embedded.start()
    pids = [worker.pid for worker in conductor.workers()]
    job = embedded.ended(embedded.post("exits"))[0]
    assert job.state is JobState.REVERTED
    assert job.error is not None
    assert "SystemExit" in job.error.message
    embedded.succeeded(embedded.post("quick"))
    assert [worker.pid for worker in conductor.workers()] == pids
