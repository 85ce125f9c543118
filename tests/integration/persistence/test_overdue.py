"""Jobs that nobody starts in time, and jobs that are due."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner import times
from jobrunner.boards.sql import SqlBoard
from jobrunner.conductor.reconciling.reconciler import Reconciler
from jobrunner.conductor.worker.leases import Held
from jobrunner.model import CancelMode, JobState
from jobrunner.persistence.ownership import overdue
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.overdue import DUE_MS, Overdue, end_overdue
from jobrunner.persistence.ownership.ownership import hand_back, request_cancel, retry
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.tables import jobs
from tests.support.journals import NODE, OTHER, OWNER, Stage, now_ms


def put(stage: Stage, job_id: str, **columns: Any) -> None:
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(**columns))


def past(stage: Stage, **posting: Any) -> str:
    """A job that has expired."""
    (job_id,) = stage.post(expires_ms=now_ms() - 1, **posting)
    return job_id


def test_a_claim_that_comes_too_late_starts_nothing(stage: Stage) -> None:
    late, fine = past(stage), stage.post(expires_ms=now_ms() + 60_000)[0]
    put(stage, late, note="Waiting for the node 'n1', on which no conductor runs.")
    begun = begin(stage.database, [late, fine], owner=OWNER, node=NODE)
    assert ([job.id for job in begun.started], begun.finished) == ([fine], [late])
    job = stage.store.get(late)
    assert (job.state, job.epoch, job.owner, job.started_ms) == (JobState.EXPIRED, 1, None, None)
    assert job.error is not None
    assert job.error.kind == "Expired"
    assert "Nobody had started it by 20" in job.error.message
    assert "no conductor runs" in job.error.message
    assert stage.all_events(late) == ["posted", "expired"]
    assert end_overdue(stage.database) == Overdue()


HOUR_MS = 3_600_000


def test_a_machine_whose_clock_is_fast_ends_nothing_that_others_may_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (soon,) = stage.post(expires_ms=now_ms() + 60_000)
    monkeypatch.setattr(times, "now_ms", lambda: now_ms() + HOUR_MS)
    assert end_overdue(stage.database) == Overdue()
    begun = begin(stage.database, [soon], owner=OWNER, node=NODE)
    assert ([job.id for job in begun.started], begun.finished) == ([soon], [])


def test_a_machine_whose_clock_is_fast_ends_no_attempt_that_it_takes_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = stage.post(timeout=60.0)
    begin(stage.database, [job_id], owner=OWNER, node=NODE)
    monkeypatch.setattr(times, "now_ms", lambda: now_ms() + HOUR_MS)
    (job,) = begin(stage.database, [job_id], owner=OTHER, node=NODE).started
    assert Held(job=job, until=0.0).before < 60.0


def test_a_machine_whose_clock_is_slow_puts_nothing_off_that_is_due(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (due,) = stage.post()
    put(stage, due, state="SCHEDULED", available_ms=now_ms())
    (early,) = stage.post(available_ms=now_ms() + HOUR_MS)
    monkeypatch.setattr(times, "now_ms", lambda: now_ms() - HOUR_MS)
    begun = begin(stage.database, [due, early], owner=OWNER, node=NODE)
    assert [job.id for job in begun.started] == [due]
    assert begun.early == {early: pytest.approx(HOUR_MS / 1000, abs=60)}


@pytest.mark.parametrize(
    "waiting",
    [
        {"state": "WAITING"}, {"state": "SCHEDULED"}, {"state": "BLOCKED", "parked": "after"},
        {"state": "SUSPENDED", "parked": "held", "held": 1},
    ],
)  # fmt: skip
def test_what_nobody_can_claim_ends_as_well_however_it_waits(stage: Stage, waiting: dict[str, Any]) -> None:
    job_id, other = past(stage), stage.post(expires_ms=now_ms() + 60_000)[0]
    put(stage, job_id, **waiting)
    assert end_overdue(stage.database) == Overdue(expired=[job_id])
    job = stage.store.get(job_id)
    assert (job.state, job.epoch, job.parked, job.held) == (JobState.EXPIRED, 1, None, False)
    assert stage.all_events(job_id) == ["posted", "expired"]
    assert stage.store.get(other).state is JobState.WAITING
    assert end_overdue(stage.database) == Overdue()


def test_a_job_that_was_ever_started_does_not_expire(stage: Stage) -> None:
    running, suspended, retried = (stage.post(expires_ms=now_ms() + 60_000)[0] for _ in range(3))
    begun = {
        job.id: job
        for job in begin(stage.database, [running, suspended, retried], owner=OWNER, node=NODE).started
    }
    hand_back(stage.database, begun[suspended], Settlement(state=JobState.SUSPENDED))
    hand_back(stage.database, begun[retried], Settlement(state=JobState.FAILED, again_ms=now_ms()))
    for job_id in begun:
        put(stage, job_id, expires_ms=now_ms() - 1)
    assert end_overdue(stage.database) == Overdue()
    again = begin(stage.database, [suspended, retried, running], owner=OTHER, node=NODE)
    assert len(again.started) == 3


def test_a_person_who_retries_an_expired_job_wants_it_all_the_same(stage: Stage) -> None:
    job_id = past(stage)
    end_overdue(stage.database)
    retry(stage.database, job_id)
    assert end_overdue(stage.database) == Overdue()
    assert begin(stage.database, [job_id], owner=OWNER, node=NODE).started


def test_a_job_that_ended_before_it_expired_stays_as_it_is(stage: Stage) -> None:
    job_id = past(stage)
    request_cancel(stage.database, job_id, CancelMode.KEEP)
    assert end_overdue(stage.database) == Overdue()
    assert stage.store.get(job_id).state is JobState.CANCELLED


def test_who_begins_a_job_while_it_is_looked_at_has_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (job_id,) = stage.post(expires_ms=now_ms() + 60_000)
    look = overdue.listing.overdue

    def looked() -> Any:
        assert [job.id for job in begin(stage.database, [job_id], owner=OWNER, node=NODE).started] == [job_id]
        return look()

    ids: list[str] = []
    end = overdue._end

    def ended(pipeline: Any, found: list[str], at_ms: int) -> Overdue:
        ids.extend(found)
        return end(pipeline, [job_id], now_ms() + 120_000)

    monkeypatch.setattr(overdue.listing, "overdue", looked)
    monkeypatch.setattr(overdue, "_end", ended)
    stage.post(expires_ms=now_ms() - 1)
    assert end_overdue(stage.database) == Overdue()
    assert ids
    assert stage.store.get(job_id).state is JobState.RUNNING


def test_a_job_that_is_due_and_not_claimed_says_that_it_waits(stage: Stage) -> None:
    due, later, held = (stage.post(available_ms=now_ms() + 3_600_000)[0] for _ in range(3))
    put(stage, due, available_ms=now_ms() - DUE_MS - 1_000, note="Attempt 1 ended")
    put(stage, held, available_ms=now_ms() - DUE_MS - 1_000, parked="held")
    assert end_overdue(stage.database) == Overdue(due=[due])
    job = stage.store.get(due)
    assert (job.state, job.note, job.epoch) == (JobState.WAITING, None, 0)
    assert stage.store.states([later, held]) == dict.fromkeys([later, held], JobState.SCHEDULED)


def test_many_are_ended_in_rounds(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "AT_ONCE", 10)
    ids = [past(stage) for _ in range(25)]
    rounds = []
    while (found := end_overdue(stage.database)).expired:
        rounds.append(len(found.expired))
        assert (found.after is None) == (len(found.expired) < 10)
    assert rounds == [10, 10, 5]
    assert set(stage.store.states(ids).values()) == {JobState.EXPIRED}


def test_rows_that_cannot_be_read_keep_nobody_from_those_behind_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue, "AT_ONCE", 10)
    broken, fine = [past(stage) for _ in range(12)], [past(stage) for _ in range(12)]
    for job_id in broken:
        put(stage, job_id, parameters="{")
    board = SqlBoard(stage.database.url.render_as_string(hide_password=False), database=stage.database)
    leader = Reconciler(stage.database, board, holder="leader", lease=60.0)
    assert leader.end_overdue() == 12
    assert set(stage.store.states(fine).values()) == {JobState.EXPIRED}
    assert set(stage.store.states(broken).values()) == {JobState.WAITING}
    board.close()


@pytest.mark.parametrize("wrong_by_ms", [3_600_000, -3_600_000])
def test_a_conductor_whose_clock_is_wrong_expires_nothing_and_puts_nothing_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, wrong_by_ms: int
) -> None:
    """The database's clock decides, which is one for all; else the worst clock would decide for everybody."""
    fine = stage.post(expires_ms=now_ms() + 600_000)[0]
    over, due = past(stage), stage.post()[0]
    put(stage, due, state="SCHEDULED", available_ms=now_ms() - 1_000)
    later = stage.post(available_ms=now_ms() + 600_000)[0]
    wrong = times.now_ms() + wrong_by_ms
    monkeypatch.setattr(times, "now_ms", lambda: wrong)
    assert fine not in end_overdue(stage.database).expired
    begun = begin(stage.database, [fine, over, due, later], owner=OWNER, node=NODE)
    assert {job.id for job in begun.started} == {fine, due}
    assert begun.finished == [over]
    assert [round(seconds, -1) for seconds in begun.early.values()] == [600]
