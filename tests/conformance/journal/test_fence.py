"""A former owner can change nothing, however its writes and the claimer's come to lie."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from taskflow import states

from jobrunner.errors import LeaseLost
from jobrunner.model import CancelMode, JobState
from jobrunner.persistence.ownership import beginning, ownership
from jobrunner.persistence.ownership.beginning import MAX_DEATHS, begin
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.pipelines.transaction import transaction
from jobrunner.persistence.tables import atomdetails, jobs
from jobrunner.persistence.wishes import wishes
from tests.support.journals import NODE, OTHER, Recorded, Stage, lock_waits, staged, until


def test_a_former_owner_gets_lease_lost_and_writes_nothing(stage: Stage) -> None:
    recorded = stage.flow()
    before = dict(stage.atom(recorded))
    stage.usurp(recorded)
    recorded.start()
    with pytest.raises(LeaseLost):
        recorded.journal.barrier()
    assert dict(stage.atom(recorded)) == before
    recorded.finish()  # nobody minds, nothing happens
    with pytest.raises(LeaseLost):
        recorded.journal.settle(Settlement(state=JobState.SUCCEEDED))
    assert stage.store.get(recorded.job.id).state is JobState.RUNNING


def test_the_others_of_its_batch_are_written(stage: Stage) -> None:
    flows = [stage.flow() for _ in range(5)]
    stage.usurp(flows[2])
    for recorded in flows:
        recorded.start()
    stage.writer.flush(*(recorded.journal for recorded in flows))
    assert [type(recorded.journal.error) for recorded in flows] == [type(None)] * 2 + [LeaseLost] + [
        type(None)
    ] * 2
    running = [stage.atom(recorded)["state"] == states.RUNNING for recorded in flows]
    assert running == [True, True, False, True, True]


def test_a_job_that_is_gone_is_lost(stage: Stage) -> None:
    recorded = stage.flow()
    with stage.database.write() as connection:
        connection.execute(jobs.delete())
    recorded.start()
    with pytest.raises(LeaseLost):
        recorded.journal.barrier()


def test_who_was_thought_dead_once_too_often_cannot_finish_the_job(stage: Stage) -> None:
    recorded = stage.flow()
    with stage.database.write() as connection:
        connection.execute(jobs.update().values(deaths=MAX_DEATHS - 1))
    assert begin(stage.database, [recorded.job.id], owner=OTHER, node=NODE).finished == [recorded.job.id]
    recorded.finish()
    with pytest.raises(LeaseLost):
        recorded.journal.settle(Settlement(state=JobState.SUCCEEDED))
    assert stage.store.get(recorded.job.id).state is JobState.FAILED
    assert stage.atom(recorded)["state"] == states.PENDING


def test_a_job_that_has_ended_stays_as_it_ended(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.journal.settle(Settlement(state=JobState.FAILED))
    recorded.journal.settle(Settlement(state=JobState.SUCCEEDED, result=1))
    job = stage.store.get(recorded.job.id)
    assert (job.state, job.result) == (JobState.FAILED, None)
    assert stage.all_events(job.id) == ["posted", "claimed", "failed"]


# Forced interleavings


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    problems: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 (handed over to the test)
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, problems


def test_a_write_that_comes_while_the_claim_is_under_way_waits_and_is_lost(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.start()
    with stage.database.engine.connect() as claimer, transaction(claimer) as pipeline:
        begun = beginning._begin(
            pipeline,
            [recorded.job.id],
            owner=OTHER,
            node=NODE,
            tags=beginning.TagLimits(),
            now_ms=1,
            threads_only=False,
        )
        thread, problems = in_thread(recorded.journal.barrier)
        until(lambda: recorded.journal._on_its_way)
        if stage.database.dialect != "sqlite":
            until(lambda: lock_waits(stage.database) == 1)
        assert thread.is_alive()
    thread.join()
    assert [type(problem) for problem in problems] == [LeaseLost]
    assert stage.atom(recorded)["state"] == states.PENDING
    assert stage.store.get(recorded.job.id).epoch == begun.started[0].epoch


def test_a_claim_that_comes_while_a_write_is_under_way_waits_for_it(ready_url: str, stage: Stage) -> None:
    if stage.database.dialect == "sqlite":
        pytest.skip(
            "on SQLite a write is under way from BEGIN IMMEDIATE on, and nobody can stop half-way in it"
        )
    recorded = stage.flow()
    recorded.start()
    with stage.database.engine.connect() as blocker:
        # The writer has locked the job and compared epochs when it comes to the atom's row, and waits there.
        blocker.execute(
            sa.select(atomdetails.c.uuid)
            .where(atomdetails.c.parent_uuid == recorded.detail.uuid)
            .with_for_update()
        )
        writing, problems = in_thread(recorded.journal.barrier)
        until(lambda: lock_waits(stage.database, at="atomdetails") == 1)
        with staged(ready_url) as other:
            claiming, refused = in_thread(lambda: other.usurp(recorded))
            until(lambda: lock_waits(other.database) == 1)
            assert claiming.is_alive()
            blocker.rollback()
            writing.join()
            claiming.join()
    assert problems == refused == []
    assert stage.atom(recorded)["state"] == states.RUNNING
    assert stage.store.get(recorded.job.id).epoch == 2


def test_nothing_changes_once_a_claim_is_committed(stage: Stage, ready_url: str) -> None:
    """Without forcing: a former owner that writes as fast as it can, and claims that come at any moment."""
    with staged(ready_url) as other:
        for _ in range(8):
            recorded = stage.flow()
            started = threading.Event()
            thread, problems = in_thread(lambda flow=recorded, go=started: write_for_ever(flow, go))
            assert started.wait(20)
            other.usurp(recorded)
            at_claim = dict(other.atom(recorded))
            thread.join()
            assert [type(problem) for problem in problems] == [LeaseLost]
            assert dict(other.atom(recorded)) == at_claim


def write_for_ever(recorded: Recorded, started: threading.Event) -> None:
    for number in range(100_000):
        recorded.set(meta={"progress": number})
        recorded.journal.barrier()
        if number == 2:
            started.set()


def test_two_claims_at_once_get_epochs_in_the_order_of_their_commits(stage: Stage, ready_url: str) -> None:
    ids = stage.post(20)
    with staged(ready_url) as other:
        barrier = threading.Barrier(2)
        begun: dict[str, list[Any]] = {}

        def claim(where: Stage, owner: str) -> None:
            barrier.wait()
            begun[owner] = begin(where.database, ids, owner=owner, node=NODE).started

        threads = [in_thread(lambda: claim(stage, "a")), in_thread(lambda: claim(other, "b"))]
        for thread, problems in threads:
            thread.join()
            assert problems == []
    for job_id in ids:
        epochs = [
            (each["epoch"], each["owner"])
            for each in stage.store.history(job_id)
            if each["kind"] == "claimed"
        ]
        assert [epoch for epoch, _ in epochs] == [1, 2]
        assert stage.store.get(job_id).owner == epochs[-1][1]
    assert sorted(job.epoch for jobs_ in begun.values() for job in jobs_) == [1] * 20 + [2] * 20


def test_cancel_and_claim_at_once_leave_one_story(stage: Stage, ready_url: str) -> None:
    with staged(ready_url) as other:
        for _ in range(8):
            (job_id,) = stage.post()
            barrier = threading.Barrier(2)

            def cancel(job_id: str = job_id, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                ownership.request_cancel(other.database, job_id, CancelMode.REVERT)

            thread, problems = in_thread(cancel)
            barrier.wait()
            begun = begin(stage.database, [job_id], owner=OTHER, node=NODE)
            thread.join()
            assert problems == []
            job = stage.store.get(job_id)
            if begun.started:
                assert (job.state, job.cancel) == (JobState.RUNNING, CancelMode.REVERT)
                assert wishes(stage.database, [OTHER]).cancel == {job_id: CancelMode.REVERT}
                ownership.hand_back(stage.database, begun.started[0], Settlement(state=JobState.CANCELLED))
            else:
                assert begun.finished == [job_id]
                assert job.state is JobState.CANCELLED
