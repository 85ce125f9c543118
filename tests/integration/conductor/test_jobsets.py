"""Chains, graphs and sets of jobs on real conductors: their results go on, their ends are followed up, whoever dies."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from jobrunner.errors import NodeNotFound
from jobrunner.jobs import change, fan_out, jobsets
from jobrunner.model import After, JobState, Posting, When
from jobrunner.persistence import nodes as node_table
from jobrunner.persistence.nodes import Away
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.ownership import hand_back
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.tables import events, jobs
from tests.support.conductors import Cluster

SUCCEEDED, FAILED, CANCELLED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED
BLOCKED, WAITING = JobState.BLOCKED, JobState.WAITING


def give(cluster: Cluster, *first: int, when: When = When.SUCCESS, **parameters: Any) -> Posting:
    parameters = {"evidence": str(cluster.evidence_path), **parameters}
    after = tuple(After(job=place, when=when) for place in first)
    return Posting(type="give", parameters=parameters, after=after)


def post(cluster: Cluster, *postings: Posting) -> tuple[jobsets.Jobset, list[str]]:
    made = jobsets.post_set(cluster.context, postings, sound=True)
    assert made.id is not None
    return jobsets.find(cluster.context, made.id), [one.job_id for one in made.posted]


def number(place: int) -> dict[str, Any]:
    return {"$result": place, "path": "number_more"}


def test_results_go_down_a_chain(anywhere: Cluster) -> None:
    anywhere.start()
    chain = [give(anywhere), *(give(anywhere, number=number(place)) for place in range(9))]
    jobset, ids = post(anywhere, *chain)
    ended = jobsets.wait(anywhere.context, jobset, timeout=30)
    assert ended.state is SUCCEEDED
    assert [anywhere.job(job_id).result for job_id in ids] == [
        {"number_more": place} for place in range(1, 11)
    ]
    assert anywhere.job(ids[-1]).parameters["number"] == 9


def test_who_ends_when_nothing_is_left_runs_the_whole_chain(both: Cluster) -> None:
    _, ids = post(both, give(both), *(give(both, place) for place in range(9)))
    then = both.post("give", posting={"after": (After(job=ids[-1]),)})
    assert both.start(once=True).wait() == 0
    both.succeeded(*ids, then, within=0.1)


def test_a_chain_goes_on_at_once(both: Cluster) -> None:
    """The end of a set's job is followed up without waiting for others."""
    both.start()
    jobset, ids = post(both, give(both), *(give(both, place) for place in range(20)))
    jobsets.wait(both.context, jobset, timeout=30)
    first, last = both.job(ids[0]), both.job(ids[-1])
    assert last.finished_ms is not None
    assert first.started_ms is not None
    assert last.finished_ms - first.started_ms < 20 * 190  # less than looking every now and then would take


def test_a_diamond_with_a_branch_for_failures(anywhere: Cluster) -> None:
    anywhere.start()
    gate = anywhere.gate()
    jobset, ids = post(
        anywhere,
        give(anywhere, number=1),
        give(anywhere, number=number(0), gate=gate),
        give(anywhere, number=number(0), fails=True),
        give(anywhere, 1, 2),
        give(anywhere, 2, when=When.FAILURE, number=40),
        give(anywhere, 3, when=When.ALWAYS),
    )
    # The last two run although the gate is still shut: "1 and 2" cannot be met any more.
    anywhere.ended(*ids[2:])
    assert anywhere.job(ids[1]).state is JobState.RUNNING
    anywhere.open(gate)
    ended = jobsets.wait(anywhere.context, jobset, timeout=30)
    states = [anywhere.job(job_id).state for job_id in ids]
    assert states == [SUCCEEDED, SUCCEEDED, JobState.REVERTED, CANCELLED, SUCCEEDED, SUCCEEDED]
    assert (ended.state, ended.skipped) == (FAILED, 1)
    assert not anywhere.evidence(job=ids[3])
    for job_id in ids:
        assert len(anywhere.ends(job_id)) == 1


