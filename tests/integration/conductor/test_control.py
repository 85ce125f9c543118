"""People's wishes on living conductors: suspend and resume, drain nodes, delete and prune."""

from __future__ import annotations

import time

import pytest

from jobrunner.jobs import change, nodes, remove
from jobrunner.model import CancelMode, JobState, Parked
from jobrunner.persistence.nodes import list_nodes
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.tables import jobs
from tests.support.conductors import Cluster

SOON_S = 1.0
"""What a person says takes effect within this time."""


def board_is_empty(cluster: Cluster) -> bool:
    count = cluster.context.board.count()
    return (count.waiting, count.delayed, count.claimed) == (0, 0, 0)


def test_a_running_job_stops_at_its_next_border_and_goes_on_when_resumed(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("steps", hold=2, gate=anywhere.gate(), heed=True)
    anywhere.started("step2")
    told = change.suspend(anywhere.context, anywhere.job(job_id))
    assert (told.state, told.held) == (JobState.RUNNING, True)
    job = anywhere.in_state(job_id, JobState.SUSPENDED, within=SOON_S)
    assert (job.parked, job.held, job.owner) == (Parked.HELD, True, None)
    anywhere.until(lambda: board_is_empty(anywhere), "nothing of it is on the board")
    anywhere.succeeded(anywhere.post("quick"))  # the conductor has taken others meanwhile
    assert anywhere.job(job_id).parked is Parked.HELD
    anywhere.open(anywhere.gate())
    began = time.monotonic()
    assert change.resume(anywhere.context, job).state is JobState.WAITING
    anywhere.succeeded(job_id)
    assert time.monotonic() - began < SOON_S
    assert [line.atom for line in anywhere.evidence(what="start", job=job_id)] == [
        "step1",
        "step2",
        "step2",
        "step3",
    ]


def test_a_waiting_job_is_left_alone_until_it_is_resumed(anywhere: Cluster) -> None:
    job_id = anywhere.post("quick")
    change.suspend(anywhere.context, anywhere.job(job_id))
    assert board_is_empty(anywhere)
    anywhere.start()
    anywhere.succeeded(anywhere.post("quick"))
    assert anywhere.job(job_id).state is JobState.SUSPENDED
    change.resume(anywhere.context, anywhere.job(job_id))
    anywhere.succeeded(job_id)


def test_who_resumes_before_the_job_has_stopped_lets_it_run_on(embedded: Cluster) -> None:
    alice = embedded.start()
    job_id = embedded.post("steps", hold=2, gate=embedded.gate())
    embedded.started("step2")
    for _ in range(2):
        change.suspend(embedded.context, embedded.job(job_id))
    time.sleep(0.6)  # the worker was told by now, which must not matter
    change.resume(embedded.context, embedded.job(job_id))
    embedded.open(embedded.gate())
    embedded.succeeded(job_id)
    starts = [line.atom for line in embedded.evidence(what="start", job=job_id)]
    assert starts == ["step1", "step2", "step3"], alice.tail()


def test_a_job_whose_owner_dies_before_it_stops_is_parked_and_not_run(both: Cluster) -> None:
    alice = both.start("alice")
    job_id = both.post("steps", hold=2, gate=both.gate())
    both.started("step2")
    change.suspend(both.context, both.job(job_id))
    alice.kill_all()
    both.start("bob")
    job = both.in_state(job_id, JobState.SUSPENDED)
    assert (job.parked, job.deaths) == (Parked.HELD, 1)
    assert both.owner_changes(job_id) == ["alice"]
    both.open(both.gate())
    change.resume(both.context, job)
    both.succeeded(job_id)


def test_a_suspended_half_done_job_is_cancelled_and_undone(both: Cluster) -> None:
    both.start()
    job_id = both.post("steps", hold=2, gate=both.gate(), heed=True)
    both.started("step2")
    change.suspend(both.context, both.job(job_id))
    job = both.in_state(job_id, JobState.SUSPENDED)
    change.cancel(both.context, job, CancelMode.REVERT)
    both.in_state(job_id, JobState.CANCELLED)
    assert both.atoms(job_id)["step1"].state == "REVERTED"


def test_who_cancels_a_job_that_was_claimed_just_now_leaves_its_owner_the_claim(both: Cluster) -> None:
    """It was read while it stood on the board for later, and was offered and begun before the word came."""
    at_ms = time.time_ns() // 1_000_000 + 3_600_000
    (job_id,) = both.post_many("quick", count=1, posting={"available_ms": at_ms})
    read = both.job(job_id)
    with both.context.database.write() as connection:
        now = {"available_ms": at_ms - 3_600_000, "state": "WAITING"}
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(**now))
    board = both.context.board
    board.hasten([job_id])
    assert board.claim("alice:1", [read.job_class], limit=1, lease=60.0) == [job_id]
    assert begin(both.context.database, [job_id], owner="alice:1", node="alice").started
    assert change.cancel(both.context, read, CancelMode.REVERT) is JobState.RUNNING
    assert board.owners([job_id]) == {job_id: "alice:1"}


