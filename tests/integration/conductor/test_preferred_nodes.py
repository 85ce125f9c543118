"""Jobs that prefer a node: there if it takes them, elsewhere after a time; pinned ones never go elsewhere."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
import sqlalchemy as sa

from jobrunner.boards.board import Board
from jobrunner.conductor.channel import Channel
from jobrunner.conductor.reconciling import failover
from jobrunner.conductor.reconciling.failover import Failover
from jobrunner.conductor.reconciling.reconciler import Reconciler
from jobrunner.conductor.worker.ended import EndedJobs
from jobrunner.errors import InvalidParameters
from jobrunner.jobs import post
from jobrunner.jobs.following import follow
from jobrunner.model import After, Job, JobClass, JobState, Posting
from jobrunner.persistence.nodes import SILENT_MS, node_stopped, report_node
from jobrunner.persistence.ownership import ownership
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.settling import Settlement, followed_up
from jobrunner.persistence.tables import jobs, nodes
from jobrunner.policies import Placement, Policies, RetryPolicy
from tests.support.conductors import Cluster

LEASE_S = 10.0


def preferring(node: str, failover: float = 3600.0, **posting: Any) -> dict[str, Any]:
    return {"policies": Policies(placement=Placement(prefer=node, failover=failover)), **posting}


def alive(cluster: Cluster, *names: str) -> None:
    for name in names:
        report_node(cluster.context.database, name, f"{name}:1", started_ms=1, report={})


def stop(cluster: Cluster, name: str) -> None:
    node_stopped(cluster.context.database, name, f"{name}:1")


def drain(cluster: Cluster, name: str) -> None:
    statement = sa.update(nodes).where(nodes.c.name == name).values(drained=1)
    cluster.context.database.retrying(lambda connection: connection.execute(statement))


def look(cluster: Cluster) -> int:
    context = cluster.context
    return Failover(context.database, context.board, holder="tester/failover", lease=LEASE_S).look()


def claimed_by(cluster: Cluster, node: str) -> list[str]:
    """What a worker of that node claims now."""
    classes = [JobClass(type="steps", node=name) for name in (None, node)]
    board: Board = cluster.context.board
    return board.claim(f"{node}/1", classes, limit=10, lease=LEASE_S)


def posted(cluster: Cluster, **posting: Any) -> str:
    return cluster.post("steps", posting=posting)


def test_a_job_waits_for_the_node_that_it_prefers(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice"))
    assert look(anywhere) == 0
    assert claimed_by(anywhere, "bob") == []
    assert claimed_by(anywhere, "alice") == [job_id]


def test_after_its_time_any_node_gets_it(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice", failover=0.2))
    anywhere.until(lambda: look(anywhere) == 1, "the job was let go")
    job = anywhere.job(job_id)
    assert (job.job_class.node, job.failover_ms, job.state) == (None, None, JobState.WAITING)
    assert claimed_by(anywhere, "bob") == [job_id]
    (event,) = [e for e in anywhere.context.store.history(job_id) if e["kind"] == "failed_over"]
    assert event["data"]["node"] == "alice"


def test_a_conductor_whose_clock_is_fast_lets_nothing_go_early(both: Cluster, monkeypatch: Any) -> None:
    alive(both, "alice")
    job_id = posted(both, **preferring("alice", failover=600.0))
    with monkeypatch.context() as patched:
        fast = time.time_ns() + 3_600 * 10**9
        patched.setattr(time, "time_ns", lambda: fast)
        assert look(both) == 0
    assert claimed_by(both, "bob") == []
    assert claimed_by(both, "alice") == [job_id]


def test_it_is_let_go_at_once_when_the_node_stops_or_is_drained(anywhere: Cluster) -> None:
    alive(anywhere, "alice", "carol")
    jobs = [posted(anywhere, **preferring(name)) for name in ("alice", "carol")]
    assert look(anywhere) == 0
    stop(anywhere, "alice")
    drain(anywhere, "carol")
    assert look(anywhere) == 2
    assert sorted(claimed_by(anywhere, "bob")) == sorted(jobs)


def test_rows_that_cannot_be_read_keep_nobody_at_a_node_that_is_gone(
    anywhere: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "PAGE", 2)
    alive(anywhere, "alice")
    broken = [posted(anywhere, **preferring("alice")) for _ in range(5)]
    fine = [posted(anywhere, **preferring("alice")) for _ in range(5)]
    unreadable = sa.update(jobs).where(jobs.c.id.in_(broken)).values(parameters="{", failover_ms=1)
    at_once = sa.update(jobs).where(jobs.c.id.in_(fine)).values(failover_ms=1)
    for statement in (unreadable, at_once):
        anywhere.context.database.retrying(
            lambda connection, statement=statement: connection.execute(statement)
        )
    stop(anywhere, "alice")
    assert look(anywhere) == 5
    assert sorted(claimed_by(anywhere, "bob")) == sorted(fine)


def test_it_is_let_go_when_nothing_was_heard_of_the_node_for_some_time(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice"))
    silent = sa.update(nodes).where(nodes.c.name == "alice").values(seen_ms=nodes.c.seen_ms - SILENT_MS - 1)
    anywhere.context.database.retrying(lambda connection: connection.execute(silent))
    assert look(anywhere) == 1
    assert claimed_by(anywhere, "bob") == [job_id]


def test_a_node_that_is_away_is_not_even_waited_for(anywhere: Cluster) -> None:
    job_id = posted(anywhere, **preferring("nobody"))
    assert claimed_by(anywhere, "bob") == [job_id]
    assert anywhere.job(job_id).policies.placement == Placement(prefer="nobody", failover=3600.0)


def test_a_pinned_job_never_goes_elsewhere(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, node="alice")
    stop(anywhere, "alice")
    assert look(anywhere) == 0
    reconciler = Reconciler(anywhere.context.database, anywhere.context.board, holder="tester", lease=LEASE_S)
    reconciler.run_if_leader()
    assert claimed_by(anywhere, "bob") == []
    assert anywhere.job(job_id).job_class.node == "alice"


def test_several_conductors_that_look_let_it_go_once(both: Cluster) -> None:
    alive(both, "alice")
    ids = both.post_many("steps", count=50, posting=preferring("alice"))
    stop(both, "alice")
    assert [look(both), look(both)] == [50, 0]
    assert sorted(claimed_by(both, "bob") + [i for _ in range(4) for i in claimed_by(both, "bob")]) == sorted(
        ids
    )


def test_what_somebody_has_claimed_meanwhile_stays_with_them(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice", failover=0.0))
    assert claimed_by(anywhere, "alice") == [job_id]
    assert look(anywhere) == 1
    board = anywhere.context.board
    assert board.owners([job_id]) == {job_id: "alice/1"}
    board.release("alice/1", [job_id])
    assert claimed_by(anywhere, "bob") == []  # it stands for alice again, though SQL says any
    put_right(anywhere)
    assert claimed_by(anywhere, "bob") == [job_id]


def test_who_stood_still_while_it_moved_a_job_takes_it_from_nobody(both: Cluster, monkeypatch: Any) -> None:
    alive(both, "alice")
    job_id = posted(both, **preferring("alice", failover=0.0))
    board: Any = both.context.board
    claim_these = board.claim_these

    def stand_still(*args: Any, **options: Any) -> list[str]:
        claimed = claim_these(*args, **{**options, "lease": 0.05})
        both.until(lambda: claimed_by(both, "alice") == [job_id], "somebody else has it")
        return list(claimed)

    monkeypatch.setattr(board, "claim_these", stand_still)
    assert look(both) == 1
    assert board.owners([job_id]) == {job_id: "alice/1"}
    assert claimed_by(both, "bob") == []


def test_who_dies_before_the_board_is_told_leaves_it_to_the_reconciler(
    anywhere: Cluster, monkeypatch: Any
) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice"))
    stop(anywhere, "alice")
    with monkeypatch.context() as patched:
        patched.setattr("jobrunner.conductor.reconciling.failover.move", lambda *args, **kwargs: None)
        assert look(anywhere) == 1
    assert claimed_by(anywhere, "bob") == []
    put_right(anywhere)
    assert claimed_by(anywhere, "bob") == [job_id]


def test_a_lost_board_is_filled_as_it_was(anywhere: Cluster) -> None:
    alive(anywhere, "alice", "carol")
    stays, goes = (posted(anywhere, **preferring(name)) for name in ("alice", "carol"))
    stop(anywhere, "carol")
    assert look(anywhere) == 1
    anywhere.context.board.clear()
    put_right(anywhere)
    assert claimed_by(anywhere, "bob") == [goes]
    assert claimed_by(anywhere, "alice") == [stays]


def test_a_running_job_of_a_node_that_died_goes_elsewhere(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice"))
    board = anywhere.context.board
    board.claim("alice/1", [JobClass(type="steps", node="alice")], limit=1, lease=0.3)
    begin(anywhere.context.database, [job_id], owner="alice/1", node="alice")
    assert look(anywhere) == 0
    stop(anywhere, "alice")
    anywhere.until(lambda: board.owners([job_id]) == {}, "the lease ended")
    assert look(anywhere) == 1
    assert claimed_by(anywhere, "bob") == [job_id]


def test_a_new_attempt_prefers_the_node_again(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice", failover=0.0))
    assert look(anywhere) == 1
    begun = begin(anywhere.context.database, [job_id], owner="bob/1", node="bob").started[0]
    ownership.hand_back(anywhere.context.database, begun, Settlement(state=JobState.FAILED))
    again: Job = ownership.retry(anywhere.context.database, job_id)
    assert again.job_class.node == "alice"
    assert again.failover_ms is not None


class Deaf:
    """The supervisor's end of a worker's channel: what is said there does not matter here."""

    def send(self, kind: str, **content: Any) -> None:
        """Hear nothing."""


def failed_on(cluster: Cluster, job_id: str, node: str) -> None:
    """An attempt fails there and is to be followed by another, and the board is told; as a worker does it."""
    owner, context = f"{node}/1", cluster.context
    assert context.board.claim_these(owner, [job_id], lease=LEASE_S) == [job_id]
    begun = begin(context.database, [job_id], owner=owner, node=node).started[0]
    settlement = followed_up(begun, Settlement(state=JobState.FAILED))
    ownership.hand_back(context.database, begun, settlement)
    ended = EndedJobs(owner, cast("Channel", Deaf()))
    placement = settlement.placement
    ended.job_goes_back(begun, delay=0.0, prefers=None if placement is None else placement.prefer)
    ended.tell(context.board)


RETRIED = RetryPolicy(attempts=3, delay=0.0)


def test_an_automatic_retry_prefers_the_node_anew_wherever_the_attempt_before_ran(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    policies = Policies(placement=Placement(prefer="alice", failover=0.0), retry=RETRIED)
    job_id = posted(anywhere, policies=policies)
    assert look(anywhere) == 1
    failed_on(anywhere, job_id, "bob")
    job = anywhere.job(job_id)
    assert (job.attempt, job.job_class.node) == (2, "alice")
    assert job.failover_ms is not None
    assert claimed_by(anywhere, "bob") == []
    anywhere.until(lambda: look(anywhere) == 1, "the second attempt was let go as well")
    assert claimed_by(anywhere, "bob") == [job_id]


def test_an_automatic_retry_may_go_anywhere_but_a_pinned_job_stays(anywhere: Cluster) -> None:
    pinned = posted(anywhere, node="alice", policies=Policies(retry=RETRIED))
    free = posted(anywhere, policies=Policies(retry=RETRIED))
    for job_id in (pinned, free):
        failed_on(anywhere, job_id, "alice")
    assert [anywhere.job(job_id).attempt for job_id in (pinned, free)] == [2, 2]
    assert claimed_by(anywhere, "bob") == [free]
    assert claimed_by(anywhere, "alice") == [pinned]


def test_a_job_that_comes_after_another_waits_for_its_node_from_when_it_goes_on(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    first = posted(anywhere)
    then = posted(anywhere, after=(After(job=first),), **preferring("alice", failover=1000.0))
    long_ago = sa.update(jobs).where(jobs.c.id == then).values(failover_ms=1)
    anywhere.context.database.retrying(lambda connection: connection.execute(long_ago))
    assert claimed_by(anywhere, "bob") == [first]
    begun = begin(anywhere.context.database, [first], owner="bob/1", node="bob").started[0]
    ownership.hand_back(anywhere.context.database, begun, Settlement(state=JobState.SUCCEEDED))
    assert follow(anywhere.context.database, lambda: anywhere.context.board, [first]) == 1
    assert look(anywhere) == 0
    assert claimed_by(anywhere, "bob") == []
    assert claimed_by(anywhere, "alice") == [then]


def test_the_time_counts_from_when_the_job_can_be_had(anywhere: Cluster) -> None:
    """An attempt that waits after a failure begins to wait for its node when its pause is over."""
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice", failover=0.5))
    began = begin(anywhere.context.database, [job_id], owner="alice/1", node="alice").started[0]
    anywhere.until(lambda: time.time() * 1000 > (anywhere.job(job_id).failover_ms or 0), "its time was up")
    later = time.time_ns() // 1_000_000
    waits = Settlement(state=JobState.SCHEDULED, available_ms=later)
    ownership.hand_back(anywhere.context.database, began, waits)
    assert look(anywhere) == 0
    assert anywhere.job(job_id).failover_ms == later + 500
    anywhere.until(lambda: look(anywhere) == 1, "the job was let go")


def test_what_ended_has_no_time_at_which_to_leave(anywhere: Cluster) -> None:
    alive(anywhere, "alice")
    job_id = posted(anywhere, **preferring("alice"))
    anywhere.cancel(job_id)
    assert anywhere.job(job_id).failover_ms is None


def test_a_job_starts_elsewhere_after_its_node_was_stopped(both: Cluster) -> None:
    """With conductors: the one that it prefers is asked first, and the other has it when that one is gone."""
    alice, _bob = (both.start(name, conductor__grace=0.5) for name in ("alice", "bob"))
    first = both.post("steps", hold=1, posting=preferring("alice"), gate=both.gate("first"))
    both.until(lambda: both.job(first).node == "alice", "alice runs it")
    alice.signal(15)
    alice.wait()
    both.until(lambda: both.job(first).node == "bob", "bob runs it")
    both.open(both.gate("first"))
    both.succeeded(first)


def put_right(cluster: Cluster) -> None:
    reconciler = Reconciler(cluster.context.database, cluster.context.board, holder="tester", lease=LEASE_S)
    assert reconciler.run_if_leader() is not None


def test_a_posting_cannot_be_pinned_and_prefer(embedded: Cluster) -> None:
    wanted = Posting(type="steps", parameters={"evidence": "e"}, node="bob", **preferring("alice"))
    with pytest.raises(InvalidParameters, match="pinned"):
        post.post(embedded.context, wanted)
