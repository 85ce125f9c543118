"""Claims, deaths, cancelling, retrying, settling: what each does to a job in each of its states."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from taskflow import states

from jobrunner.errors import JobNotFound, LeaseLost, WrongState
from jobrunner.model import OPEN_STATES, TERMINAL_STATES, CancelMode, Job, JobError, JobState, new_job_id
from jobrunner.persistence import row_locks
from jobrunner.persistence.ownership.beginning import MAX_DEATHS, begin
from jobrunner.persistence.ownership.lost_leases import LOST, MOST_GIVEN_BACK, give_death_back
from jobrunner.persistence.ownership.ownership import hand_back, request_cancel, retry
from jobrunner.persistence.ownership.settling import Settled, Settlement, settle_rows
from jobrunner.persistence.store import Store
from jobrunner.persistence.tables import jobs
from jobrunner.persistence.wishes import wishes
from tests.support.journals import NODE, OTHER, OWNER, Stage, now_ms, watched


def claim(store: Store, job_id: str, owner: str = OWNER) -> Job:
    return begin(store.database, [job_id], owner=owner, node=NODE).started[0]


def put(store: Store, job_id: str, **columns: Any) -> None:
    with store.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(**columns))


def in_state(stage: Stage, state: JobState) -> str:
    """A job that came to the state in the ordinary way."""
    if state is JobState.SCHEDULED:
        return stage.post(available_ms=now_ms() + 3_600_000)[0]
    (job_id,) = stage.post()
    if state is not JobState.WAITING:
        job = claim(stage.store, job_id)
        if state is not JobState.RUNNING:
            hand_back(stage.database, job, Settlement(state=state))
    return job_id


# Claims


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_an_open_job_is_begun_under_a_higher_epoch(stage: Stage, state: JobState) -> None:
    job_id = in_state(stage, state)
    put(stage.store, job_id, available_ms=now_ms())
    before = stage.store.get(job_id)
    begun = begin(stage.database, [job_id], owner=OTHER, node="beta")
    (job,) = begun.started
    assert job == stage.store.get(job_id)
    assert (job.state, job.owner, job.node, job.epoch) == (JobState.RUNNING, OTHER, "beta", before.epoch + 1)
    assert (job_id in begun.fresh) == (state in (JobState.SCHEDULED, JobState.WAITING))
    assert job.started_ms == (before.started_ms or job.updated_ms)
    assert job.deaths == (1 if state is JobState.RUNNING else 0)
    assert stage.all_events(job_id)[-1] == "claimed"


DIFFICULT = 'é😀 it\'s "x" \\ \\n \n\r\t\x1a\x7f\u2028 %s'


@pytest.mark.parametrize("as_text", [True, False])
def test_a_job_begins_with_what_it_was_posted_with(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, as_text: bool
) -> None:
    """Also where the server does not make one text of its row, since that would be too long."""
    if not as_text:
        nothing = row_locks.locking(sa.select(sa.null().label("columns")))
        monkeypatch.setattr(row_locks, "_LOCKED_AS_TEXTS", nothing)
    (job_id,) = stage.post(parameters={"text": DIFFICULT, "number": 2.5}, timeout=0.25)
    put(stage.store, job_id, author=DIFFICULT, expires_ms=2**53 + 1, parameters=json.dumps({"é": DIFFICULT}))
    begun = claim(stage.store, job_id)
    assert begun == stage.store.get(job_id)
    assert (begun.author, begun.parameters["é"]) == (DIFFICULT, DIFFICULT)
    assert (begun.timeout, begun.expires_ms) == (0.25, 2**53 + 1)


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
def test_a_job_that_has_ended_is_never_begun(stage: Stage, state: JobState) -> None:
    job_id = in_state(stage, state)
    before = stage.store.get(job_id)
    begun = begin(stage.database, [job_id], owner=OTHER, node=NODE)
    assert (begun.started, begun.finished) == ([], [job_id])
    assert stage.store.get(job_id) == before


def test_a_job_that_is_claimed_long_before_its_time_goes_back_for_so_long(stage: Stage) -> None:
    """A board that lost the delay offers it: one whose owner died just after it had settled, for instance."""
    soon, later = stage.post(available_ms=now_ms() + 1_000)[0], stage.post(available_ms=now_ms() + 60_000)[0]
    before = stage.store.get(later)
    begun = begin(stage.database, [soon, later], owner=OTHER, node=NODE)
    assert [job.id for job in begun.started] == [soon]  # clocks differ
    assert begun.early.keys() == {later}
    assert 50 < begun.early[later] <= 60
    assert stage.store.get(later) == before


def test_a_batch_is_sorted_in_one_transaction(stage: Stage) -> None:
    waiting, ended, gone = stage.post(6), in_state(stage, JobState.SUCCEEDED), new_job_id()
    orphans = [in_state(stage, JobState.RUNNING) for _ in range(2)]
    with watched(stage.database.engine) as sent:
        begun = begin(stage.database, [*waiting, ended, gone, *orphans], owner=OTHER, node=NODE)
    assert {job.id for job in begun.started} == {*waiting, *orphans}
    assert (begun.fresh, begun.finished, begun.unknown) == (set(waiting), [ended], [gone])
    assert sorted(job.deaths for job in begun.started) == [0] * 6 + [1] * 2
    assert (sent.commits, len(sent.statements)) == (1, 4)
    for job in begun.started:
        assert stage.store.get(job.id) == job


def test_who_claims_a_job_again_did_not_die_with_it(stage: Stage) -> None:
    (job_id,) = stage.post()
    for epoch in range(1, MAX_DEATHS + 3):
        job = claim(stage.store, job_id, OWNER)
        assert (job.epoch, job.deaths) == (epoch, 0)


def test_a_job_that_kills_its_owners_is_set_aside_and_can_be_retried(stage: Stage) -> None:
    (job_id,) = stage.post()
    for number in range(MAX_DEATHS):
        job = claim(stage.store, job_id, f"owner-{number}")
        assert job.deaths == number
    begun = begin(stage.database, [job_id], owner="last", node=NODE)
    assert (begun.started, begun.finished) == ([], [job_id])
    job = stage.store.get(job_id)
    assert (job.state, job.deaths, job.epoch, job.owner) == (
        JobState.FAILED,
        MAX_DEATHS,
        MAX_DEATHS + 1,
        None,
    )
    assert job.error is not None
    assert job.error.kind == "OwnersDied"
    assert f"died {MAX_DEATHS} times" in job.error.message
    assert retry(stage.database, job_id).deaths == 0


def test_an_owner_that_lives_takes_its_death_back_once(stage: Stage) -> None:
    (job_id,) = stage.post()
    first = claim(stage.store, job_id)
    assert "nobody has taken it over" in give_death_back(stage.database, first)
    claim(stage.store, job_id, "died")
    last = claim(stage.store, job_id, OTHER)
    assert last.deaths == 2
    for _ in range(2):
        assert f"{OTHER} has it now" in give_death_back(stage.database, first)
        assert stage.store.get(job_id).deaths == 1
    give_death_back(stage.database, last)
    assert stage.store.get(job_id).deaths == 1
    assert stage.all_events(job_id).count(LOST) == 1


def test_what_becomes_of_a_lost_job_is_said(stage: Stage) -> None:
    (job_id,) = stage.post()
    lost = claim(stage.store, job_id)
    hand_back(stage.database, claim(stage.store, job_id, OTHER), Settlement(state=JobState.SUSPENDED))
    assert "waits for its next owner" in give_death_back(stage.database, lost)
    hand_back(stage.database, claim(stage.store, job_id, OTHER), Settlement(state=JobState.FAILED))
    assert "ended meanwhile: it is FAILED" in give_death_back(stage.database, lost)
    retry(stage.database, job_id)
    assert stage.store.get(job_id).deaths == 0
    put(stage.store, job_id, id=new_job_id())
    assert "has been deleted" in give_death_back(stage.database, lost)


def test_a_job_that_only_ever_loses_its_leases_is_set_aside_in_the_end(stage: Stage) -> None:
    (job_id,) = stage.post()
    taken = 0
    lost = claim(stage.store, job_id, "owner-0")
    while begun := begin(stage.database, [job_id], owner=f"owner-{taken + 1}", node=NODE).started:
        taken += 1
        give_death_back(stage.database, lost)
        (lost,) = begun
    assert taken == MOST_GIVEN_BACK + MAX_DEATHS - 1
    assert stage.store.get(job_id).state is JobState.FAILED


def test_epochs_never_fall(stage: Stage) -> None:
    (job_id,) = stage.post()
    epochs = []
    for round_ in range(3):
        job = claim(stage.store, job_id, f"owner-{round_}")
        hand_back(stage.database, job, Settlement(state=JobState.SUSPENDED))
        job = claim(stage.store, job_id, f"other-{round_}")
        hand_back(stage.database, job, Settlement(state=JobState.FAILED))
        retry(stage.database, job_id)
    request_cancel(stage.database, job_id, CancelMode.REVERT)
    epochs = [each["epoch"] for each in stage.store.history(job_id)]
    assert epochs == sorted(epochs)
    assert stage.store.get(job_id).epoch == max(epochs) == 3 * 3 + 1


# Handing back


def test_only_the_owner_of_the_present_epoch_hands_back(stage: Stage) -> None:
    (job_id,) = stage.post()
    former = claim(stage.store, job_id)
    present = claim(stage.store, job_id, OTHER)
    with pytest.raises(LeaseLost):
        hand_back(stage.database, former, Settlement(state=JobState.SUSPENDED))
    assert stage.store.get(job_id).state is JobState.RUNNING
    hand_back(stage.database, present, Settlement(state=JobState.WAITING, note="no\0 node", available_ms=77))
    job = stage.store.get(job_id)
    assert (job.state, job.owner, job.note, job.available_ms) == (JobState.WAITING, None, "no\\0 node", 77)
    assert claim(stage.store, job_id).note is None


def test_handing_back_twice_is_once(stage: Stage) -> None:
    (job_id,) = stage.post()
    job = claim(stage.store, job_id)
    for _ in range(2):
        hand_back(stage.database, job, Settlement(state=JobState.SUSPENDED))
    assert stage.all_events(job_id) == ["posted", "claimed", "suspended"]


# Cancelling


@pytest.mark.parametrize("mode", CancelMode)
@pytest.mark.parametrize("state", JobState)
def test_cancelling_in_every_state(stage: Stage, state: JobState, mode: CancelMode) -> None:
    job_id = in_state(stage, state)
    before = stage.store.get(job_id)
    if state.is_terminal and state is not JobState.CANCELLED:
        with pytest.raises(WrongState, match="ended already"):
            request_cancel(stage.database, job_id, mode)
        assert stage.store.get(job_id) == before
        return
    after = request_cancel(stage.database, job_id, mode)
    if state is JobState.RUNNING:
        assert after == (JobState.RUNNING, True)
        assert wishes(stage.database, [OTHER, OWNER]).cancel == {job_id: mode}
        assert wishes(stage.database, [OTHER]).cancel == {}
    else:
        assert after == (JobState.CANCELLED, state is not JobState.CANCELLED)
        assert begin(stage.database, [job_id], owner=OTHER, node=NODE).finished == [job_id]


def test_a_half_done_job_is_undone_by_its_next_owner_or_kept(stage: Stage) -> None:
    for mode, expected in ((CancelMode.REVERT, JobState.SUSPENDED), (CancelMode.KEEP, JobState.CANCELLED)):
        recorded = stage.flow(tasks=2)
        recorded.start()
        recorded.finish()
        recorded.journal.settle(Settlement(state=JobState.SUSPENDED))
        assert request_cancel(stage.database, recorded.job.id, mode) == (expected, True)
        assert stage.store.get(recorded.job.id).state is expected
    assert stage.atom(recorded)["state"] == states.SUCCESS


def test_a_job_that_was_begun_and_did_nothing_is_cancelled_at_once(stage: Stage) -> None:
    """It waits for a node that can run it, which may never come: nobody has to undo anything."""
    recorded = stage.flow(tasks=2)
    recorded.journal.settle(Settlement(state=JobState.WAITING, note="waits for a node"))
    assert request_cancel(stage.database, recorded.job.id, CancelMode.REVERT) == (JobState.CANCELLED, True)


def test_the_request_goes_when_the_job_ends_and_stays_when_it_is_handed_back(stage: Stage) -> None:
    (job_id,) = stage.post()
    job = claim(stage.store, job_id)
    request_cancel(stage.database, job_id, CancelMode.REVERT)
    hand_back(stage.database, job, Settlement(state=JobState.SUSPENDED))
    job = claim(stage.store, job_id)
    assert job.cancel is CancelMode.REVERT
    hand_back(stage.database, job, Settlement(state=JobState.CANCELLED))
    assert stage.store.get(job_id).cancel is None


# Retrying


@pytest.mark.parametrize("state", JobState)
def test_retrying_in_every_state(stage: Stage, state: JobState) -> None:
    job_id = in_state(stage, state)
    before = stage.store.get(job_id)
    if state is JobState.SUCCEEDED or not state.is_terminal:
        with pytest.raises(WrongState):
            retry(stage.database, job_id)
        assert stage.store.get(job_id) == before
        return
    job = retry(stage.database, job_id)
    assert job == stage.store.get(job_id)
    assert (job.state, job.attempt, job.epoch) == (JobState.WAITING, 2, before.epoch + 1)
    assert (job.error, job.result, job.started_ms, job.finished_ms) == (None, None, None, None)
    assert job.flow_id != before.flow_id
    assert begin(stage.database, [job_id], owner=OTHER, node=NODE).fresh == {job_id}


def test_what_is_not_there_cannot_be_changed(stage: Stage) -> None:
    for work in (
        lambda: request_cancel(stage.database, new_job_id(), CancelMode.KEEP),
        lambda: retry(stage.database, new_job_id()),
    ):
        with pytest.raises(JobNotFound):
            work()


# Settling


def test_many_are_settled_each_in_its_own_way_in_two_statements(stage: Stage) -> None:
    ids = stage.post(4)
    for job_id in ids:
        claim(stage.store, job_id)
    request_cancel(stage.database, ids[2], CancelMode.KEEP)
    request_cancel(stage.database, ids[3], CancelMode.KEEP)
    error = JobError(kind="E", message="bad", atom="a", traceback="t")
    settlements = [
        Settlement(state=JobState.SUCCEEDED, result={"x": [1, "é😀"]}),
        Settlement(state=JobState.REVERTED, error=error),
        Settlement(state=JobState.SUSPENDED, note="later", available_ms=99),
        Settlement(state=JobState.CANCELLED),
    ]
    settled = [
        Settled(job_id=job_id, epoch=1, attempt=1, owner=OWNER, settlement=settlement)
        for job_id, settlement in zip(ids, settlements, strict=True)
    ]
    with watched(stage.database.engine) as sent:
        stage.database.pipelined(lambda pipeline: settle_rows(pipeline, settled, 1_234))
    assert len(sent.statements) == len(settlements) + 1
    assert sent.of("UPDATE jobs")
    found = [stage.store.get(job_id) for job_id in ids]
    assert [job.state for job in found] == [settlement.state for settlement in settlements]
    assert [job.result for job in found] == [{"x": [1, "é😀"]}, None, None, None]
    assert [job.error for job in found] == [None, error, None, None]
    assert [job.note for job in found] == [None, None, "later", None]
    assert [job.cancel for job in found] == [None, None, CancelMode.KEEP, None]
    assert [job.finished_ms for job in found] == [1_234, 1_234, None, 1_234]
    assert [job.available_ms == 99 for job in found] == [False, False, True, False]
    assert [stage.all_events(job_id)[-1] for job_id in ids] == [
        "succeeded",
        "reverted",
        "suspended",
        "cancelled",
    ]


def test_many_large_settlements_are_sent_in_parts(stage: Stage) -> None:
    ids = stage.post(250)
    result = "x" * 60_000
    settled = [
        Settled(
            job_id=job_id,
            epoch=0,
            attempt=1,
            owner=OWNER,
            settlement=Settlement(state=JobState.SUCCEEDED, result=result if number < 20 else number),
        )
        for number, job_id in enumerate(ids)
    ]
    with watched(stage.database.engine) as sent:
        stage.database.pipelined(lambda pipeline: settle_rows(pipeline, settled, 1))
    assert len(sent.statements) == 1 + 230 + 1, "one for all that are left alike"
    found = stage.store.get_many(ids)
    assert [found[job_id].result for job_id in ids] == [result] * 20 + list(range(20, 250))


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (None, None),
        ({"a": 1}, {"a": 1}),
        ({"big": "x" * 100_000, "small": 1}, {"big": "(100,002 bytes: see the atom's result)", "small": 1}),
        (["x" * 100_000], "(100,004 bytes: see the atom's result)"),
        ({"set": {1}, "ok": 2}, {"set": None, "ok": 2}),
        ({f"part-{n}": "x" * 8_000_000 for n in range(2)}, {"part-0": None, "part-1": None}),
    ],
)
def test_a_job_with_any_result_can_be_settled(stage: Stage, result: Any, kept: Any) -> None:
    (job_id,) = stage.post()
    hand_back(stage.database, claim(stage.store, job_id), Settlement(state=JobState.SUCCEEDED, result=result))
    found = stage.store.get(job_id).result
    if isinstance(kept, dict):
        assert set(found) == set(kept)
        assert all(value is None or found[key] == value for key, value in kept.items())
        assert all(isinstance(found[key], str) for key, value in kept.items() if value is None)
    else:
        assert found == kept


def test_a_result_of_very_many_parts_is_cut_down(stage: Stage) -> None:
    (job_id,) = stage.post()
    result = {f"part-{number}": "y" * 4_000 for number in range(3_000)}
    hand_back(stage.database, claim(stage.store, job_id), Settlement(state=JobState.SUCCEEDED, result=result))
    found = stage.store.get(job_id).result
    assert found["part-0"] == "y" * 4_000
    assert "more: see the atoms' results" in found["..."]
    assert len(found) < 20


def test_a_job_with_any_error_can_be_settled(stage: Stage) -> None:
    (job_id,) = stage.post()
    error = JobError(
        kind="K" * 999 + "\ud800", message="\0é\udfff" * 50_000, atom="😀\0", traceback="t\0" * 100_000
    )
    hand_back(stage.database, claim(stage.store, job_id), Settlement(state=JobState.FAILED, error=error))
    job = stage.store.get(job_id)
    assert job.error is not None
    assert job.error.message.startswith("\\0é\\udfff")
    assert len(job.error.message) < 9_000
    assert job.error.traceback is not None
    assert "bytes left out" in job.error.traceback
    assert stage.store.history(job_id)[-1]["data"]["error"].startswith("\\0é")
