"""An attempt that another follows, and a commit whose answer is lost: one attempt more, never two or none."""

from __future__ import annotations

import pytest

from jobrunner.model import JobError, JobState
from jobrunner.persistence.ownership.attempts import read_attempts
from jobrunner.persistence.ownership.settling import Settlement
from tests.conformance.journal.test_replays import answer_lost
from tests.support.journals import OTHER, Stage, now_ms


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("pause_ms", [0, 60_000])
@pytest.mark.parametrize("company", [False, True])
def test_a_lost_answer_makes_one_attempt(stage: Stage, committed: bool, pause_ms: int, company: bool) -> None:
    recorded = stage.flow()
    others = [stage.flow() for _ in range(2)] if company else []
    for other in others:
        other.journal._settle(Settlement(state=JobState.SUCCEEDED))
    error = JobError(kind="E", message="bad")
    recorded.journal._settle(Settlement(state=JobState.FAILED, error=error, again_ms=now_ms() + pause_ms))
    with answer_lost(stage, committed=committed) as lost:
        stage.writer.flush(recorded.journal, *[other.journal for other in others])
    assert lost
    assert recorded.journal.error is None
    job = stage.store.get(recorded.job.id)
    assert (job.attempt, job.epoch) == (2, recorded.job.epoch)
    assert job.state is (JobState.SCHEDULED if pause_ms else JobState.WAITING)
    assert [one.attempt for one in read_attempts(stage.database, job.id)] == [1]
    assert stage.all_events(job.id) == ["posted", "claimed", "retrying"]
    ends = stage.store.states([other.job.id for other in others])
    assert set(ends.values()) <= {JobState.SUCCEEDED}
    assert len(ends) == len(others)


def test_a_lost_answer_and_a_new_owner_before_it_is_asked_again(stage: Stage) -> None:
    recorded = stage.flow()
    with answer_lost(stage, committed=True) as lost:
        pipelined = stage.writer._transaction

        def then_taken(batch: object) -> None:
            if lost and not stage.store.get(recorded.job.id).owner:
                stage.usurp(recorded, OTHER)
            pipelined(batch)  # type: ignore[arg-type]

        stage.writer._transaction = then_taken  # type: ignore[method-assign]
        with pytest.raises(Exception, match="lease was lost"):
            recorded.journal.settle(Settlement(state=JobState.FAILED, again_ms=now_ms()))
    job = stage.store.get(recorded.job.id)
    assert (job.state, job.attempt, job.owner) == (JobState.RUNNING, 2, OTHER)
    assert [one.attempt for one in read_attempts(stage.database, job.id)] == [1]
    assert stage.all_events(job.id) == ["posted", "claimed", "retrying", "claimed"]
