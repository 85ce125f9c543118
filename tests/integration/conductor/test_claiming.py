"""What conductors claim: pins, capabilities, types that nobody knows, rows that cannot be read."""

from __future__ import annotations

import time

import pytest

from jobrunner.jobs import post
from jobrunner.model import JobState, Posting
from jobrunner.persistence.store import board_entry
from jobrunner.persistence.tables import jobs
from tests.support.conductors import Cluster


def test_once_drains_the_board_and_exits(anywhere: Cluster) -> None:
    ids = [*anywhere.post_many("steps", count=5), *anywhere.post_many("failing", count=2)]
    anywhere.open(anywhere.gate())
    ids += anywhere.post_many("behind_a_gate", count=3, gate=anywhere.gate())
    closed = anywhere.post("behind_a_gate", gate=anywhere.gate("closed"))
    conductor = anywhere.start(once=True, conductor__processes=2)
    assert conductor.wait() == 0, conductor.tail()
    states = [anywhere.job(job_id).state for job_id in ids]
    assert states == [JobState.SUCCEEDED] * 5 + [JobState.REVERTED] * 2 + [JobState.SUCCEEDED] * 3, (
        conductor.tail()
    )
    assert anywhere.job(closed).state is JobState.WAITING
    anywhere.check_evidence(ids)
    board = anywhere.context.board.count()
    assert (board.waiting, board.delayed, board.claimed) == (1, 0, 0)


@pytest.mark.parametrize("how", ["exit", "exit as if it were done"])
def test_once_is_not_over_before_jobs_that_take_their_processes_along_are(
    embedded: Cluster, how: str
) -> None:
    """Twice with others in a worker, then in processes of their own: those are not left to another conductor."""
    ids = [embedded.post("deadly", how=how), embedded.post("quick")]
    conductor = embedded.start(once=True, conductor__processes=1)
    assert conductor.wait() == 0, conductor.tail()
    deadly, quick = [embedded.job(job_id) for job_id in ids]
    assert (deadly.state, quick.state) == (JobState.FAILED, JobState.SUCCEEDED), conductor.tail()
    assert deadly.error is not None
    assert deadly.error.kind == "OwnersDied"


def test_a_job_behind_a_capability_starts_soon_after_it_is_posted(both: Cluster) -> None:
    both.start()
    both.open(both.gate())
    both.succeeded(both.post("behind_a_gate", gate=both.gate()))
    posted = time.monotonic()
    job_id = both.post("behind_a_gate", gate=both.gate())
    both.succeeded(job_id)
    assert both.evidence(job=job_id)[0].at - posted < 0.5


def test_a_declined_job_says_why_it_waits_and_runs_when_it_may(embedded: Cluster) -> None:
    conductor = embedded.start()
    job_id = embedded.post("behind_a_gate", gate=embedded.gate())
    embedded.until(lambda: embedded.job(job_id).note, "it says why it waits")
    assert "gate_is_open" in (embedded.job(job_id).note or "")
    assert not embedded.evidence()
    embedded.open(embedded.gate())
    embedded.succeeded(job_id, within=10)
    assert embedded.job(job_id).note is None, conductor.tail()
    assert len(embedded.owner_changes(job_id)) == 1  # it was never claimed before it might run


def test_a_slow_capability_does_not_hold_up_other_jobs(embedded: Cluster) -> None:
    embedded.start()
    slow = embedded.post_many("judged_slowly", count=6, gate=embedded.gate("judged"))
    embedded.open(embedded.gate())
    others = [embedded.post("quick"), embedded.post("behind_a_gate", gate=embedded.gate())]
    embedded.succeeded(*others)
    assert {line.job for line in embedded.evidence()} == set(others)
    embedded.open(embedded.gate("judged"))
    embedded.succeeded(*slow)


def test_a_pinned_job_runs_on_its_node_only(embedded: Cluster) -> None:
    embedded.start("alice")
    embedded.start("bob")
    pinned = embedded.post_many("quick", count=4, posting={"node": "bob"})
    embedded.succeeded(*pinned)
    assert {name for job_id in pinned for name in embedded.owner_changes(job_id)} == {"bob"}


def test_a_job_that_nobody_can_run_waits_and_says_for_what(embedded: Cluster) -> None:
    store = embedded.context.store
    postings = [Posting(type="of_the_future"), Posting(type="quick", node="nowhere")]
    ids = [job_id for job_id, _ in store.insert(postings, now_ms=time.time_ns() // 1_000_000)]
    assert post.put_on_board(embedded.context, [board_entry(embedded.job(ids[0]))])
    conductor = embedded.start()
    embedded.until(lambda: all(embedded.job(job_id).note for job_id in ids), "both say what they wait for")
    notes = [embedded.job(job_id).note or "" for job_id in ids]
    assert "of_the_future" in notes[0]
    assert "nowhere" in notes[1]
    assert [embedded.job(job_id).state for job_id in ids] == [JobState.WAITING] * 2
    assert embedded.context.board.known(ids) == set(ids), conductor.tail()


def test_a_corrupt_row_harms_itself_only(embedded: Cluster) -> None:
    broken, fine = embedded.post("quick"), embedded.post("quick")
    with embedded.context.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == broken).values(parameters="{not json"))
    conductor = embedded.start()
    embedded.succeeded(fine)
    embedded.until(lambda: "cannot be read" in conductor.log, "it is reported")
    assert broken in conductor.log
    assert conductor.process.poll() is None
    assert embedded.context.board.known([broken]) == {broken}


def test_two_conductors_of_one_name_are_warned_and_still_run_each_job_once(embedded: Cluster) -> None:
    one, two = embedded.start("twin"), embedded.start("twin")
    ids = embedded.post_many("steps", count=20)
    embedded.succeeded(*ids)
    embedded.until(
        lambda: "another conductor runs under the node name twin" in one.log + two.log, "somebody is warned"
    )
    assert all(len(embedded.evidence(job=job_id, what="start")) == 3 for job_id in ids)
    embedded.check_evidence(ids)


def test_a_job_that_is_cancelled_while_it_waits_never_runs(embedded: Cluster) -> None:
    job_id = embedded.post("quick")
    assert embedded.cancel(job_id) is JobState.CANCELLED  # the board still has it
    embedded.start()
    embedded.succeeded(embedded.post("quick"))
    embedded.until(lambda: not embedded.context.board.known([job_id]), "it was taken off the board")
    assert not embedded.evidence(job=job_id)


def test_jobs_of_all_kinds_end_once_on_a_parallel_engine(networked: Cluster) -> None:
    networked.open(networked.gate())
    ids = networked.post_many("side_by_side", count=20, gate=networked.gate())
    networked.start("alice", conductor__processes=2)
    networked.start("bob")
    networked.succeeded(*ids)
    networked.check_evidence(ids)