def test_what_an_owner_left_undone_is_done_by_the_leader(anywhere: Cluster) -> None:
    """The owner settles its job and dies before its aftermath."""
    jobset, ids = post(
        anywhere, give(anywhere), give(anywhere, number=number(0)), give(anywhere, 0, when=When.FAILURE)
    )
    (job,) = begin(anywhere.context.database, ids[:1], owner="dead:1:aa", node="dead").started
    hand_back(anywhere.context.database, job, Settlement(state=SUCCEEDED, result={"number_more": 5}))
    assert anywhere.job(ids[1]).state is BLOCKED
    anywhere.start()
    assert jobsets.wait(anywhere.context, jobset, timeout=30).state is SUCCEEDED
    assert anywhere.job(ids[1]).result == {"number_more": 6}
    assert anywhere.job(ids[2]).state is CANCELLED


def test_a_conductor_that_is_killed_in_the_midst_of_a_graph(both: Cluster) -> None:
    gate = both.gate()
    postings = [give(both, number=1, gate=gate)]
    postings += [give(both, number=number(0)) for _ in range(30)]
    postings += [give(both, *range(1, 31))]
    jobset, ids = post(both, *postings)
    alice = both.start("alice", lease=1)
    both.start("bob", lease=1)
    both.started("give", job=ids[0])
    both.open(gate)
    both.in_state(ids[0], SUCCEEDED)
    alice.kill_all()
    assert jobsets.wait(both.context, jobset, timeout=40).counts == {SUCCEEDED: 32}
    for job_id in ids:
        assert len(both.ends(job_id)) == 1


def test_a_job_that_kills_its_owners_is_followed_too(embedded: Cluster) -> None:
    embedded.start()
    deadly = Posting(type="deadly", parameters={"evidence": str(embedded.evidence_path)})
    jobset, ids = post(embedded, deadly, give(embedded, 0), give(embedded, 0, when=When.FAILURE))
    assert jobsets.wait(embedded.context, jobset, timeout=60).state is FAILED
    assert [embedded.job(job_id).state for job_id in ids] == [FAILED, CANCELLED, SUCCEEDED]


def test_a_result_of_another_type_fails_the_next_in_words(embedded: Cluster) -> None:
    embedded.start()
    jobset, ids = post(embedded, give(embedded), give(embedded, number={"$result": 0}))
    jobsets.wait(embedded.context, jobset, timeout=30)
    error = embedded.job(ids[1]).error
    assert error is not None
    assert "parameter 'number' is {'number_more': 1}, but has to be a whole number" in error.message


def test_cancelling_a_set_runs_nothing_more(anywhere: Cluster) -> None:
    anywhere.start(conductor__jobs=1)
    gate = anywhere.gate()
    jobset, ids = post(
        anywhere,
        give(anywhere, gate=gate),
        give(anywhere),
        give(anywhere, 0),
        give(anywhere, 0, when=When.ALWAYS),
        give(anywhere, 3, when=When.ALWAYS),
    )
    outside = change_outside(anywhere, ids[3])
    anywhere.started("give", job=ids[0])
    left = jobsets.cancel(anywhere.context, jobset)
    assert left.counts[CANCELLED] >= 4  # the one that ran may have ended by now
    ended = jobsets.wait(anywhere.context, jobset, timeout=30)
    assert (ended.state, ended.counts) == (CANCELLED, {CANCELLED: 5})
    anywhere.succeeded(outside)  # it is no member, and comes after one whatever its end
    assert {line.job for line in anywhere.evidence(what="start")} == {ids[0], outside}
    assert jobsets.cancel(anywhere.context, jobset).counts == ended.counts  # again is fine


def test_cancelling_a_large_set_lets_nothing_go_on(embedded: Cluster) -> None:
    """One that comes after others always is cancelled before those are."""
    always = [give(embedded, place, when=When.ALWAYS) for place in range(450)]
    jobset, _ = post(embedded, give(embedded), *always)
    assert jobsets.cancel(embedded.context, jobset).counts == {CANCELLED: 451}
    with embedded.context.database.read() as connection:
        went_on = events.select().where(events.c.kind == "unblocked")
        assert connection.execute(went_on).all() == []


def change_outside(cluster: Cluster, job_id: str) -> str:
    """A job outside of the set that comes after one of it, always."""
    return cluster.post("give", posting={"after": (After(job=job_id, when=When.ALWAYS),)})