def test_the_reconciler_takes_a_parked_job_off_the_board_and_does_not_put_it_back(both: Cluster) -> None:
    """The board was away when the job was suspended: it still offers it, delayed, so that nobody claims it."""
    at_ms = time.time_ns() // 1_000_000 + 3_600_000
    parked, other = both.post_many("quick", count=2, posting={"available_ms": at_ms})
    with both.context.database.write() as connection:
        row = {"parked": "held", "held": 1, "state": "SUSPENDED"}
        connection.execute(jobs.update().where(jobs.c.id == parked).values(**row))
    both.start()
    both.until(lambda: both.context.board.known([parked, other]) == {other}, "the board has the other only")
    both.context.board.clear()
    both.until(lambda: both.context.board.known([parked, other]), "the board is filled again")
    assert both.context.board.known([parked, other]) == {other}


# Draining


def drained(cluster: Cluster) -> dict[str, bool]:
    return {node.name: node.drained for node in list_nodes(cluster.context.database)}


def test_a_drained_node_takes_no_more_jobs_but_ends_those_that_it_has(anywhere: Cluster) -> None:
    alice = anywhere.start("alice")
    running = anywhere.post("steps", hold=2, gate=anywhere.gate())
    anywhere.started("step2")
    nodes.drain(anywhere.context, "alice")
    anywhere.until(lambda: "is drained" in alice.log, "alice knows", within=SOON_S)
    waiting = anywhere.post("quick")
    pinned = anywhere.post("quick", posting={"node": "alice"})
    anywhere.start("bob")
    anywhere.succeeded(waiting)
    assert anywhere.owner_changes(waiting) == ["bob"]
    anywhere.open(anywhere.gate())
    anywhere.succeeded(running)
    assert anywhere.owner_changes(running) == ["alice"]
    anywhere.until(lambda: "drained" in (anywhere.job(pinned).note or ""), "the pinned job says why it waits")
    assert anywhere.job(pinned).state is JobState.WAITING
    nodes.undrain(anywhere.context, "alice")
    anywhere.succeeded(pinned)
    assert anywhere.owner_changes(pinned) == ["alice"]


def test_an_idle_node_hears_of_it_as_soon_and_a_restart_keeps_it(both: Cluster) -> None:
    alice = both.start("alice")
    both.until(lambda: "alice" in drained(both), "alice has reported")
    nodes.drain(both.context, "alice")
    both.until(lambda: "is drained" in alice.log, "alice knows", within=SOON_S)
    alice.kill_all()
    job_id = both.post("quick")
    again = both.start("alice", ready=False)
    both.until(lambda: "is drained" in again.log, "it still is")
    both.until(lambda: "takes jobs" in again.log, "its worker is there")
    assert drained(both) == {"alice": True}
    time.sleep(0.5)
    assert both.job(job_id).state is JobState.WAITING
    nodes.undrain(both.context, "alice")
    both.succeeded(job_id)


def test_a_conductor_that_only_empties_the_board_ends_if_it_is_drained(embedded: Cluster) -> None:
    embedded.start("alice", once=True).wait()
    nodes.drain(embedded.context, "alice")
    job_id = embedded.post("quick")
    assert embedded.start("alice", once=True).wait() == 0
    assert embedded.job(job_id).state is JobState.WAITING


# Deleting and pruning


def test_a_running_job_is_cancelled_and_deleted(both: Cluster) -> None:
    both.start()
    job_id = both.post("steps", hold=2, gate=both.gate(), heed=True)
    both.started("step2")
    deleted = remove.delete(both.context, job_id[:12], cancel=CancelMode.REVERT, timeout=20)
    assert (deleted.job_id, deleted.existed) == (job_id, True)
    assert both.context.store.states([job_id]) == {}
    assert [line.atom for line in both.evidence(what="revert", job=job_id)] != []
    both.until(lambda: board_is_empty(both), "nothing of it is on the board")
    assert remove.delete(both.context, job_id).existed is False
    both.succeeded(both.post("quick"))


def test_a_job_that_is_deleted_while_it_waits_is_never_run(both: Cluster) -> None:
    gone, stays = both.post_many("quick", count=2)
    both.context.board.withdraw([gone])
    remove.delete(both.context, gone)
    both.context.board.post(both.context.store.entries(both.context.store.open_ids()[0]))
    both.start()
    both.succeeded(stays)
    assert both.context.store.states([gone]) == {}
    assert both.evidence(job=gone) == []


@pytest.mark.parametrize("survivor", ["alice", "bob"])
def test_one_conductor_prunes_what_is_not_kept(anywhere: Cluster, survivor: str) -> None:
    settings = {
        "retention__every": "0.3",
        "retention__rules": '[{"type": "quick", "max_count": 2}, {"type": "steps"}]',
    }
    conductors = {name: anywhere.start(name, **settings) for name in ("alice", "bob")}
    ids = anywhere.post_many("quick", count=6)
    anywhere.until(lambda: len(anywhere.context.store.states(ids)) == 2, "all but two are gone")
    kept = anywhere.post("steps")
    anywhere.succeeded(kept)
    for name, conductor in conductors.items():
        if name != survivor:
            conductor.kill_all()
    more = anywhere.post_many("quick", count=3)
    anywhere.until(
        lambda: len(anywhere.context.store.states(ids + more)) == 2, "the other goes on", within=90
    )
    assert anywhere.context.store.states([kept])
