"""Jobs that wait for the outside world, on conductors: they hold nothing, and nothing is lost, whatever dies."""

from __future__ import annotations

import random
import statistics
import threading
from concurrent import futures

import pytest

from jobrunner.jobs import change, signals
from jobrunner.model import JobState, Parked
from jobrunner.persistence import signals as stored
from tests.support.conductors import Cluster

MANY = 60
HOUR_S = 3600.0


def parked(cluster: Cluster, *job_ids: str) -> None:
    """Return once these jobs wait for a signal, off the board."""
    for job_id in job_ids:
        cluster.until(lambda job_id=job_id: cluster.job(job_id).parked is Parked.SIGNAL, f"{job_id} waits")  # type: ignore[misc]
    cluster.until(lambda: not cluster.context.board.known(job_ids), "they are off the board")


def signal(cluster: Cluster, job_id: str, data: object = None) -> None:
    assert signals.signal(cluster.context, cluster.job(job_id), "go", data).new


def once_each(cluster: Cluster, job_id: str) -> None:
    starts = [line.atom for line in cluster.evidence(job=job_id, what="start")]
    assert starts == ["before", "after"]
    cluster.check_evidence([job_id])


def test_a_signal_lets_a_job_go_on(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("asks")
    parked(anywhere, job_id)
    sent = signals.signal(anywhere.context, anywhere.job(job_id), "go", {"by": "Ada"})
    assert (sent.new, sent.woken, sent.state) == (True, True, JobState.SUSPENDED)
    assert anywhere.in_state(job_id, JobState.SUCCEEDED).result["word"] == {"by": "Ada"}
    once_each(anywhere, job_id)


def test_a_signal_ends_a_wait_with_a_time_limit(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("asks", within=HOUR_S)
    anywhere.in_state(job_id, JobState.SUSPENDED)
    anywhere.until(lambda: anywhere.context.board.count().delayed == 1, "it stands on the board for later")
    signal(anywhere, job_id, 1)
    took = anywhere.until(lambda: anywhere.job(job_id).state is JobState.SUCCEEDED, "it goes on")
    assert took < 5.0
    once_each(anywhere, job_id)


def test_sleeping_jobs_go_on_at_their_times(anywhere: Cluster, request: pytest.FixtureRequest) -> None:
    anywhere.start()
    ids = [anywhere.post("naps", seconds=0.6 + number / 20) for number in range(20)]
    late_ms = []
    for job in anywhere.ended(*ids):
        assert job.state is JobState.SUCCEEDED
        events = anywhere.context.store.history(job.id)
        (suspended,) = [event["at_ms"] for event in events if event["kind"] == "suspended"]
        claimed = [event["at_ms"] for event in events if event["kind"] == "claimed"][-1]
        slept_ms = claimed - suspended
        late_ms.append(slept_ms - 1000 * job.parameters["seconds"])
        once_each(anywhere, job.id)
    assert min(late_ms) > -100  # that which passes between the task's look and the settlement
    if "networked" in request.node.name:
        assert statistics.median(late_ms) < 100, late_ms


def test_many_waiting_jobs_hold_no_worker(anywhere: Cluster) -> None:
    anywhere.start(conductor__jobs=2)
    ids = anywhere.post_many("asks", count=MANY)
    naps = anywhere.post_many("naps", count=5, seconds=HOUR_S)
    parked(anywhere, *ids)
    for job_id in naps:
        anywhere.in_state(job_id, JobState.SUSPENDED)
    quick = anywhere.post("quick")
    anywhere.in_state(quick, JobState.SUCCEEDED)
    anywhere.until(lambda: anywhere.context.board.count().claimed == 0, "nothing is claimed")
    with futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda job_id: signal(anywhere, job_id), ids))
    assert {job.state for job in anywhere.ended(*ids)} == {JobState.SUCCEEDED}
    for job_id in ids:
        once_each(anywhere, job_id)


