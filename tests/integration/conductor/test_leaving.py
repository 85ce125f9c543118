"""Conductors that are told to leave, or to load plugins again."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from jobrunner.jobs import post
from jobrunner.model import CancelMode, JobState, Posting
from jobrunner.persistence.store import board_entry
from tests.support.conductors import Cluster, lives

PLUGIN = '''
from taskflow.patterns import linear_flow
from taskflow.task import Task
from jobrunner import job


class Say(Task):
    def execute(self):
        print("new")


@job
def brand_new():
    """It was not there before."""
    return linear_flow.Flow("new").add(Say("say"))
'''


def test_sigterm_hands_jobs_back_at_an_atom_border_and_another_goes_on(both: Cluster) -> None:
    alice = both.start("alice", conductor__lease=30)
    job_id = both.post("steps", hold=2, gate=both.gate())
    both.started("step2")
    bob = both.start("bob", conductor__lease=30)
    alice.signal(signal.SIGTERM)
    both.until(lambda: "stopping" in alice.log, "alice heeds the signal")
    waiting = both.post("quick")  # nobody stops claiming but alice
    both.succeeded(waiting)
    assert both.owner_changes(waiting) == ["bob"]
    both.open(both.gate())
    assert alice.wait(5) == 0, alice.tail()
    left = time.monotonic()
    both.succeeded(job_id)
    assert both.evidence(atom="step3")[0].at - left < 1.0, bob.tail()
    assert both.owner_changes(job_id) == ["alice", "bob"]
    assert both.job(job_id).deaths == 0
    assert [line.atom for line in both.evidence(what="start", job=job_id)] == ["step1", "step2", "step3"]


def test_a_task_that_heeds_stops_early(embedded: Cluster) -> None:
    alice = embedded.start("alice")
    job_id = embedded.post("steps", hold=2, gate=embedded.gate(), heed=True)
    embedded.started("step2")
    alice.signal(signal.SIGINT)
    assert alice.wait(5) == 0, alice.tail()
    job = embedded.job(job_id)
    assert (job.state, job.owner, job.deaths) == (JobState.SUSPENDED, None, 0)
    assert embedded.atoms(job_id)["step2"].state == "RUNNING"
    assert embedded.context.board.count().waiting == 1


@pytest.mark.parametrize("how", ["twice", "grace"])
def test_a_task_that_does_not_heed_is_left_behind(embedded: Cluster, how: str) -> None:
    alice = embedded.start("alice", conductor__grace=1.0 if how == "grace" else 60, conductor__lease=30)
    job_id = embedded.post("steps", hold=2, gate=embedded.gate())
    worker = embedded.started("step2").pid
    alice.signal(signal.SIGTERM)
    embedded.until(lambda: "stopping" in alice.log, "the first signal is heeded")
    if how == "twice":
        alice.signal(signal.SIGTERM)
    assert alice.wait(5) == 0, alice.tail()
    assert not lives(worker)
    job = embedded.job(job_id)
    assert (job.state, job.owner) == (JobState.SUSPENDED, None), alice.tail()
    embedded.open(embedded.gate())
    bob = embedded.start("bob")
    embedded.succeeded(job_id, within=5)  # its lease of 30 s was given up
    assert embedded.job(job_id).deaths == 0, bob.tail()  # nobody died of it


def test_sigterm_while_the_workers_start(embedded: Cluster) -> None:
    alice = embedded.start("alice", ready=False, conductor__processes=2)
    embedded.until(lambda: "runs with 2 workers" in alice.log, "the supervisor runs")
    alice.signal(signal.SIGTERM)
    assert alice.wait(10) == 0, alice.tail()
    assert "leaving at once" not in alice.log


def test_signals_to_the_workers_themselves_do_not_end_them(embedded: Cluster) -> None:
    """systemd sends SIGTERM to the whole control group, a terminal SIGINT to the whole process group."""
    alice = embedded.start("alice")
    job_id = embedded.post("steps", hold=2, gate=embedded.gate())
    worker = embedded.started("step2").pid
    assert os.getpgid(worker) != os.getpgid(alice.process.pid)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(worker, number)
    embedded.open(embedded.gate())
    embedded.succeeded(job_id)
    assert lives(worker)
    assert len(embedded.owner_changes(job_id)) == 1


def test_sighup_loads_new_plugins(embedded: Cluster) -> None:
    plugins = embedded.directory / "plugins"
    (plugins / "more").mkdir(parents=True)
    (plugins / "more" / "old.py").write_text(PLUGIN.replace("brand_new", "old"))
    embedded.environment["JOBRUNNER_FLOWS"] += f":{plugins}"
    alice = embedded.start("alice")
    (plugins / "more" / "fresh.py").write_text(PLUGIN)
    job_id = _posted_unseen(embedded)
    alice.signal(signal.SIGHUP)
    embedded.succeeded(job_id)
    assert alice.process.poll() is None


def test_a_working_directory_that_is_replaced_is_found_again(embedded: Cluster) -> None:
    """As deployments do it: a process has no working directory from then on, whatever takes the old one's place."""
    place = embedded.working_directory = embedded.directory / "work"
    (place / "flows" / "more").mkdir(parents=True)
    alice = embedded.start("alice", conductor__processes=1)
    shutil.rmtree(place)
    (place / "flows" / "more").mkdir(parents=True)
    (place / "flows" / "more" / "fresh.py").write_text(PLUGIN)
    first = _posted_unseen(embedded)
    alice.signal(signal.SIGHUP)
    embedded.succeeded(first)
    alice.workers()[0].kill()
    embedded.succeeded(_posted_unseen(embedded))
    assert "internal error" not in alice.log


