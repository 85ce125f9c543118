"""Attempts that others follow: by the job's policy in the transaction that ends them, or at a person's word."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from taskflow import states

from jobrunner.errors import LeaseLost, WrongState
from jobrunner.model import AttemptRecord, CancelMode, JobError, JobState, Parked
from jobrunner.persistence.ownership.attempts import read_attempts
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.ownership import hand_back, request_cancel, retry
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.tables import attempts, jobs
from tests.support.journals import NODE, OTHER, Recorded, Stage, now_ms, watched

ERROR = JobError(kind="OSError", message="no space left", atom="task-0", traceback="Traceback")
PAUSE_MS = 60_000


def failed(*, pause_ms: int = PAUSE_MS, state: JobState = JobState.FAILED) -> Settlement:
    """An end that another attempt is to follow."""
    return Settlement(state=state, error=ERROR, result={"part": 1}, again_ms=now_ms() + pause_ms)


def put(stage: Stage, job_id: str, **columns: Any) -> None:
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(**columns))


def row(stage: Stage, job_id: str) -> Any:
    with stage.database.read() as connection:
        return connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one()


def failing(stage: Stage, settlement: Settlement) -> Recorded:
    """A job whose flow has failed, and that was settled so by its journal."""
    recorded = stage.flow(tasks=2)
    recorded.start()
    recorded.journal.barrier()
    recorded.set(state=states.FAILURE)
    recorded.journal.settle(settlement)
    return recorded


def kept(stage: Stage, job_id: str) -> list[tuple[int, JobState]]:
    return [(one.attempt, one.state) for one in read_attempts(stage.database, job_id)]


# By itself


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_bad_end_is_kept_and_the_job_waits_for_its_next_attempt(stage: Stage, by_hand: bool) -> None:
    settlement = failed()
    if by_hand:
        recorded = stage.flow()
        hand_back(stage.database, recorded.job, settlement)
    else:
        recorded = failing(stage, settlement)
    before = recorded.job
    job = stage.store.get(before.id)
    assert (job.state, job.attempt, job.epoch, job.deaths) == (JobState.SCHEDULED, 2, before.epoch, 0)
    assert (job.owner, job.node, job.started_ms, job.finished_ms) == (None, None, None, None)
    assert (job.result, job.error, job.available_ms) == (None, None, settlement.again_ms)
    assert "Attempt 1 ended as FAILED: OSError: no space left. The next one follows" in (job.note or "")
    (ended,) = read_attempts(stage.database, job.id)
    assert ended == AttemptRecord(
        attempt=1, state=JobState.FAILED, node=NODE, started_ms=before.started_ms, finished_ms=ended.finished_ms,
        result={"part": 1}, error=ERROR,
    )  # fmt: skip
    assert ended.finished_ms is not None
    assert before.started_ms is not None
    assert before.started_ms <= ended.finished_ms <= now_ms()
    event = stage.store.history(job.id)[-1]
    assert (event["kind"], event["attempt"], event["epoch"]) == ("retrying", 1, before.epoch)
    assert (event["data"]["state"], event["data"]["error"]) == ("FAILED", "no space left")
    assert 59 < event["data"]["seconds"] <= 60


def test_without_a_pause_the_next_attempt_waits_for_a_conductor_with_a_flow_of_its_own(stage: Stage) -> None:
    recorded = failing(stage, failed(pause_ms=0))
    assert stage.store.get(recorded.job.id).state is JobState.WAITING
    begun = begin(stage.database, [recorded.job.id], owner=OTHER, node="beta")
    (job,) = begun.started
    assert (job.attempt, job.epoch, job.note, begun.fresh) == (2, recorded.job.epoch + 1, None, {job.id})
    assert job.flow_id != recorded.job.flow_id
    assert stage.atom(recorded)["state"] == states.FAILURE  # the former attempt's are kept


def test_what_a_former_owner_says_of_its_attempt_counts_no_more(stage: Stage) -> None:
    recorded = stage.flow()
    taken = stage.usurp(recorded)
    with pytest.raises(LeaseLost):
        recorded.journal.settle(failed())
    with pytest.raises(LeaseLost):
        hand_back(stage.database, recorded.job, failed())
    assert kept(stage, taken.id) == []
    hand_back(stage.database, taken, failed())
    with pytest.raises(LeaseLost):
        hand_back(stage.database, recorded.job, failed())
    assert (kept(stage, taken.id), stage.store.get(taken.id).attempt) == ([(1, JobState.FAILED)], 2)


def test_a_person_who_cancelled_meanwhile_gets_no_further_attempt(stage: Stage) -> None:
    recorded = stage.flow()
    request_cancel(stage.database, recorded.job.id, CancelMode.REVERT)
    recorded.journal.settle(failed())
    job = stage.store.get(recorded.job.id)
    assert (job.state, job.attempt, job.cancel, job.error) == (JobState.FAILED, 1, None, ERROR)
    assert kept(stage, job.id) == []
    assert stage.all_events(job.id)[-1] == "failed"


def test_a_job_that_waits_for_its_next_attempt_is_cancelled_at_once(stage: Stage) -> None:
    recorded = failing(stage, failed())
    assert request_cancel(stage.database, recorded.job.id, CancelMode.REVERT) == (JobState.CANCELLED, True)
    assert begin(stage.database, [recorded.job.id], owner=OTHER, node=NODE).finished == [recorded.job.id]


def test_a_job_that_a_person_holds_waits_for_that_person(stage: Stage) -> None:
    recorded = stage.flow()
    put(stage, recorded.job.id, held=1)
    recorded.journal.settle(failed())
    job = stage.store.get(recorded.job.id)
    assert (job.attempt, job.held, job.parked) == (2, True, Parked.HELD)


def test_one_commit_holds_ends_and_attempts_of_many(stage: Stage) -> None:
    flows = [stage.flow() for _ in range(6)]
    for recorded in flows[:3]:
        recorded.journal._settle(failed())
    for recorded in flows[3:]:
        recorded.journal._settle(Settlement(state=JobState.SUCCEEDED, result=1))
    with watched(stage.database.engine) as sent:
        stage.writer.flush(*[recorded.journal for recorded in flows])
    assert sent.commits <= 2
    states_now = stage.store.states([recorded.job.id for recorded in flows])
    assert sorted(states_now.values()) == [JobState.SCHEDULED] * 3 + [JobState.SUCCEEDED] * 3
    assert all(kept(stage, recorded.job.id) == [(1, JobState.FAILED)] for recorded in flows[:3])


def test_a_job_without_a_policy_pays_nothing_for_those_with_one(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.journal._settle(Settlement(state=JobState.FAILED, error=ERROR))
    with watched(stage.database.engine) as sent:
        stage.writer.flush(recorded.journal)
    assert not [text for text, _ in sent.statements if "job_attempts" in text]
    assert len(sent.statements) == 3, sent.statements  # the row and its epoch, the end, the event


# At a person's word


def test_retrying_by_hand_keeps_how_the_last_attempt_ended(stage: Stage) -> None:
    recorded = stage.flow()
    recorded.journal.settle(Settlement(state=JobState.REVERTED, error=ERROR, result=[1]))
    ended = stage.store.get(recorded.job.id)
    retry(stage.database, ended.id)
    (found,) = read_attempts(stage.database, ended.id)
    assert found == AttemptRecord(
        attempt=1, state=JobState.REVERTED, node=NODE, started_ms=ended.started_ms, finished_ms=ended.finished_ms,
        result=[1], error=ERROR,
    )  # fmt: skip
    job = stage.store.get(ended.id)
    hand_back(stage.database, begin(stage.database, [job.id], owner=OTHER, node="beta").started[0], failed())
    assert kept(stage, job.id) == [(1, JobState.REVERTED), (2, JobState.FAILED)]


def test_retrying_by_hand_frees_a_job_of_all_that_it_waited_for(stage: Stage) -> None:
    (job_id,) = stage.post()
    put(stage, job_id, parked="held", held=1, awaits="go", adopted=1, usage="{}")
    request_cancel(stage.database, job_id, CancelMode.KEEP)
    put(stage, job_id, parked="held", held=1, awaits="go")
    retry(stage.database, job_id)
    found = row(stage, job_id)
    assert [found[name] for name in ("parked", "held", "awaits", "adopted", "usage")] == [None] * 5
    assert begin(stage.database, [job_id], owner=OTHER, node=NODE).started


def test_a_retried_job_gets_its_unique_key_back_if_nobody_else_has_it(stage: Stage) -> None:
    (first,) = stage.post(unique_key="backup:/srv")
    request_cancel(stage.database, first, CancelMode.KEEP)
    assert row(stage, first)["unique_key"] is None
    retry(stage.database, first)
    assert row(stage, first)["unique_key"] == "backup:/srv"
    request_cancel(stage.database, first, CancelMode.KEEP)
    (second,) = stage.post(unique_key="backup:/srv")
    before = stage.store.get(first)
    with pytest.raises(WrongState, match="another job like it waits or runs") as told:
        retry(stage.database, first)
    assert told.value.hint
    assert stage.store.get(first) == before
    assert kept(stage, first) == [(1, JobState.CANCELLED)]
    request_cancel(stage.database, second, CancelMode.KEEP)
    assert retry(stage.database, first).attempt == 3


def test_attempts_that_somebody_spoiled_are_told_as_far_as_they_can_be_read(stage: Stage) -> None:
    recorded = failing(stage, failed())
    with stage.database.write() as connection:
        connection.execute(attempts.update().values(state="WHATEVER", error="{", result="["))
    (found,) = read_attempts(stage.database, recorded.job.id)
    assert (found.attempt, found.error, found.result) == (1, None, None)