def test_signals_at_any_moment_are_never_missed(anywhere: Cluster) -> None:
    """Before the job begins, while its task looks, while it is settled, while it is taken off the board."""
    anywhere.start(conductor__processes=2)
    chance = random.Random(5)

    def post_and_signal(number: int) -> str:
        within = HOUR_S if number % 2 else None
        job_id = anywhere.post("asks", within=within)
        threading.Event().wait(chance.uniform(0, 0.1))
        signal(anywhere, job_id, number)
        return job_id

    with futures.ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(post_and_signal, range(MANY)))
    for number, job in enumerate(anywhere.ended(*ids)):
        assert (job.state, job.result["word"]) == (JobState.SUCCEEDED, number)
        once_each(anywhere, job.id)


def test_what_waits_survives_the_death_of_every_conductor(anywhere: Cluster) -> None:
    conductor = anywhere.start("alice")
    ids = anywhere.post_many("asks", count=5)
    parked(anywhere, *ids)
    nap = anywhere.post("naps", seconds=2)
    anywhere.in_state(nap, JobState.SUSPENDED)
    conductor.kill_all()
    for job_id in ids:
        signal(anywhere, job_id, "while nobody was there")
    anywhere.start("bob")
    for job in anywhere.ended(*ids, nap):
        assert job.state is JobState.SUCCEEDED
        once_each(anywhere, job.id)
        assert anywhere.owner_changes(job.id) == ["alice", "bob"]


def test_the_leader_offers_what_nobody_else_did(anywhere: Cluster) -> None:
    """Whoever sent the signals died before the board heard of them."""
    anywhere.start()
    ids = [anywhere.post("asks"), anywhere.post("asks", within=HOUR_S)]
    parked(anywhere, ids[0])
    anywhere.in_state(ids[1], JobState.SUSPENDED)
    for job_id in ids:
        stored.send(anywhere.context.database, job_id, "go", None)
    for job in anywhere.ended(*ids):
        assert job.state is JobState.SUCCEEDED
        once_each(anywhere, job.id)


def test_a_board_that_lost_everything_loses_no_wait(networked: Cluster) -> None:
    networked.start()
    asks, nap = networked.post("asks"), networked.post("naps", seconds=2.0)
    parked(networked, asks)
    networked.in_state(nap, JobState.SUSPENDED)
    networked.context.board.clear()
    signal(networked, asks)
    for job in networked.ended(asks, nap):
        assert job.state is JobState.SUCCEEDED
        once_each(networked, job.id)


@pytest.mark.parametrize("within", [None, HOUR_S])
def test_a_waiting_job_can_be_suspended_and_goes_on_when_it_is_resumed(
    both: Cluster, within: float | None
) -> None:
    both.start()
    job_id = both.post("asks", within=within)
    both.until(lambda: both.job(job_id).awaits == "go", "it waits")
    change.suspend(both.context, both.job(job_id))
    assert not signals.signal(both.context, both.job(job_id), "go").woken
    assert both.job(job_id).parked is Parked.HELD
    change.resume(both.context, both.job(job_id))
    both.in_state(job_id, JobState.SUCCEEDED)
    once_each(both, job_id)


@pytest.mark.parametrize("within", [None, HOUR_S])
def test_cancelling_a_waiting_job_takes_effect_at_once(anywhere: Cluster, within: float | None) -> None:
    anywhere.start()
    job_id = anywhere.post("asks", within=within)
    anywhere.until(lambda: anywhere.job(job_id).awaits == "go", "it waits")
    change.cancel(anywhere.context, anywhere.job(job_id))
    took = anywhere.until(lambda: anywhere.job(job_id).state is JobState.CANCELLED, "it is cancelled")
    assert took < 5.0
    assert [line.what for line in anywhere.evidence(job=job_id)] == ["start", "end", "revert"]


def test_a_waiting_jobs_time_limit_ends_it(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("asks", posting={"timeout": 1.0})
    job = anywhere.in_state(job_id, JobState.TIMED_OUT)
    assert job.started_ms is not None
    assert job.finished_ms is not None
    assert 1000 <= job.finished_ms - job.started_ms < 4000
    assert [line.what for line in anywhere.evidence(job=job_id)] == ["start", "end", "revert"]