def _posted_unseen(cluster: Cluster) -> str:
    """A job of a type that only the conductor has."""
    now_ms = time.time_ns() // 1_000_000
    [(job_id, _)] = cluster.context.store.insert([Posting(type="brand_new")], now_ms=now_ms)
    assert post.put_on_board(cluster.context, [board_entry(cluster.job(job_id))])
    return job_id


def test_a_running_job_is_cancelled_from_outside(networked: Cluster) -> None:
    networked.start()
    gates = [networked.gate("one"), networked.gate("two")]
    undone, kept = (networked.post("steps", hold=2, gate=gate, heed=True) for gate in gates)
    for job_id in (undone, kept):
        networked.started("step2", job=job_id)
    assert networked.cancel(undone) is JobState.RUNNING
    assert networked.cancel(kept, CancelMode.KEEP) is JobState.RUNNING
    states = [job.state for job in networked.ended(undone, kept, within=5)]
    assert states == [JobState.CANCELLED] * 2
    assert [line.atom for line in networked.evidence(job=undone, what="revert")] == ["step2", "step1"]
    assert not networked.evidence(job=kept, what="revert")
    networked.until(lambda: networked.context.board.count().claimed == 0, "the board knows")


def test_a_job_that_takes_too_long_is_undone(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("steps", hold=2, gate=embedded.gate(), heed=True, posting={"timeout": 0.5})
    job = embedded.ended(job_id, within=5)[0]
    assert job.state is JobState.TIMED_OUT
    assert [line.atom for line in embedded.evidence(what="revert")] == ["step2", "step1"]


def test_a_job_whose_time_was_up_before_it_was_resumed_runs_no_further(embedded: Cluster) -> None:
    alice = embedded.start("alice")
    job_id = embedded.post("steps", hold=2, gate=embedded.gate(), posting={"timeout": 2.0})
    embedded.started("step2")
    alice.kill_all()
    began_ms = embedded.job(job_id).started_ms or 0
    embedded.until(lambda: time.time() * 1000 > began_ms + 2000, "its time is up")
    embedded.start("bob")
    assert embedded.ended(job_id, within=5)[0].state is JobState.TIMED_OUT
    assert len(embedded.evidence(atom="step2", what="start")) == 1
