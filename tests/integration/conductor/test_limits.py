"""Semaphores, rates and unique jobs with conductors: never above, never for long below, and nothing left behind."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.jobs import jobsets, limits
from jobrunner.jobs.jobsets import PostedSet, post_set
from jobrunner.jobs.limits import Rate
from jobrunner.model import After, JobState, Posting
from jobrunner.persistence.tables import permits
from jobrunner.policies import Hold, Policies
from tests.support.conductors import Cluster, Line


def holding(*holds: Hold) -> dict[str, Any]:
    return {"policies": Policies(holds=holds or (Hold(name="db"),))}


def at_once(lines: list[Line]) -> int:
    """How many ran at the same time at most, by what they themselves wrote."""
    steps = sorted((line.at, 1 if line.what == "start" else -1) for line in lines)
    running = most = 0
    for _, step in steps:
        running += step
        most = max(most, running)
    return most


def pauses(lines: list[Line], count: int, jobs: int) -> list[float]:
    """For how long fewer than ``count`` ran while others waited, each time that one ended, in seconds."""
    starts = sorted(line.at for line in lines if line.what == "start")
    ends = sorted(line.at for line in lines if line.what == "end")
    return [start - end for end, start in zip(ends[: jobs - count], starts[count:], strict=True)]


def permits_left(cluster: Cluster, **but: int) -> int:
    """How many there are, of those who wait too; or of those whose columns are so."""
    query = sa.select(sa.func.count()).select_from(permits).filter_by(**but)
    with cluster.context.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def test_never_above_the_count_and_nothing_is_left(anywhere: Cluster) -> None:
    limits.set_limit(anywhere.context, "db", count=2)
    ids = anywhere.post_many("busy", count=16, posting=holding())
    plain = anywhere.post("busy")
    anywhere.start("alice", conductor__processes=2)
    anywhere.succeeded(*ids, plain)
    assert at_once([line for line in anywhere.evidence() if line.job != plain]) == 2
    anywhere.until(lambda: not permits_left(anywhere), "no permit is left")
    assert limits.list_limits(anywhere.context)[0].waiting == 0


@pytest.mark.redis
@pytest.mark.mariadb
def test_two_hundred_contend_for_three_on_four_processes(networked: Cluster) -> None:
    limits.set_limit(networked.context, "db", count=3)
    networked.start("alice", conductor__processes=4)
    ids = networked.post_many("busy", count=200, posting=holding())
    networked.succeeded(*ids, within=60)
    lines = networked.evidence()
    assert at_once(lines) == 3
    found = sorted(pauses(lines, 3, 200))
    assert found[150] < 0.25, found[-20:]  # `make bench` tells how near it comes to its goal, 50 ms
    networked.until(lambda: not permits_left(networked), "no permit is left")


def test_a_drain_waits_for_those_that_wait_for_each_other(anywhere: Cluster) -> None:
    ids = anywhere.post_many("busy", count=6, posting=holding())
    assert anywhere.start("alice", once=True).wait() == 0
    assert {anywhere.job(job_id).state for job_id in ids} == {JobState.SUCCEEDED}
    assert at_once(anywhere.evidence()) == 1


def test_who_takes_a_job_over_has_what_it_holds(anywhere: Cluster) -> None:
    gate = anywhere.gate()
    alice = anywhere.start("alice")
    first = anywhere.post("steps", count=1, hold=1, gate=gate, posting=holding())
    anywhere.started("step1", job=first)
    second = anywhere.post("steps", count=1, posting=holding())
    anywhere.until(lambda: anywhere.job(second).note, "the second waits")
    alice.kill_all()
    anywhere.start("bob")
    anywhere.started("step1", job=first, times=2)
    assert anywhere.job(second).state is JobState.WAITING
    anywhere.open(gate)
    anywhere.succeeded(first, second)
    end = anywhere.evidence(job=first, what="end")[0].at
    assert end < anywhere.evidence(job=second, what="start")[0].at
    anywhere.until(lambda: not permits_left(anywhere), "no permit is left")


def test_a_suspended_job_lets_others_have_what_it_held(both: Cluster) -> None:
    gate = both.gate()
    alice = both.start("alice")
    first = both.post("steps", count=2, hold=1, gate=gate, heed=True, posting=holding())
    both.started("step1", job=first)
    second = both.post("busy", posting=holding())
    both.until(lambda: "db" in (both.job(second).note or ""), "the second waits")
    alice.process.terminate()
    assert alice.wait() == 0
    assert permits_left(both, granted=1) == 0
    both.open(gate)
    both.start("bob")
    both.succeeded(first, second)


def test_a_raised_count_lets_those_in_who_wait(anywhere: Cluster) -> None:
    gate = anywhere.gate()
    anywhere.start("alice")
    ids = [anywhere.post("steps", count=1, hold=1, gate=gate, posting=holding()) for _ in range(3)]
    anywhere.until(lambda: sum(anywhere.job(job_id).note is not None for job_id in ids) == 2, "two wait")
    limits.set_limit(anywhere.context, "db", count=3)
    anywhere.until(lambda: len(anywhere.evidence(what="start")) == 3, "all three run", within=5)
    anywhere.open(gate)
    anywhere.succeeded(*ids)


def test_readers_share_and_a_writer_is_alone(both: Cluster) -> None:
    share, alone = holding(Hold(name="db", shared=True)), holding()
    both.start("alice")
    ids = []
    for _ in range(4):
        ids += both.post_many("busy", count=3, posting=share, seconds=0.1)
        ids += both.post_many("busy", count=1, posting=alone, seconds=0.1)
    both.succeeded(*ids)
    writers = {job_id for number, job_id in enumerate(ids) if number % 4 == 3}
    lines = both.evidence()
    assert at_once(lines) > 1
    spans = {job: sorted(line.at for line in lines if line.job == job) for job in ids}
    for writer in writers:
        began, ended = spans[writer]
        others = [span for job, span in spans.items() if job != writer]
        assert all(span[1] < began or span[0] > ended for span in others)


def test_a_type_says_how_many_run_at_once(anywhere: Cluster) -> None:
    ids = anywhere.post_many("two_at_once", count=8)
    anywhere.start("alice", conductor__processes=2)
    anywhere.succeeded(*ids)
    assert at_once(anywhere.evidence()) == 2


def test_a_rate_is_never_exceeded(both: Cluster) -> None:
    both.start("alice", conductor__processes=2)
    ids = both.post_many("three_a_second", count=9)
    both.succeeded(*ids)
    events = [event for job_id in ids for event in both.context.store.history(job_id)]
    begun = sorted(event["at_ms"] for event in events if event["kind"] == "claimed")
    assert len(begun) == 9
    gaps = [later - earlier for earlier, later in zip(begun, begun[3:], strict=False)]
    assert min(gaps) > 950, gaps  # the events' times are of a moment before the locks, and of another clock
    assert max(gaps) < 2500, gaps


def test_a_tag_can_be_limited(anywhere: Cluster) -> None:
    limits.set_limit(anywhere.context, "tag:customer=acme", count=1)
    anywhere.start("alice", conductor__processes=2)
    ids = anywhere.post_many("busy", count=6, posting={"properties": {"customer": "acme"}})
    anywhere.succeeded(*ids)
    assert at_once(anywhere.evidence()) == 1


def test_a_node_runs_no_more_than_it_may(anywhere: Cluster) -> None:
    ids = anywhere.post_many("busy", count=12, seconds=0.1)
    conductor = anywhere.start("alice", ready=False, conductor__processes=4, conductor__max_running=3)
    anywhere.until(lambda: conductor.log.count("takes jobs") == 3, "as many workers as jobs")
    anywhere.succeeded(*ids)
    assert 1 < at_once(anywhere.evidence()) <= 3


def test_a_paused_semaphore_lets_nobody_start_until_it_is_deleted(anywhere: Cluster) -> None:
    limits.set_limit(anywhere.context, "db", count=0)
    limits.set_limit(anywhere.context, "db", rate=Rate(starts=100, period=1.0))  # the count stays
    anywhere.start("alice")
    first = anywhere.post("busy", posting=holding())
    second = anywhere.post("busy")
    anywhere.succeeded(second)
    anywhere.until(lambda: anywhere.job(first).note, "it waits")
    assert anywhere.job(first).note == "Waits for a slot of db."
    limits.delete_limit(anywhere.context, "db")
    anywhere.succeeded(first)


def test_a_node_runs_no_more_than_somebody_limits_it_to(anywhere: Cluster) -> None:
    limits.set_limit(anywhere.context, "node:alice", count=0)
    ids = anywhere.post_many("busy", count=8, seconds=0.05)
    anywhere.start("alice", conductor__processes=2)
    limits.set_limit(anywhere.context, "node:bob", count=1)
    anywhere.start("bob", conductor__processes=2)
    anywhere.succeeded(*ids[:2])
    limits.set_limit(anywhere.context, "node:alice", count=3)
    anywhere.succeeded(*ids)
    for name, most in (("alice", 3), ("bob", 1)):
        here = {job_id for job_id in ids if anywhere.job(job_id).node == name}
        assert at_once([line for line in anywhere.evidence() if line.job in here]) <= most


def test_limits_are_configured(anywhere: Cluster) -> None:
    ids = anywhere.post_many("busy", count=9, posting=holding(Hold(name="db"), Hold(name="free")))
    settings = {
        "semaphores": '{"db": 2, "free": "any"}',
        "types": '{"two_at_once": 5}',
        "nodes": '{"alice": 7}',
    }
    anywhere.start(
        "alice", conductor__processes=2, **{f"limits__{key}": text for key, text in settings.items()}
    )
    anywhere.succeeded(*ids)
    assert at_once(anywhere.evidence()) == 2
    found = {limit.name: limit for limit in limits.list_limits(anywhere.context)}
    assert (found["db"].count, found["db"].is_set, found["db"].configured_by) == (2, False, "alice")
    assert (found["type:two_at_once"].count, found["node:alice"].count) == (5, 7)


def set_of(cluster: Cluster, number: int, **hold: Any) -> PostedSet:
    posting = Posting(type="busy", parameters={"evidence": str(cluster.evidence_path), "seconds": 0.1})
    return post_set(cluster.context, [posting] * number, holds=[Hold(name="db", **hold)])


def span(cluster: Cluster, posted: PostedSet) -> tuple[float, float]:
    """From the first start of its jobs to the last end."""
    ids = {one.job_id for one in posted.posted}
    times = [line.at for line in cluster.evidence() if line.job in ids]
    return min(times), max(times)


def test_jobsets_hold_it_as_a_whole(anywhere: Cluster) -> None:
    sets = [set_of(anywhere, 3) for _ in range(3)]
    single = anywhere.post("busy", posting=holding())
    anywhere.start("alice", conductor__processes=2, conductor__jobs=4)
    ids = [one.job_id for posted in sets for one in posted.posted]
    anywhere.succeeded(*ids, single)
    spans = sorted(span(anywhere, posted) for posted in sets)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans)), spans
    assert at_once(anywhere.evidence()) == 3  # they do not wait for others of their own set
    anywhere.until(lambda: not permits_left(anywhere), "no permit is left")


def test_a_jobset_that_is_cancelled_half_way_lets_others_go_on(both: Cluster) -> None:
    gate = both.gate()
    waits = Posting(
        type="steps", parameters={"evidence": str(both.evidence_path), "count": 1, "hold": 1, "gate": gate}
    )
    later = replace(waits, after=(After(job=0),))
    posted = post_set(both.context, [waits, later, later], holds=[Hold(name="db")])
    other = set_of(both, 2)
    both.start("alice")
    both.started("step1")
    jobset = jobsets.find(both.context, str(posted.id))
    jobsets.cancel(both.context, jobset)
    both.open(gate)
    both.succeeded(*(one.job_id for one in other.posted))
    both.until(lambda: not permits_left(both), "no permit is left")


@pytest.mark.thorough
def test_what_a_jobset_holds_outlives_a_conductor(anywhere: Cluster) -> None:
    posted, other = set_of(anywhere, 6), set_of(anywhere, 2)
    alice = anywhere.start("alice", conductor__jobs=2)
    anywhere.until(lambda: len(anywhere.evidence()) >= 3, "two have begun")
    alice.kill()
    anywhere.start("bob", conductor__jobs=2)
    ids = [one.job_id for one in (*posted.posted, *other.posted)]
    anywhere.succeeded(*ids)
    first, second = sorted([span(anywhere, posted), span(anywhere, other)])
    assert first[1] < second[0]
    anywhere.until(lambda: not permits_left(anywhere), "no permit is left")