def test_cancelling_one_job_is_followed_from_anywhere(embedded: Cluster) -> None:
    _, ids = post(embedded, give(embedded), give(embedded, 0), give(embedded, 0, when=When.ALWAYS))
    change.cancel(embedded.context, embedded.job(ids[0]))
    assert [embedded.job(job_id).state for job_id in ids] == [CANCELLED, CANCELLED, WAITING]
    assert embedded.context.board.known(ids) == {ids[2]}


def test_a_job_posted_after_one_that_runs_or_has_ended(anywhere: Cluster) -> None:
    anywhere.start()
    gate = anywhere.gate()
    first = anywhere.post("give", gate=gate)
    anywhere.started("give", job=first)
    then = anywhere.post(
        "give", posting={"after": (After(job=first),)}, number={"$result": first, "path": "number_more"}
    )
    assert anywhere.job(then).state is BLOCKED
    anywhere.open(gate)
    anywhere.succeeded(then)
    later = anywhere.post("give", number={"$result": then, "path": "number_more"})
    anywhere.succeeded(later)
    assert anywhere.job(later).result == {"number_more": 3}


def test_retrying_a_chain_runs_it_in_order(embedded: Cluster) -> None:
    gate = embedded.gate()
    embedded.start()
    jobset, ids = post(embedded, give(embedded, fails=True), give(embedded, 0))
    jobsets.wait(embedded.context, jobset, timeout=30)
    with embedded.context.database.write() as connection:  # mended from outside
        row = jobs.c.id == ids[0]
        mended = {"evidence": str(embedded.evidence_path), "gate": gate}
        connection.execute(jobs.update().where(row).values(parameters=json.dumps(mended)))
    for job_id in ids:
        change.retry(embedded.context, embedded.job(job_id))
    assert embedded.job(ids[1]).state is BLOCKED
    embedded.open(gate)
    assert jobsets.wait(embedded.context, jobset, timeout=30).state is SUCCEEDED


def test_a_set_is_retried_from_where_it_failed(embedded: Cluster) -> None:
    """The middle fails, since its gate is never there; then it is mended, and the set goes on."""
    embedded.start()
    jobset, ids = post(
        embedded,
        give(embedded, number=4),
        give(embedded, number=number(0), fails=True),
        give(embedded, number=number(1)),
        give(embedded, 1, when=When.FAILURE, number=40),
    )
    assert jobsets.wait(embedded.context, jobset, timeout=30).state is FAILED
    with embedded.context.database.write() as connection:  # mended from outside
        mended = {"evidence": str(embedded.evidence_path), "number": 5}
        row = jobs.c.id == ids[1]
        connection.execute(jobs.update().where(row).values(parameters=json.dumps(mended)))
    outcome = jobsets.retry(embedded.context, jobset)
    assert (outcome.retried, outcome.refused) == (ids[1:3], {})
    ended = jobsets.wait(embedded.context, jobset, timeout=30)
    assert (ended.state, ended.counts) == (SUCCEEDED, {SUCCEEDED: 4})
    assert [embedded.job(job_id).attempt for job_id in ids] == [1, 2, 2, 1]
    assert embedded.job(ids[2]).result == {"number_more": 7}
    assert len(embedded.evidence(what="start", job=ids[0])) == 1
    assert jobsets.retry(embedded.context, jobset).retried == []


def test_a_cancelled_set_is_retried_as_a_whole(embedded: Cluster) -> None:
    jobset, ids = post(embedded, give(embedded), give(embedded, 0), give(embedded, 1, when=When.ALWAYS))
    jobsets.cancel(embedded.context, jobset)
    assert jobsets.retry(embedded.context, jobset).retried == ids
    assert embedded.context.board.known(ids) == {ids[0]}
    embedded.start()
    assert jobsets.wait(embedded.context, jobset, timeout=30).state is SUCCEEDED


@pytest.mark.parametrize("looker", ["look_around", "look_around_in_a_pool"])
def test_tasks_read_the_members_of_their_set(both: Cluster, looker: str) -> None:
    both.start()
    gate = both.gate()
    jobset, ids = post(
        both,
        give(both, number=6),
        give(both, gate=gate),
        Posting(type=looker, after=(After(job=0),)),
        give(both, 1),
    )
    both.succeeded(ids[2])
    both.open(gate)
    jobsets.wait(both.context, jobset, timeout=30)
    assert both.job(ids[2]).result == {
        "seen": [
            [0, "give", "SUCCEEDED", False, {"number_more": 7}],
            [1, "give", "RUNNING", False, None],
            [2, looker, "RUNNING", True, None],
            [3, "give", "BLOCKED", False, None],
        ]
    }


