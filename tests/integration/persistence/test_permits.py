"""Permits: granted with a job's begin, ended when it is left, however it is left; and who comes next."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.model import CancelMode, Job, JobState, Priority
from jobrunner.persistence.journal.flow import Fence, FlowJournal
from jobrunner.persistence.ownership.beginning import MAX_DEATHS, Begun, TagLimits, begin
from jobrunner.persistence.ownership.holding import suspend
from jobrunner.persistence.ownership.ownership import hand_back, request_cancel
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.ownership.unowned import hand_back_of
from jobrunner.persistence.permits import passing
from jobrunner.persistence.permits.passing import call_late, next_in_line, sweep
from jobrunner.persistence.tables import jobs, permits, semaphores
from jobrunner.policies import Hold, Policies
from tests.support.journals import NODE, OTHER, OWNER, Stage, now_ms, watched

SUCCEEDED = Settlement(state=JobState.SUCCEEDED)


def post(stage: Stage, number: int = 1, *holds: Hold, **posting: Any) -> list[str]:
    """Jobs with these holds, ``db`` if none are given; posted one after the other."""
    policies = Policies(holds=holds or (Hold(name="db"),))
    return [stage.post(policies=policies, **posting)[0] for _ in range(number)]


def start(stage: Stage, *job_ids: str, owner: str = OWNER, tags: TagLimits | None = None) -> Begun:
    return begin(stage.database, job_ids, owner=owner, node=NODE, tags=tags)


def started(begun: Begun) -> list[str]:
    return [job.id for job in sorted(begun.started, key=lambda job: job.seq)]


def refused(begun: Begun) -> list[str]:
    return [one.job.id for one in begun.refused]


def end(stage: Stage, job: Job, settlement: Settlement = SUCCEEDED) -> None:
    hand_back(stage.database, job, settlement)


def granted(stage: Stage) -> set[tuple[str, str]]:
    query = sa.select(permits.c.job_id, permits.c.semaphore).where(permits.c.granted == 1)
    with stage.database.read() as connection:
        return {(row.job_id, row.semaphore) for row in connection.execute(query)}


def rows(stage: Stage) -> int:
    with stage.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(permits)).scalar_one())


def set_limit(stage: Stage, name: str, **columns: Any) -> None:
    with stage.database.write() as connection:
        connection.execute(semaphores.delete().where(semaphores.c.name == name))
        connection.execute(semaphores.insert().values(name=name, **columns))


# Granting


def test_a_mutex_lets_one_in_and_the_others_wait_and_say_for_what(stage: Stage) -> None:
    ids = post(stage, 3)
    begun = start(stage, *ids)
    assert (started(begun), refused(begun)) == ([ids[0]], ids[1:])
    for job_id in ids[1:]:
        job = stage.store.get(job_id)
        assert (job.state, job.epoch, job.owner) == (JobState.WAITING, 0, None)
        assert job.note == "Waits for a slot of db."
        assert stage.all_events(job_id) == ["posted"]
    assert all(30 < one.delay < 90 for one in begun.refused)
    assert granted(stage) == {(ids[0], "db")}


def test_the_next_in_line_can_begin_when_it_was_left(stage: Stage) -> None:
    first, second, third = post(stage, 3)
    (job,) = start(stage, third).started
    assert refused(start(stage, second, first)) == [first, second]
    assert next_in_line(stage.database, ["db"]) == []
    end(stage, job)
    assert next_in_line(stage.database, ["db"]) == [first]
    assert refused(start(stage, second)) == [second]
    begun = start(stage, first)
    assert started(begun) == [first]
    assert begun.fresh == {first}
    assert stage.store.get(first).note is None


def test_urgent_jobs_go_first(stage: Stage) -> None:
    (holder, plain), (urgent,) = post(stage, 2), post(stage, priority=Priority.VERY_HIGH)
    (job,) = start(stage, holder).started
    start(stage, plain, urgent)
    end(stage, job)
    assert next_in_line(stage.database, ["db"]) == [urgent]


def test_a_limit_that_was_set_goes_before_what_jobs_say(stage: Stage) -> None:
    set_limit(stage, "db", count=2)
    ids = post(stage, 3)
    assert started(start(stage, *ids)) == ids[:2]
    set_limit(stage, "db", count=3)
    assert next_in_line(stage.database, ["db"]) == [ids[2]]


def test_who_lacks_one_of_two_gets_neither(stage: Stage) -> None:
    (holder,) = post(stage)
    (both,) = post(stage, 1, Hold(name="db"), Hold(name="api"))
    (other,) = post(stage, 1, Hold(name="api"))
    (job,) = start(stage, holder).started
    assert refused(start(stage, both)) == [both]
    assert started(start(stage, other)) == [other]  # nobody waits for api
    end(stage, job)
    assert next_in_line(stage.database, ["db"]) == [both]
    assert refused(start(stage, both)) == [both]
    assert stage.store.get(both).note == "Waits for a slot of api."


def test_who_was_refused_for_one_and_then_the_other_is_first_in_both_lines(stage: Stage) -> None:
    (both,) = post(stage, 1, Hold(name="db"), Hold(name="api"))
    (db, db2), (api,) = post(stage, 2), post(stage, 1, Hold(name="api"))
    (holds_db,) = start(stage, db).started
    start(stage, both)
    (holds_api,) = start(stage, api).started
    end(stage, holds_db)
    assert refused(start(stage, both)) == [both]
    assert refused(start(stage, db2)) == [db2]  # it would overtake
    end(stage, holds_api)
    assert started(start(stage, both)) == [both]
    assert granted(stage) == {(both, "db"), (both, "api")}


def test_a_job_without_holds_costs_no_statement_more(stage: Stage) -> None:
    plain, holding = stage.post()[0], post(stage)[0]
    with watched(stage.database.engine) as without:
        (job,) = start(stage, plain).started
    with watched(stage.database.engine) as with_one:
        start(stage, holding)
    assert (without.commits, len(without.statements)) == (1, 3)
    assert len(with_one.statements) > 3
    with watched(stage.database.engine) as left:
        end(stage, job)
    assert not left.of("DELETE")


def test_two_conductors_at_once_do_not_exceed_the_count(stage: Stage) -> None:
    ids = post(stage, 40, Hold(name="db", count=3))
    both = threading.Barrier(4)

    def work(mine: list[str]) -> list[str]:
        both.wait()
        return [
            job_id
            for one in mine
            for job_id in started(start(stage, one, owner=threading.current_thread().name))
        ]

    with ThreadPoolExecutor(4) as pool:
        found = [job_id for part in pool.map(work, [ids[n::4] for n in range(4)]) for job_id in part]
    assert len(found) == 3 == len(granted(stage))


# Leaving


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.SUSPENDED, JobState.WAITING])
def test_leaving_frees_it_in_whatever_state(stage: Stage, state: JobState) -> None:
    (job_id,) = post(stage)
    end(stage, start(stage, job_id).started[0], Settlement(state=state))
    assert rows(stage) == 0


def test_leaving_by_the_journal_frees_it(stage: Stage) -> None:
    (job_id,) = post(stage)
    flow = stage.flow(job_id=job_id)
    flow.journal.fence = replace(_fence(flow.journal), holds=("db",))
    assert granted(stage) == {(job_id, "db")}
    flow.journal.settle(SUCCEEDED)
    assert rows(stage) == 0


def _fence(journal: FlowJournal) -> Fence:
    assert journal.fence is not None
    return journal.fence


def test_who_takes_over_has_the_permit_already(stage: Stage) -> None:
    first, second = post(stage, 2)
    start(stage, first)
    begun = start(stage, second, first, owner=OTHER)
    assert (started(begun), refused(begun)) == ([first], [second])
    assert begun.started[0].deaths == 1
    assert granted(stage) == {(first, "db")}


def test_a_dead_owners_job_without_a_permit_waits_without_an_owner(stage: Stage) -> None:
    first, second = post(stage, 2)
    start(stage, first)
    with stage.database.write() as connection:
        values = {"state": "RUNNING", "owner": "old:1:1/0", "epoch": 4, "started_ms": now_ms()}
        connection.execute(jobs.update().where(jobs.c.id == second).values(**values))
    assert refused(start(stage, second, owner=OTHER)) == [second]
    job = stage.store.get(second)
    assert (job.state, job.owner, job.epoch, job.deaths) == (JobState.SUSPENDED, None, 5, 1)


def test_a_job_that_kills_its_owners_frees_it(stage: Stage) -> None:
    (job_id,) = post(stage)
    for number in range(MAX_DEATHS + 1):
        start(stage, job_id, owner=f"owner-{number}")
    assert stage.store.get(job_id).state is JobState.FAILED
    assert rows(stage) == 0


def test_so_does_one_that_was_limited_by_a_tag(stage: Stage) -> None:
    set_limit(stage, "tag:customer=acme", count=1)
    (job_id,) = stage.post(properties={"customer": "acme"})
    for number in range(MAX_DEATHS + 1):
        start(stage, job_id, owner=f"owner-{number}")
    assert stage.store.get(job_id).state is JobState.FAILED
    assert rows(stage) == 0


def test_a_job_that_a_person_suspends_holds_and_waits_for_nothing(stage: Stage) -> None:
    first, second, third = post(stage, 3)
    start(stage, first)
    assert refused(start(stage, second)) == [second]
    suspend(stage.database, second)
    assert rows(stage) == 1
    suspend(stage.database, first)  # its owner dies before it hears of it
    assert start(stage, first, owner=OTHER).parked == [first]
    assert rows(stage) == 0
    assert started(start(stage, third)) == [third]


def test_a_worker_that_was_ended_on_purpose_frees_what_it_held(stage: Stage) -> None:
    (job_id,) = post(stage)
    start(stage, job_id)
    assert hand_back_of(stage.database, [OWNER]) == [job_id]
    assert rows(stage) == 0


def test_a_cancelled_job_waits_no_more(stage: Stage) -> None:
    first, second, third = post(stage, 3)
    (job,) = start(stage, first, second, third).started
    request_cancel(stage.database, second, CancelMode.KEEP)
    end(stage, job)
    assert next_in_line(stage.database, ["db"]) == [third]
    assert rows(stage) == 1


def test_for_a_process_of_its_own_a_job_keeps_its_permit(stage: Stage) -> None:
    first, second = post(stage, 2)
    (job,) = start(stage, first).started
    hand_back(stage.database, job, Settlement(state=JobState.SUSPENDED), keeps_permits=True)
    assert sweep(stage.database) == 0
    assert refused(start(stage, second)) == [second]
    assert started(start(stage, first, owner=OTHER)) == [first]


@pytest.mark.parametrize(
    "hold",
    [
        {"name": "db "},
        {"name": ""},
        {"name": "x" * 300},
        {"name": "a\0b"},
        {"name": 7},
        {"name": "db", "units": 0},
        {"name": "db", "units": 10**12},
        {"name": "db", "units": "many"},
        {"name": "db", "count": -1},
        {"name": "db", "starts": 1, "period": "soon"},
        {"shared": True},
        [],
    ],
)
def test_a_hold_that_cannot_be_read_harms_its_own_job_only(stage: Stage, hold: Any) -> None:
    broken, sound = post(stage, 2)
    with stage.database.write() as connection:
        text = json.dumps({"holds": [hold]})
        connection.execute(jobs.update().where(jobs.c.id == broken).values(policies=text))
    begun = start(stage, broken, sound)
    assert (begun.corrupt, started(begun)) == ([broken], [sound])


# What is left behind


def test_the_leader_ends_what_nobody_ended(stage: Stage) -> None:
    ended, deleted, waiting, running = post(stage, 4, Hold(name="db", count=9))
    start(stage, ended, deleted, waiting, running)
    with stage.database.write() as connection:  # as a conductor of an earlier version would
        for job_id, state in ((ended, "SUCCEEDED"), (waiting, "WAITING")):
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(state=state))
        connection.execute(jobs.delete().where(jobs.c.id == deleted))
    assert sweep(stage.database) == 3
    assert granted(stage) == {(running, "db")}
    assert sweep(stage.database) == 0


def test_who_does_not_come_when_called_is_not_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing, "COMES_MS", -1)
    first, second, third = post(stage, 3)
    (job,) = start(stage, first, second).started
    end(stage, job)
    assert refused(start(stage, third)) == [third]  # the second is before it
    assert call_late(stage.database) == [second]
    assert started(start(stage, third)) == [third]
    assert refused(start(stage, second)) == [second]  # it came after all, and is in line again


def test_a_semaphore_of_which_nothing_is_left_is_forgotten(stage: Stage) -> None:
    set_limit(stage, "kept", count=1)
    (used,) = post(stage)
    (job,) = start(stage, *post(stage, 1, Hold(name="once")), used).started[:1]
    end(stage, job)
    sweep(stage.database)
    with stage.database.read() as connection:
        names = set(connection.execute(sa.select(semaphores.c.name)).scalars())
    assert names == {"kept", "db"} or names == {"kept", "once"}
    assert len(names) == 2


def test_it_is_forgotten_though_many_that_are_not_used_for_long_stand_before_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing, "AT_ONCE", 3)
    young = {f"young-{number}" for number in range(7)}
    for name in young:
        set_limit(stage, name, said='{"count": 1}', started=json.dumps([now_ms()]))
    for name in ("zeta", "zulu"):
        set_limit(stage, name, said='{"count": 1}', started=json.dumps([now_ms() - 2 * passing.FORGET_MS]))
    sweep(stage.database)
    with stage.database.read() as connection:
        assert set(connection.execute(sa.select(semaphores.c.name)).scalars()) == young


# Rates


def test_a_rate_tells_each_when_it_may_start(stage: Stage) -> None:
    ids = post(stage, 5, Hold(name="api", count=99, starts=2, period=100.0))
    begun = start(stage, *ids)
    assert started(begun) == ids[:2]
    delays = [one.delay for one in begun.refused]
    assert [round(delay / 100) for delay in delays] == [1, 1, 2]
    assert delays[0] <= 100
    assert "starts" in begun.refused[0].note
    with stage.database.read() as connection:
        times = connection.execute(sa.select(semaphores.c.started)).scalar_one()
    assert len(json.loads(times)) == 2


def test_a_start_is_allowed_again_when_the_period_has_passed(stage: Stage) -> None:
    first, second = post(stage, 2, Hold(name="api", count=99, starts=1, period=0.3))
    (job,) = start(stage, first).started
    end(stage, job)
    (waits,) = start(stage, second).refused
    assert 0 < waits.delay <= 0.3
    threading.Event().wait(waits.delay)
    assert started(start(stage, second)) == [second]


# Tags


def test_a_tag_is_limited_once_somebody_sets_a_limit_for_it(stage: Stage) -> None:
    first, second, third = stage.post(3, properties={"customer": "acme", "size": 3})
    tags = TagLimits()
    assert started(start(stage, first, tags=TagLimits())) == [first]
    set_limit(stage, "tag:customer=acme", count=1)
    begun = start(stage, second, third, tags=tags)
    assert (started(begun), refused(begun)) == ([second], [third])
    end(stage, begun.started[0])
    assert next_in_line(stage.database, ["tag:customer=acme"]) == [third]
    assert started(start(stage, third, tags=tags)) == [third]


def test_tags_are_asked_for_once_in_a_while_only(stage: Stage) -> None:
    tags = TagLimits()
    for n, expected in enumerate((1, 0, 0)):
        (job_id,) = stage.post(properties={"n": n})
        with watched(stage.database.engine) as sent:
            start(stage, job_id, tags=tags)
        assert sum("semaphores" in text for text, _ in sent.statements) == expected
