"""Removing jobs with all that belongs to them, and which finished ones go."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.config import RetentionRule, RetentionSection
from jobrunner.model import JobState
from jobrunner.persistence import retention, tables
from jobrunner.persistence.output import OutputChunk
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.ownership import hand_back, retry
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.removal import remove
from jobrunner.persistence.retention import BATCH, BATCH_MIN, Kind, Limit, kinds, limits_of, prune
from jobrunner.persistence.tables import jobs, jobsets, links
from tests.support.journals import NODE, OWNER, Stage, now_ms, watched

ALL = {**tables.metadata.tables, **tables.taskflow_metadata.tables}
NOT_OF_JOBS = {"jobrunner_settings", "leases", "nodes", "board", "taskflow_postings", "semaphores"}
FIRST = BATCH // 8
"""So many jobs are in the first batch."""
SUCCEEDED = Kind(state=JobState.SUCCEEDED, type="made_up")


def counts(stage: Stage) -> dict[str, int]:
    with stage.database.read() as connection:
        return {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in ALL.items()
            if name not in NOT_OF_JOBS
        }


def full_job(stage: Stage) -> str:
    """A job that ended, with something in every table."""
    (job_id,) = stage.post(properties={"team": "web", "size": 3}, jobset_id="set")
    recorded = stage.flow(tasks=2, job_id=job_id)
    recorded.start()
    recorded.finish()
    chunk = OutputChunk(
        seq=0, job_id=job_id, attempt=1, epoch=1, position=0, atom="a", stream="out", at_ms=1, text="hello"
    )
    recorded.journal.attach_output(lambda: ([chunk], None))
    recorded.journal.settle(Settlement(state=JobState.SUCCEEDED))
    with stage.database.write() as connection:
        for table, row in (
            (tables.attempts, {"attempt": 1, "state": "FAILED", "finished_ms": 1}),
            (tables.signals, {"name": "go", "data": "1", "at_ms": 1}),
            (
                tables.permits,
                {"semaphore": "s", "units": 1, "shared": 0, "granted": 0, "score": 1, "since_ms": 1},
            ),
            (links, {"after_id": "other", "condition": "always"}),
        ):
            connection.execute(table.insert().values(job_id=job_id, **row))
        connection.execute(jobsets.insert().values(id="set", created_ms=1))
    return job_id


def ended(
    stage: Stage, number: int = 1, *, state: JobState = JobState.SUCCEEDED, **posting: Any
) -> list[str]:
    """Jobs that ended, the n-th of them n ms after the beginning of time, and were posted just before."""
    ids = stage.post(number, **posting)
    with stage.database.write() as connection:
        for place, job_id in enumerate(ids):
            at_ms = {"created_ms": place, "updated_ms": place, "finished_ms": place}
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(state=state.value, **at_ms))
    return ids


def left(stage: Stage) -> set[str]:
    with stage.database.read() as connection:
        return set(connection.execute(sa.select(jobs.c.id)).scalars())


def test_nothing_of_a_job_is_left_and_all_of_others(stage: Stage) -> None:
    empty = counts(stage)
    assert set(empty.values()) == {0}
    job_id = full_job(stage)
    assert 0 not in counts(stage).values(), counts(stage)
    (other,) = stage.post(properties={"team": "web"})
    assert remove(stage.database, [job_id]).ids == [job_id]
    after = counts(stage)
    assert {name for name, number in after.items() if number} == {"jobs", "events", "job_tags"}
    assert left(stage) == {other}
    assert remove(stage.database, [other, job_id]).ids == [other]
    assert counts(stage) == empty


def test_a_jobset_goes_with_its_last_member(stage: Stage) -> None:
    job_id = full_job(stage)
    (member,) = stage.post(jobset_id="set")
    remove(stage.database, [job_id])
    assert counts(stage)["jobsets"] == 1
    remove(stage.database, [member])
    assert counts(stage)["jobsets"] == 0


def test_what_has_ended_of_a_jobset_is_pruned_when_all_of_it_has(stage: Stage) -> None:
    first, last = stage.post(2, jobset_id="set")
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == first).values(state="SUCCEEDED"))
    assert prune(stage.database, SUCCEEDED, [Limit()]).needed == 1
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == last).values(state="SUCCEEDED"))
    assert prune(stage.database, SUCCEEDED, [Limit()]).removed == 2
    member, other = stage.post(2, jobset_id="set")
    assert remove(stage.database, [member]).ids == [member], "a person may"
    assert left(stage) == {other}


def test_a_running_job_stays(stage: Stage) -> None:
    running, waiting = stage.post(2)
    begin(stage.database, [running], owner=OWNER, node=NODE)
    done = remove(stage.database, [running, waiting])
    assert (done.ids, done.kept, left(stage)) == ([waiting], [running], {running})


def test_a_row_that_cannot_be_read_can_be_removed(stage: Stage) -> None:
    (job_id,) = stage.post()
    with stage.database.write() as connection:
        connection.execute(jobs.update().values(state="NONSENSE", parameters="{"))
    assert remove(stage.database, [job_id], states=[JobState.SUCCEEDED]).kept == [job_id]
    assert remove(stage.database, [stage.store.find_id(job_id[:8])]).ids == [job_id]


@pytest.mark.parametrize("state", [JobState.BLOCKED, JobState.SUCCEEDED])
def test_a_job_stays_as_long_as_open_ones_come_after_it(stage: Stage, state: JobState) -> None:
    first, then = stage.post(2)
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == first).values(state="SUCCEEDED"))
        connection.execute(jobs.update().where(jobs.c.id == then).values(state=state.value))
        connection.execute(links.insert().values(job_id=then, after_id=first, condition="success"))
    done = remove(stage.database, [first])
    if state is JobState.BLOCKED:
        assert (done.ids, done.needed, left(stage)) == ([], [first], {first, then})
        assert prune(stage.database, SUCCEEDED, [Limit()]).needed == 1
    else:
        assert (done.ids, done.needed) == ([first], [])
        assert counts(stage)["job_links"] == 0


def test_a_job_that_two_limits_would_prune_is_counted_once(stage: Stage) -> None:
    first, then = stage.post(2)
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == first).values(state="SUCCEEDED"))
        connection.execute(links.insert().values(job_id=then, after_id=first, condition="success"))
    later = now_ms() + 60_000
    assert prune(stage.database, SUCCEEDED, [Limit(ended_before_ms=later), Limit(keep=0)]).needed == 1


def test_a_job_that_somebody_retried_meanwhile_is_not_pruned(stage: Stage) -> None:
    (job_id,) = stage.post()
    assert remove(stage.database, [job_id], states=[JobState.FAILED]).kept == [job_id]


# Which go


def test_by_age(stage: Stage) -> None:
    ids = ended(stage, 10)
    limit = Limit(ended_before_ms=4)
    assert prune(stage.database, SUCCEEDED, [limit], dry_run=True).removed == 4
    assert len(left(stage)) == 10
    assert prune(stage.database, SUCCEEDED, [limit]).removed == 4
    assert left(stage) == set(ids[4:])


def test_by_count_and_by_both(stage: Stage) -> None:
    ids = ended(stage, 10)
    both = Limit(ended_before_ms=9, keep=8)
    assert prune(stage.database, SUCCEEDED, [both]).removed == 2, "never the newest 8"
    either = [Limit(ended_before_ms=4), Limit(keep=5)]
    assert prune(stage.database, SUCCEEDED, either, dry_run=True).removed == 3
    assert prune(stage.database, SUCCEEDED, either).removed == 3, "whatever any of them says"
    assert left(stage) == set(ids[5:])
    assert prune(stage.database, SUCCEEDED, [Limit(keep=5)]).removed == 0


def test_one_that_ended_late_does_not_hide_those_behind_it(stage: Stage) -> None:
    ids = ended(stage, 6)
    with stage.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == ids[0]).values(finished_ms=1_000))
    prune(stage.database, SUCCEEDED, [Limit(ended_before_ms=4)])
    assert left(stage) == {ids[0], *ids[4:]}


def test_only_the_kind_and_only_what_has_ended(stage: Stage) -> None:
    gone = ended(stage, 2, state=JobState.FAILED, type="x")
    kept = {
        *ended(stage, state=JobState.FAILED, type="y"),
        *ended(stage, state=JobState.SUCCEEDED, type="x"),
        *stage.post(type="x"),
    }
    found = list(kinds(stage.database))
    assert [(kind.state, kind.type) for kind in found] == [
        (JobState.FAILED, "x"),
        (JobState.FAILED, "y"),
        (JobState.SUCCEEDED, "x"),
    ]
    assert list(kinds(stage.database, states=[JobState.FAILED], types=["x", "z"])) == found[:1]
    assert prune(stage.database, found[0], [Limit()]).removed == len(gone)
    assert left(stage) == kept


def test_in_batches_each_of_few_statements_and_until_it_is_stopped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(stage, BATCH + 5)
    pauses: list[float] = []

    def go_on(pause: float) -> bool:
        pauses.append(pause)
        return len(pauses) < 2

    monkeypatch.setattr(retention, "BATCH_S", 3600)
    with watched(stage.database.engine) as sent:
        removed = prune(stage.database, SUCCEEDED, [Limit()], go_on=go_on).removed
    assert removed == 3 * FIRST, "twice as many as before, as long as that takes no time"
    assert len(pauses) == 2
    assert min(pauses) > 0
    assert len(sent.statements) < 45
    monkeypatch.setattr(retention, "BATCH_S", 0)
    pauses.clear()
    assert prune(stage.database, SUCCEEDED, [Limit()], go_on=go_on).removed == FIRST + BATCH_MIN
    assert prune(stage.database, SUCCEEDED, [Limit()]).removed == BATCH + 5 - 4 * FIRST - BATCH_MIN
    assert left(stage) == set()


def test_the_first_rule_that_fits_holds() -> None:
    section = RetentionSection(
        max_days=1,
        rules=(
            RetentionRule(state="failed", type="x"),
            RetentionRule(type="x", max_count=5),
            RetentionRule(state="failed", max_days=2, max_count=3),
        ),
    )
    day = 86_400_000

    def limits(state: JobState, type_: str) -> list[Limit]:
        return limits_of(Kind(state=state, type=type_), section, 10 * day)

    assert limits(JobState.FAILED, "x") == []
    assert limits(JobState.SUCCEEDED, "x") == [Limit(keep=5)]
    assert limits(JobState.FAILED, "y") == [Limit(ended_before_ms=8 * day), Limit(keep=3)]
    assert limits(JobState.SUCCEEDED, "y") == [Limit(ended_before_ms=9 * day)]
    assert section.is_limited
    assert not RetentionSection(rules=(RetentionRule(type="x"),)).is_limited


def test_pruning_leaves_alone_what_is_retried_in_the_same_moment(stage: Stage) -> None:
    """Whoever locks the row first wins; here the retry did."""
    (job_id,) = stage.post()
    job = begin(stage.database, [job_id], owner=OWNER, node=NODE).started[0]
    hand_back(stage.database, job, Settlement(state=JobState.FAILED))
    kind = Kind(state=JobState.FAILED, type="made_up")
    pages = retention._pages

    def then_retried(*args: Any) -> Any:
        for page in pages(*args):
            retry(stage.database, job_id)
            yield page

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(retention, "_pages", then_retried)
        assert prune(stage.database, kind, [Limit(ended_before_ms=now_ms() + 1_000)]).removed == 0
    assert stage.store.get(job_id).state is JobState.WAITING