def test_a_job_of_no_set_has_no_members(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("look_around")
    embedded.succeeded(job_id)
    assert embedded.job(job_id).result == {"seen": []}


# Fan-out


def test_one_job_for_each_node(networked: Cluster) -> None:
    for name, labels in (("n1", '["web", "rack=3"]'), ("n2", '["web"]'), ("n3", "[]")):
        networked.start(name, conductor__labels=",".join(labels.strip("[]").replace('"', "").split(", ")))
    context, posting = networked.context, give(networked)
    networked.until(lambda: len(fan_out.living_nodes(context)) == 3, "all have reported")

    def names(*targets: str) -> list[str | None]:
        return [one.node for one in fan_out.on_nodes(context, posting, targets).postings]

    assert names("all") == ["n1", "n2", "n3"]
    assert names("n3", "n1") == ["n1", "n3"]
    assert names("label=web") == names("label=web", "n2") == ["n1", "n2"]
    assert names("label=rack=3") == ["n1"]
    for target, words in (("n4", "alive: n1, n2, n3"), ("label=db", "alive: n1, n2, n3")):
        with pytest.raises(NodeNotFound) as refused:
            names(target)
        assert words in str(refused.value.hint)
    jobset, ids = post(networked, *fan_out.on_nodes(context, posting, ["all"]).postings)
    assert jobsets.wait(context, jobset, timeout=30).state is SUCCEEDED
    assert [networked.job(job_id).node for job_id in ids] == ["n1", "n2", "n3"]


def test_without_a_living_node_nothing_is_posted(embedded: Cluster) -> None:
    with pytest.raises(NodeNotFound, match="No conductor is alive"):
        fan_out.on_nodes(embedded.context, give(embedded), ["all"])


def test_labels_and_all_leave_out_nodes_that_take_no_jobs(embedded: Cluster) -> None:
    database, context, posting = embedded.context.database, embedded.context, give(embedded)
    for name in ("n1", "n2", "n3", "n4"):
        report = {"labels": ["web"] if name < "n4" else ["db"]}
        node_table.report_node(database, name, f"{name}:1:aa", started_ms=1, report=report)
    node_table.set_drained(database, "n2", True)
    node_table.node_stopped(database, "n3", "n3:1:aa")

    def fanned(*targets: str) -> tuple[list[str | None], dict[str, Away], list[str]]:
        made = fan_out.on_nodes(context, posting, targets)
        return [one.node for one in made.postings], made.left_out, made.drained

    away = {"n2": Away.DRAINED, "n3": Away.GONE}
    assert fanned("all") == (["n1", "n4"], away, [])
    assert fanned("label=web") == (["n1"], away, [])
    assert fanned("label=db") == (["n4"], {}, [])
    # Who names a drained node means it; and then nothing of it was left out.
    assert fanned("n2", "label=web") == (["n1", "n2"], {"n3": Away.GONE}, ["n2"])
    with pytest.raises(NodeNotFound, match="No conductor is alive on a node 'n3'"):
        fanned("n3")
    node_table.set_drained(database, "n4", True)
    with pytest.raises(NodeNotFound, match=r"'db' takes jobs now: n4 \(it is drained\)"):
        fanned("label=db")
    with pytest.raises(NodeNotFound, match="There is no node that has the label 'mail'"):
        fanned("label=mail")


# Many


def test_a_set_of_a_thousand_runs(anywhere: Cluster) -> None:
    anywhere.start(conductor__processes=2)
    postings = [
        give(anywhere),
        *(give(anywhere, number=number(0)) for _ in range(998)),
        give(anywhere, *range(1, 999)),
    ]
    began = time.monotonic()
    jobset, ids = post(anywhere, *postings)
    ended = jobsets.wait(anywhere.context, jobset, timeout=150)
    print(f"a set of 1,000 ran in {time.monotonic() - began:.1f} s")
    assert ended.counts == {SUCCEEDED: 1000}
    last = anywhere.job(ids[-1])
    assert last.started_ms is not None
    assert max(anywhere.job(job_id).finished_ms or 0 for job_id in ids[:-1]) <= last.started_ms
