"""Suspending and resuming jobs in every state; who wins where two want different things, and what a crash leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from jobrunner.errors import JobNotFound, LeaseLost, WrongState
from jobrunner.model import CancelMode, Job, JobState, Parked, new_job_id
from jobrunner.persistence.ownership.beginning import MAX_DEATHS, begin
from jobrunner.persistence.ownership.holding import resume, suspend
from jobrunner.persistence.ownership.ownership import hand_back, request_cancel
from jobrunner.persistence.ownership.settling import HELD_NOTE, Settled, Settlement, settle_rows
from jobrunner.persistence.tables import jobs
from jobrunner.persistence.wishes import wishes
from tests.support.journals import NODE, OTHER, OWNER, Stage, now_ms, until

HELD = Settlement(state=JobState.SUSPENDED, parked=Parked.HELD, note=HELD_NOTE)
LATER_MS = 4_000_000_000_000


def claim(stage: Stage, job_id: str, owner: str = OWNER) -> Job:
    [job] = begin(stage.database, [job_id], owner=owner, node=NODE).started
    return job


def change(stage: Stage, job_id: str, **columns: Any) -> None:
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(**columns))


def is_held(job: Job) -> bool:
    return (job.state, job.parked, job.held) == (JobState.SUSPENDED, Parked.HELD, True)


def test_a_waiting_job_is_parked_at_once_and_goes_on_when_resumed(stage: Stage) -> None:
    (job_id,) = stage.post()
    job, changed = suspend(stage.database, job_id)
    assert (is_held(job), changed, job) == (True, True, stage.store.get(job_id))
    assert begin(stage.database, [job_id], owner=OWNER, node=NODE).parked == [job_id]
    assert suspend(stage.database, job_id) == (job, False)
    assert stage.store.open_ids()[0] == []
    assert stage.store.on_board([job_id]) == set()
    resumed, changed = resume(stage.database, job_id)
    assert (resumed.state, resumed.parked, resumed.held, resumed.note) == (
        JobState.WAITING,
        None,
        False,
        None,
    )
    assert (changed, resumed, stage.store.on_board([job_id])) == (True, stage.store.get(job_id), {job_id})
    assert resume(stage.database, job_id) == (resumed, False)
    assert claim(stage, job_id).state is JobState.RUNNING
    assert stage.all_events(job_id) == ["posted", "suspended", "resumed", "claimed"]
    assert [job.epoch for job in (job, resumed, stage.store.get(job_id))] == [1, 2, 3]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"state": "SCHEDULED", "available_ms": LATER_MS}, (JobState.SCHEDULED, None, None)),
        ({"state": "BLOCKED", "parked": "after"}, (JobState.BLOCKED, Parked.AFTER, None)),
        (
            {"state": "SUSPENDED", "parked": "signal", "awaits": "go"},
            (JobState.SUSPENDED, Parked.SIGNAL, "go"),
        ),
        ({"state": "SUSPENDED"}, (JobState.WAITING, None, None)),
    ],
    ids=["its time", "other jobs", "a signal", "its next owner"],
)
def test_it_goes_back_to_what_it_waited_for(
    stage: Stage, before: dict[str, Any], after: tuple[Any, ...]
) -> None:
    (job_id,) = stage.post()
    change(stage, job_id, **before)
    available_ms = stage.store.get(job_id).available_ms
    for _ in range(2):
        assert is_held(suspend(stage.database, job_id)[0])
        assert suspend(stage.database, job_id)[1] is False
    job, _ = resume(stage.database, job_id)
    assert (job.state, job.parked, job.awaits) == after
    assert (job.available_ms, job.parked_before) == (available_ms, None)


def test_a_running_job_is_only_asked_and_parks_when_it_is_left(stage: Stage) -> None:
    (job_id,) = stage.post()
    job = claim(stage, job_id)
    suspended, changed = suspend(stage.database, job_id)
    assert (suspended.state, suspended.held, suspended.parked, changed) == (
        JobState.RUNNING,
        True,
        None,
        True,
    )
    assert suspended.epoch == job.epoch
    assert wishes(stage.database, [OTHER, OWNER]).suspend == {job_id}
    assert wishes(stage.database, [OTHER]).suspend == set()
    hand_back(stage.database, job, HELD)
    assert is_held(stage.store.get(job_id))
    assert wishes(stage.database, [OWNER]).suspend == set()
    assert resume(stage.database, job_id)[0].state is JobState.WAITING


def test_who_resumes_while_the_owner_stops_the_job_wins(stage: Stage) -> None:
    """Of two that are left in the same moment, only the one that is still to be suspended is parked."""
    ids = stage.post(3)
    for job_id in ids:
        claim(stage, job_id)
        suspend(stage.database, job_id)
    resumed, changed = resume(stage.database, ids[1])
    assert (resumed.state, resumed.held, changed) == (JobState.RUNNING, False, True)
    settled = [Settled(job_id=job_id, epoch=1, attempt=1, owner=OWNER, settlement=HELD) for job_id in ids]
    stage.database.pipelined(lambda pipeline: settle_rows(pipeline, settled, now_ms()))
    assert [is_held(stage.store.get(job_id)) for job_id in ids] == [True, False, True]
    job = stage.store.get(ids[1])
    assert (job.state, job.parked, job.note) == (JobState.SUSPENDED, None, None)
    assert claim(stage, ids[1]).state is JobState.RUNNING


@pytest.mark.parametrize(
    "left", [None, Settlement(state=JobState.SUSPENDED), Settlement(state=JobState.WAITING)]
)
def test_who_claims_it_next_parks_it_if_its_owner_did_not(stage: Stage, left: Settlement | None) -> None:
    (job_id,) = stage.post()
    job = claim(stage, job_id)
    suspend(stage.database, job_id)
    if left is not None:
        hand_back(stage.database, job, left)
    assert begin(stage.database, [job_id], owner=OTHER, node=NODE).parked == [job_id]
    parked = stage.store.get(job_id)
    assert is_held(parked)
    assert (parked.epoch, parked.deaths, parked.owner) == (job.epoch + 1, 0 if left else 1, None)
    assert stage.all_events(job_id)[-1] == "suspended"


def test_a_job_that_kills_its_owners_is_set_aside_all_the_same(stage: Stage) -> None:
    (job_id,) = stage.post()
    claim(stage, job_id)
    change(stage, job_id, deaths=MAX_DEATHS - 1)
    suspend(stage.database, job_id)
    assert begin(stage.database, [job_id], owner=OTHER, node=NODE).finished == [job_id]
    assert stage.store.get(job_id).state is JobState.FAILED


def test_an_end_ends_the_wish(stage: Stage) -> None:
    (job_id,) = stage.post()
    job = claim(stage, job_id)
    suspend(stage.database, job_id)
    hand_back(stage.database, job, Settlement(state=JobState.SUCCEEDED))
    assert stage.store.get(job_id).held is False
    for work in (suspend, resume):
        with pytest.raises(WrongState, match="ended already: SUCCEEDED"):
            work(stage.database, job_id)


def test_an_owner_that_repeats_its_commit_does_not_undo_a_suspension(stage: Stage) -> None:
    (job_id,) = stage.post()
    job = claim(stage, job_id)
    waits = Settlement(state=JobState.WAITING, note="no such type here")
    hand_back(stage.database, job, waits)
    suspend(stage.database, job_id)
    with pytest.raises(LeaseLost):
        hand_back(stage.database, job, waits)
    assert is_held(stage.store.get(job_id))


def test_whoever_speaks_last_has_it_so_however_many_speak_at_once(stage: Stage) -> None:
    (job_id,) = stage.post()
    over = threading.Event()
    problems: list[BaseException] = []

    def again_and_again(work: Callable[[int], object]) -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                work(number)
            except LeaseLost:
                continue
            except Exception as error:  # noqa: BLE001 (it is looked at below)
                problems.append(error)
                return

    def own(number: int) -> None:
        left = HELD if number % 2 else Settlement(state=JobState.SUSPENDED)
        for job in begin(stage.database, [job_id], owner=f"{OWNER}{number}", node=NODE).started:
            hand_back(stage.database, job, left)

    workers = [
        threading.Thread(target=again_and_again, args=(work,))
        for work in (own, lambda _: suspend(stage.database, job_id), lambda _: resume(stage.database, job_id))
    ]
    for worker in workers:
        worker.start()
    try:
        until(lambda: stage.store.get(job_id).epoch > 60 or problems)
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert problems == []
    suspend(stage.database, job_id)
    assert begin(stage.database, [job_id], owner=OWNER, node=NODE).parked == [job_id]
    resume(stage.database, job_id)
    assert stage.store.on_board([job_id]) == {job_id}
    assert claim(stage, job_id).held is False


# Cancelling beats suspending


def test_a_job_that_is_being_cancelled_is_not_suspended(stage: Stage) -> None:
    (job_id,) = stage.post()
    claim(stage, job_id)
    request_cancel(stage.database, job_id, CancelMode.REVERT)
    with pytest.raises(WrongState, match="being cancelled"):
        suspend(stage.database, job_id)


def test_cancelling_ends_a_wish_to_suspend(stage: Stage) -> None:
    (job_id,) = stage.post()
    claim(stage, job_id)
    suspend(stage.database, job_id)
    request_cancel(stage.database, job_id, CancelMode.REVERT)
    found = wishes(stage.database, [OWNER])
    assert (found.cancel, found.suspend) == ({job_id: CancelMode.REVERT}, set())
    assert claim(stage, job_id, OTHER).cancel is CancelMode.REVERT


@pytest.mark.parametrize("mode", CancelMode)
def test_a_held_job_is_cancelled_as_one_that_waits(stage: Stage, mode: CancelMode) -> None:
    (job_id,) = stage.post()
    suspend(stage.database, job_id)
    assert request_cancel(stage.database, job_id, mode) == (JobState.CANCELLED, True)
    job = stage.store.get(job_id)
    assert (job.parked, job.held) == (None, False)


def test_a_held_job_that_is_half_done_is_undone_by_whoever_claims_it(stage: Stage) -> None:
    recorded = stage.flow(tasks=2)
    recorded.start()
    recorded.finish()
    suspend(stage.database, recorded.job.id)
    recorded.journal.settle(HELD)
    assert is_held(stage.store.get(recorded.job.id))
    change(stage, recorded.job.id, available_ms=LATER_MS)
    assert request_cancel(stage.database, recorded.job.id, CancelMode.REVERT) == (JobState.SUSPENDED, True)
    job = stage.store.get(recorded.job.id)
    assert (job.parked, job.held, job.available_ms < LATER_MS) == (None, False, True)
    assert stage.store.on_board([job.id]) == {job.id}
    assert claim(stage, job.id, OTHER).cancel is CancelMode.REVERT


def test_what_is_not_there_cannot_be_suspended(stage: Stage) -> None:
    for work in (suspend, resume):
        with pytest.raises(JobNotFound):
            work(stage.database, new_job_id())
