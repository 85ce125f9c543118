"""What jobsets hold as a whole: from the begin of the first of their jobs until the last has ended, however it ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from jobrunner.model import CancelMode, Job, JobState, new_job_id
from jobrunner.persistence.ownership.beginning import Begun, begin
from jobrunner.persistence.ownership.ownership import hand_back, request_cancel, retry
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.permits.passing import next_in_line, release_sets, sets_of, sweep
from jobrunner.persistence.removal import remove
from jobrunner.persistence.tables import permits
from jobrunner.policies import Hold, Policies
from tests.support.journals import NODE, OTHER, OWNER, Stage

SUCCEEDED = Settlement(state=JobState.SUCCEEDED)
FAILED = Settlement(state=JobState.FAILED)


def post_set(stage: Stage, number: int, **hold: object) -> tuple[str, list[str]]:
    set_id = new_job_id()
    policies = Policies(holds=(Hold(name="db", by_set=True, **hold),))  # type: ignore[arg-type]
    return set_id, [stage.post(policies=policies, jobset_id=set_id)[0] for _ in range(number)]


def post(stage: Stage) -> str:
    return stage.post(policies=Policies(holds=(Hold(name="db"),)))[0]


def start(stage: Stage, *job_ids: str, owner: str = OWNER) -> Begun:
    return begin(stage.database, job_ids, owner=owner, node=NODE)


def begun(stage: Stage, *job_ids: str, owner: str = OWNER) -> list[Job]:
    found = start(stage, *job_ids, owner=owner)
    assert not found.refused
    return sorted(found.started, key=lambda job: job.seq)


def is_refused(stage: Stage, *job_ids: str) -> bool:
    return {one.job.id for one in start(stage, *job_ids).refused} == set(job_ids)


def holders(stage: Stage) -> list[str]:
    query = sa.select(permits.c.job_id).where(permits.c.granted == 1)
    with stage.database.read() as connection:
        return list(connection.execute(query).scalars())


def test_a_set_has_it_from_the_first_begin_until_the_last_end(stage: Stage) -> None:
    set_id, (first, second) = post_set(stage, 2)
    outsider = post(stage)
    (one,) = begun(stage, first)
    assert holders(stage) == [set_id]
    assert is_refused(stage, outsider)
    (two,) = begun(stage, second)
    hand_back(stage.database, one, SUCCEEDED)
    assert release_sets(stage.database, [set_id]) == []
    assert is_refused(stage, outsider)
    hand_back(stage.database, two, FAILED)
    assert is_refused(stage, outsider)
    assert release_sets(stage.database, [set_id]) == ["db"]
    assert begun(stage, outsider)


def test_between_two_of_its_jobs_nobody_gets_in(stage: Stage) -> None:
    set_id, (first, second) = post_set(stage, 2)
    outsider = post(stage)
    (one,) = begun(stage, first)
    hand_back(stage.database, one, SUCCEEDED)
    sweep(stage.database)
    assert holders(stage) == [set_id]
    assert is_refused(stage, outsider)
    assert begun(stage, second)


def test_sets_that_share_it_run_beside_each_other(stage: Stage) -> None:
    one, jobs = post_set(stage, 3, shared=True)
    other, others = post_set(stage, 2, shared=True)
    _, waiting = post_set(stage, 2)
    assert len(begun(stage, *jobs)) == 3
    assert len(begun(stage, *others)) == 2
    assert sorted(holders(stage)) == sorted([one, other])
    assert is_refused(stage, *waiting)


def test_who_waits_is_called_when_its_set_has_it(stage: Stage) -> None:
    holding, (blocker,) = post_set(stage, 1)
    _, (first, second) = post_set(stage, 2)
    outsider = post(stage)
    (job,) = begun(stage, blocker)
    assert is_refused(stage, first, second, outsider)
    hand_back(stage.database, job, SUCCEEDED)
    assert release_sets(stage.database, [holding]) == ["db"]
    assert next_in_line(stage.database, ["db"]) == [first, second]
    begun(stage, first)
    assert next_in_line(stage.database, ["db"]) == [second]
    assert begun(stage, second)
    assert next_in_line(stage.database, ["db"]) == []


def test_a_job_behind_others_in_line_goes_on_with_its_set(stage: Stage) -> None:
    _, (first, second) = post_set(stage, 2)
    held = post(stage)
    (job,) = begun(stage, held)
    assert is_refused(stage, first)
    outsider = post(stage)
    assert is_refused(stage, outsider)
    assert is_refused(stage, second)
    hand_back(stage.database, job, SUCCEEDED)
    begun(stage, first)
    assert next_in_line(stage.database, ["db"]) == [second]
    assert begun(stage, second)


def test_who_takes_a_job_over_finds_that_the_set_has_it(stage: Stage) -> None:
    set_id, (first, _) = post_set(stage, 2)
    begun(stage, first)
    assert [job.owner for job in begun(stage, first, owner=OTHER)] == [OTHER]
    assert holders(stage) == [set_id]


def test_cancelling_and_removing_the_rest_leaves_nothing(stage: Stage) -> None:
    set_id, (first, second, third) = post_set(stage, 3)
    (job,) = begun(stage, first)
    hand_back(stage.database, job, SUCCEEDED)
    request_cancel(stage.database, second, CancelMode.KEEP)
    assert sets_of(stage.database, [second]) == [set_id]
    assert release_sets(stage.database, [set_id]) == []
    remove(stage.database, [third])
    sweep(stage.database)
    assert holders(stage) == []
    assert sets_of(stage.database, [second]) == []


def test_a_set_of_which_nothing_is_left_holds_nothing(stage: Stage) -> None:
    _, (only,) = post_set(stage, 1)
    (job,) = begun(stage, only)
    hand_back(stage.database, job, SUCCEEDED)
    remove(stage.database, [only])
    sweep(stage.database)
    assert holders(stage) == []


def test_a_retried_job_asks_anew(stage: Stage) -> None:
    set_id, (only,) = post_set(stage, 1)
    (job,) = begun(stage, only)
    hand_back(stage.database, job, FAILED)
    retry(stage.database, only)
    assert release_sets(stage.database, [set_id]) == []  # it is open again, and has it still
    (job,) = begun(stage, only)
    hand_back(stage.database, job, FAILED)
    assert release_sets(stage.database, [set_id]) == ["db"]
    retry(stage.database, only)
    outsider = post(stage)
    assert begun(stage, outsider)
    assert is_refused(stage, only)


def test_of_two_that_end_at_the_same_time_one_ends_what_the_set_holds(stage: Stage) -> None:
    def end(job: Job) -> None:
        hand_back(stage.database, job, SUCCEEDED)
        release_sets(stage.database, [str(job.jobset_id)])

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            _, ids = post_set(stage, 2)
            list(pool.map(end, begun(stage, *ids)))
            assert holders(stage) == []
