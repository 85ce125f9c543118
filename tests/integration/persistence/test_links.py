"""Jobs that come after others, on each database: what becomes of them when those end, whoever ends them and when."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent import futures
from dataclasses import replace
from typing import Any

import pytest

from jobrunner.errors import DuplicateKey, InvalidParameters, JobNotFound, WrongState
from jobrunner.jobs.following import follow, follow_all
from jobrunner.model import (
    TERMINAL_STATES,
    After,
    BoardEntry,
    CancelMode,
    Job,
    JobState,
    Parked,
    Posting,
    When,
    new_job_id,
)
from jobrunner.persistence.chains import links
from jobrunner.persistence.chains.jobsets import find_jobset, members_of, open_members, page_of_jobsets
from jobrunner.persistence.chains.retrying_sets import Retried, retry_members
from jobrunner.persistence.ownership import ownership
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.ownership import hand_back
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.posting.linked_posting import NewJobset
from jobrunner.persistence.removal import remove
from jobrunner.persistence.store import JobFilter, Store
from jobrunner.policies import Placement, Policies
from tests.support.journals import now_ms, watched

WAITING, BLOCKED, SUCCEEDED = JobState.WAITING, JobState.BLOCKED, JobState.SUCCEEDED
FAILED, CANCELLED = JobState.FAILED, JobState.CANCELLED


class Entries:
    """A board that takes note of what is put on it."""

    def __init__(self) -> None:
        self.posted: list[str] = []

    def post(self, entries: Sequence[BoardEntry]) -> int:
        self.posted += [entry.job_id for entry in entries]
        return len(entries)


class Line:
    """A store with a board, where jobs are ended by hand."""

    def __init__(self, store: Store) -> None:
        self.store, self.board = store, Entries()

    def post(self, *postings: Posting, jobset: NewJobset | None = None) -> list[str]:
        made = self.store.insert_linked(postings, now_ms=now_ms(), jobset=jobset)
        return [one.id for one in made]

    def plain(self) -> str:
        return self.post(Posting(type="first"))[0]

    def after(self, *first: str | int, when: When = When.SUCCESS, **posting: Any) -> Posting:
        return Posting(**{"type": "then", **posting}, after=tuple(After(job=job, when=when) for job in first))

    def end(self, job_id: str, state: JobState = SUCCEEDED, *, result: Any = None, told: bool = True) -> None:
        """End a job as its owner would; ``told`` if somebody lives to follow up on it."""
        (job,) = begin(self.store.database, [job_id], owner="alice:1:aa", node="alice").started
        hand_back(self.store.database, job, Settlement(state=state, result=result))
        if told:
            self.follow(job_id)

    def follow(self, *job_ids: str) -> int:
        return follow(self.store.database, lambda: self.board, job_ids)  # type: ignore[arg-type, return-value]

    def follow_all(self) -> int:
        return follow_all(self.store.database, lambda: self.board)  # type: ignore[arg-type, return-value]

    def states(self, *job_ids: str) -> list[JobState]:
        found = self.store.states(job_ids)
        return [found[job_id] for job_id in job_ids]

    def job(self, job_id: str) -> Job:
        return self.store.get(job_id)


@pytest.fixture
def line(store: Store) -> Line:
    return Line(store)


# Met, and not


def test_a_job_is_blocked_until_the_one_before_it_has_succeeded(line: Line) -> None:
    first, then = line.post(Posting(type="first"), line.after(0))
    blocked = line.job(then)
    assert (blocked.state, blocked.parked) == (BLOCKED, Parked.AFTER)
    assert first[:8] in str(blocked.note)
    assert begin(line.store.database, [then], owner="alice:1:aa", node="alice").parked == [then]
    assert (line.follow(first), line.states(then)) == (0, [BLOCKED])
    line.end(first)
    free = line.job(then)
    assert (free.state, free.parked, free.note, free.epoch) == (WAITING, None, None, 0)
    assert line.board.posted == [then]
    assert [event["kind"] for event in line.store.history(then)] == ["posted", "unblocked"]
    assert line.follow(first) == 0  # once


ENDS = sorted(TERMINAL_STATES)


@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("state", ENDS)
def test_each_end_meets_its_conditions(line: Line, state: JobState, when: When) -> None:
    expected = {
        When.SUCCESS: state is SUCCEEDED,
        When.FAILURE: state not in (SUCCEEDED, CANCELLED),
        When.ALWAYS: True,
    }[when]
    first, then = line.post(Posting(type="first"), line.after(0, when=when))
    line.end(first, state)
    (later,) = line.post(line.after(first, when=when))  # the same, decided when it is posted
    assert line.states(then, later) == [WAITING if expected else CANCELLED] * 2
    for job_id in [] if expected else [then, later]:
        error = line.job(job_id).error
        assert error is not None
        assert error.kind == links.SKIPPED
        assert f"job {first[:8]} (first) ended as {state}" in error.message
        assert line.job(job_id).finished_ms is not None
        assert line.store.history(job_id)[-1]["kind"] == "cancelled"


def test_a_diamond_waits_for_both_of_its_sides(line: Line) -> None:
    top, left, right, end = line.post(Posting(type="top"), line.after(0), line.after(0), line.after(1, 2))
    line.end(top)
    assert line.states(left, right, end) == [WAITING, WAITING, BLOCKED]
    line.end(left)
    assert line.states(end) == [BLOCKED]
    line.end(right)
    assert line.states(end) == [WAITING]


def test_what_cannot_be_reached_any_more_is_skipped_down_the_graph(line: Line) -> None:
    top, other, left, end, clean, tidy = line.post(
        Posting(type="top"),
        Posting(type="other"),
        line.after(0),
        line.after(1, 2),
        line.after(0, when=When.FAILURE),
        line.after(3, when=When.ALWAYS),
    )
    line.end(top, FAILED)
    # At once: "other" still runs, and cannot change it.
    assert line.states(left, end, clean, tidy, other) == [CANCELLED, CANCELLED, WAITING, WAITING, WAITING]
    assert sorted(line.board.posted) == sorted([clean, tidy])
    assert f"job {left[:8]} (then) ended as CANCELLED" in str(line.job(end).error)


def test_a_retried_job_has_not_ended(line: Line) -> None:
    first, then = line.post(Posting(type="first"), line.after(0))
    line.end(first, WAITING)  # an attempt is left
    assert line.states(then) == [BLOCKED]
    line.end(first)
    assert line.states(then) == [WAITING]


def test_a_delayed_job_is_scheduled_then(line: Line) -> None:
    later = now_ms() + 3_600_000
    first, then = line.post(Posting(type="first"), line.after(0, available_ms=later))
    line.end(first)
    assert (line.job(then).state, line.job(then).available_ms) == (JobState.SCHEDULED, later)


def test_a_job_that_a_person_holds_is_not_put_on_the_board(line: Line) -> None:
    first, then = line.post(Posting(type="first"), line.after(0))
    with line.store.database.write() as connection:
        connection.execute(links.jobs.update().where(links.jobs.c.id == then).values(held=1))
    line.end(first)
    assert (line.job(then).state, line.job(then).parked) == (JobState.SUSPENDED, Parked.HELD)
    assert line.board.posted == []


# Ends that nobody followed up on


def test_the_leader_finds_what_a_dead_owner_left(line: Line) -> None:
    first, then, last = line.post(Posting(type="first"), line.after(0), line.after(1))
    gone, never, cleanup = line.post(Posting(type="first"), line.after(0), line.after(1, when=When.ALWAYS))
    line.end(first, told=False)
    line.end(gone, FAILED, told=False)
    assert line.states(then, never) == [BLOCKED, BLOCKED]
    assert line.follow_all() == 3
    assert line.states(then, last, never, cleanup) == [WAITING, BLOCKED, CANCELLED, WAITING]
    assert line.follow_all() == 0


def test_a_job_before_it_that_was_deleted_cannot_succeed_any_more(line: Line) -> None:
    first, then, tidy = line.post(Posting(type="first"), line.after(0), line.after(0, when=When.ALWAYS))
    with line.store.database.write() as connection:
        connection.execute(links.jobs.delete().where(links.jobs.c.id == first))
    line.follow_all()
    assert line.states(then, tidy) == [CANCELLED, WAITING]
    assert "was deleted" in str(line.job(then).error)


def test_two_who_follow_at_once_do_it_once(line: Line) -> None:
    firsts = [line.plain() for _ in range(8)]
    made = line.post(*[line.after(*firsts) for _ in range(20)])
    barrier = threading.Barrier(8)

    def end(job_id: str) -> None:
        barrier.wait(20)
        line.end(job_id)

    with futures.ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(end, job_id) for job_id in firsts]:
            done.result(60)
    assert set(line.states(*made)) == {WAITING}
    assert sorted(line.board.posted) == sorted(made)
    for job_id in made:
        assert [event["kind"] for event in line.store.history(job_id)] == ["posted", "unblocked"]


def test_no_end_falls_between_the_look_and_the_link(line: Line) -> None:
    for _ in range(12):
        first = line.plain()
        with futures.ThreadPoolExecutor(2) as pool:
            ended = pool.submit(line.end, first)
            posted = [line.post(line.after(first))[0] for _ in range(5)]
            ended.result(60)
        assert set(line.states(*posted)) == {WAITING}


# Posting


def test_a_job_that_is_not_there_cannot_come_first(line: Line) -> None:
    with pytest.raises(JobNotFound, match="for another to come after"):
        line.post(Posting(type="other"), line.after(new_job_id()))
    assert line.store.page(JobFilter())[0] == []


@pytest.mark.parametrize("place", [1, 2, -1])
def test_only_earlier_postings_can_come_first(line: Line, place: int) -> None:
    with pytest.raises(InvalidParameters, match="one before it"):
        line.post(Posting(type="other"), line.after(place))


def test_contradicting_links_are_refused(line: Line) -> None:
    both = Posting(type="x", after=(After(job=0), After(job=0, when=When.FAILURE)))
    with pytest.raises(InvalidParameters, match="on success and on failure"):
        line.post(Posting(type="other"), both)


def test_the_same_keys_are_the_same_jobs(line: Line) -> None:
    def chain() -> list[Posting]:
        referring = {"x": {"$result": 0, "path": "port"}}
        return [
            Posting(type="first", idempotency_key="a"),
            line.after(0, idempotency_key="b", parameters=referring),
        ]

    ids = line.post(*chain())
    assert line.post(*chain()) == ids
    # Half of it is there: the other half comes after what is.
    (again, more) = line.post(chain()[0], line.after(0, idempotency_key="c"))
    assert again == ids[0]
    line.end(again, result={"port": 1})
    assert line.states(ids[1], more) == [WAITING, WAITING]


def test_a_job_after_one_that_was_there_by_its_unique_key(line: Line) -> None:
    (there,) = line.post(Posting(type="first", unique_key="u"))
    again, twin, then = line.post(
        Posting(type="first", unique_key="u"),
        line.after(0, unique_key="u"),
        line.after(0, parameters={"x": {"$result": 0, "path": "port"}}),
    )
    assert (again, twin) == (there, there)
    assert [link.after_id for link in links.links_of(line.store.database, [then])[then]] == [there]
    line.end(there, result={"port": 3})
    assert line.job(then).parameters == {"x": 3}


def test_the_same_keys_are_the_same_jobs_when_results_stand_for_what_was_posted(line: Line) -> None:
    def chain(extra: int = 1) -> list[Posting]:
        referring = {"x": {"$result": 0, "path": "port"}, "y": extra}
        return [
            Posting(type="first", idempotency_key="a"),
            line.after(0, idempotency_key="b", parameters=referring),
        ]

    ids = line.post(*chain())
    line.end(ids[0], result={"port": 8080})
    assert line.job(ids[1]).parameters == {"x": 8080, "y": 1}
    assert line.post(*chain()) == ids
    with pytest.raises(DuplicateKey):
        line.post(*chain(extra=2))


def test_jobs_that_come_after_others_are_found_by_their_tags(line: Line) -> None:
    tagged = {"properties": {"team": "web"}}
    ids = line.post(Posting(type="first", **tagged), line.after(0, **tagged), line.after(0))
    found = line.store.page(JobFilter(tags={"team": "web"}))[0]
    assert [job.id for job in found] == ids[1::-1]


def test_a_job_prefers_its_node_from_when_it_goes_on(line: Line) -> None:
    placement = Placement(prefer="n1", failover=60.0)
    first, then = line.post(Posting(type="first"), line.after(0, policies=Policies(placement=placement)))
    before = now_ms()
    line.end(first)
    job = line.job(then)
    assert job.job_class.node == "n1"
    assert job.failover_ms is not None
    assert before + 60_000 <= job.failover_ms <= now_ms() + 60_000


def test_posting_a_chain_is_one_transaction(line: Line) -> None:
    first = line.plain()
    chain = [line.after(first), *(line.after(place) for place in range(9))]
    with watched(line.store.database.engine) as sent:
        line.post(*chain)
    assert sent.commits == 1


# Results


def test_results_become_parameters(line: Line) -> None:
    refer = {
        "port": {"$result": 0, "path": "server.port"},
        "all": [{"$result": 0}, "x"],
        "plain": "stays",
    }
    first, then = line.post(Posting(type="first"), line.after(0, parameters=refer))
    assert line.job(then).parameters["port"] == {"$result": first, "path": "server.port"}
    result = {"server": {"port": 8080, "odd": 'é"\\'}}
    line.end(first, result=result)
    expected = {"port": 8080, "all": [result, "x"], "plain": "stays"}
    assert (line.job(then).parameters, line.job(then).from_results) == (expected, True)
    (later,) = line.post(line.after(first, parameters={"port": {"$result": first, "path": "server.port"}}))
    assert (line.job(later).state, line.job(later).parameters) == (WAITING, {"port": 8080})


@pytest.mark.parametrize(
    ("result", "path", "words"),
    [
        ({"prot": 1}, "port", "which has no part 'port'; it has prot"),
        (None, "port", "it is empty"),
        ({"port": "x" * 5000, "more": "y" * 100_000}, "port", "too large to be kept with the job"),
    ],
)
def test_a_result_that_is_not_there_fails_the_job_in_words(
    line: Line, result: Any, path: str, words: str
) -> None:
    refer = {"p": {"$result": 0, "path": path}}
    first, then, last = line.post(Posting(type="first"), line.after(0, parameters=refer), line.after(1))
    line.end(first, result=result)
    failed = line.job(then)
    assert failed.state is FAILED
    assert failed.error is not None
    assert failed.error.message.startswith(
        f"Its parameter 'p' is the result of job {first[:8]} (first, SUCCEEDED)"
    )
    assert words in failed.error.message
    assert line.states(last) == [CANCELLED]


def test_results_that_are_too_large_together_fail_the_job(line: Line) -> None:
    refer = {"p": [{"$result": 0}] * 6}
    first, then = line.post(Posting(type="first"), line.after(0, parameters=refer))
    line.end(first, result={"x": "y" * 60_000})
    assert "take more than 262,144 bytes" in str(line.job(then).error)


# Retry


def test_a_skipped_job_waits_again_for_the_one_that_is_retried(line: Line) -> None:
    refer = {"p": {"$result": 0, "path": "port"}}
    first, then = line.post(Posting(type="first"), line.after(0, parameters=refer))
    line.end(first, FAILED)
    database = line.store.database
    with pytest.raises(WrongState, match="ended as FAILED"):
        ownership.retry(database, then, gate=links.gate)
    ownership.retry(database, first, gate=links.gate)
    again = ownership.retry(database, then, gate=links.gate)
    assert (again.state, again.parked) == (BLOCKED, Parked.AFTER)
    line.end(first, result={"port": 7})
    assert (line.job(then).state, line.job(then).parameters) == (WAITING, {"p": 7})


def test_what_looks_like_a_reference_in_a_result_is_none(line: Line) -> None:
    refer = {"p": {"$result": 0, "path": "odd"}}
    first, then = line.post(Posting(type="first"), line.after(0, parameters=refer))
    line.end(first, result={"odd": {"$result": "x"}})
    expected = {"p": {"$result": "x"}}
    assert line.job(then).parameters == expected
    ownership.request_cancel(line.store.database, then, CancelMode.KEEP)
    ownership.retry(line.store.database, then, gate=links.gate)
    line.follow(first)
    assert (line.job(then).state, line.job(then).parameters) == (WAITING, expected)


def test_a_job_that_was_run_waits_again_for_one_that_is_open_again(line: Line) -> None:
    first, tidy = line.post(Posting(type="first"), line.after(0, when=When.ALWAYS))
    line.end(first, FAILED)
    line.end(tidy, FAILED)
    database = line.store.database
    ownership.retry(database, first, gate=links.gate)
    assert ownership.retry(database, tidy, gate=links.gate).state is BLOCKED
    line.end(first)
    assert line.states(tidy) == [WAITING]
    line.end(tidy, FAILED)
    assert ownership.retry(database, tidy, gate=links.gate).state is WAITING


def test_a_skipped_job_does_not_forget_what_it_came_after(line: Line) -> None:
    first, then = line.post(Posting(type="first"), line.after(0))
    line.end(first, FAILED)
    assert remove(line.store.database, [first]).ids == [first]
    with pytest.raises(WrongState, match="was deleted"):
        ownership.retry(line.store.database, then, gate=links.gate)


def in_a_set(line: Line, *postings: Posting) -> list[str]:
    jobset = NewJobset(id=new_job_id())
    return line.post(*(replace(one, jobset_id=jobset.id) for one in postings), jobset=jobset)


def test_what_did_not_succeed_is_retried_in_its_order(line: Line) -> None:
    """done > bad > after_bad > last; clean if bad fails; tidy always."""
    done, bad, after_bad, last, clean, tidy = ids = in_a_set(
        line,
        Posting(type="done"),
        line.after(0, parameters={"x": {"$result": 0, "path": "port"}}),
        line.after(1),
        line.after(2),
        line.after(1, when=When.FAILURE),
        line.after(2, when=When.ALWAYS),
    )
    line.end(done, result={"port": 1})
    line.end(bad, FAILED)
    line.end(clean)
    line.end(tidy, FAILED)
    assert line.states(*ids) == [SUCCEEDED, FAILED, CANCELLED, CANCELLED, SUCCEEDED, FAILED]
    outcome = retry_members(line.store.database, ids)
    assert [job.id for job in outcome.waiting] == [bad]
    assert [job.id for job in outcome.blocked] == [after_bad, last, tidy]
    assert outcome.refused == {}
    assert line.states(*ids) == [SUCCEEDED, WAITING, BLOCKED, BLOCKED, SUCCEEDED, BLOCKED]
    assert line.job(bad).parameters == {"x": 1}
    assert line.job(done).attempt == line.job(clean).attempt == 1
    again = retry_members(line.store.database, ids)
    assert (again.waiting, again.blocked) == ([], [])
    line.end(bad)
    line.end(after_bad)
    assert line.states(*ids) == [SUCCEEDED, SUCCEEDED, SUCCEEDED, WAITING, SUCCEEDED, WAITING]


def test_a_branch_that_was_not_needed_is_not_retried(line: Line) -> None:
    first, clean, after_clean = ids = in_a_set(
        line, Posting(type="first"), line.after(0, when=When.FAILURE), line.after(1)
    )
    line.end(first)
    assert retry_members(line.store.database, ids) == Retried()
    assert line.states(first, clean, after_clean) == [SUCCEEDED, CANCELLED, CANCELLED]


def test_what_was_run_for_a_failure_is_not_run_once_that_is_mended(line: Line) -> None:
    first, clean = ids = in_a_set(line, Posting(type="first"), line.after(0, when=When.FAILURE))
    line.end(first, FAILED)
    line.end(clean, FAILED)
    assert len(retry_members(line.store.database, ids).blocked) == 1
    line.end(first)
    assert line.states(*ids) == [SUCCEEDED, CANCELLED]
    assert find_jobset(line.store.database, str(line.job(first).jobset_id)).state is SUCCEEDED


def test_of_members_that_are_unique_the_others_are_retried(line: Line) -> None:
    one, two = ids = in_a_set(line, Posting(type="u", unique_key="u"), Posting(type="t"))
    line.end(one, FAILED)
    line.end(two, FAILED)
    line.post(Posting(type="u", unique_key="u"))
    outcome = retry_members(line.store.database, ids)
    assert (list(outcome.refused), [job.id for job in outcome.waiting]) == ([one], [two])
    assert line.states(*ids) == [FAILED, WAITING]


def test_two_who_retry_a_set_at_once_do_it_once(line: Line) -> None:
    ids = in_a_set(line, Posting(type="first"), *(line.after(place) for place in range(9)))
    line.end(ids[0], FAILED)
    barrier = threading.Barrier(4)

    def retry() -> list[str]:
        barrier.wait(20)
        outcome = retry_members(line.store.database, ids)
        return [job.id for job in (*outcome.waiting, *outcome.blocked)]

    with futures.ThreadPoolExecutor(4) as pool:
        retried = [done.result(60) for done in [pool.submit(retry) for _ in range(4)]]
    assert sorted(retried, key=len) == [[], [], [], ids]
    assert {line.job(job_id).attempt for job_id in ids} == {2}


# Jobsets


def test_a_set_of_a_thousand(line: Line) -> None:
    jobset = NewJobset(id=new_job_id(), name="many", author="ann")
    postings = [
        Posting(type="first", jobset_id=jobset.id),
        *(line.after(0, jobset_id=jobset.id) for _ in range(998)),
        line.after(*range(1, 999), jobset_id=jobset.id),
    ]
    ids = line.post(*postings, jobset=jobset)
    found = find_jobset(line.store.database, jobset.id[:10])
    assert (found.state, found.size, found.name, found.author) == (WAITING, 1000, "many", "ann")
    assert found.counts == {WAITING: 1, BLOCKED: 999}
    line.end(ids[0])
    assert len(line.board.posted) == 998
    begun = begin(line.store.database, ids[1:999], owner="alice:1:aa", node="alice").started
    assert find_jobset(line.store.database, jobset.id).state is JobState.RUNNING
    for job in begun[:-1]:
        hand_back(line.store.database, job, Settlement(state=SUCCEEDED))
    assert line.follow(*(job.id for job in begun)) == 0
    hand_back(line.store.database, begun[-1], Settlement(state=SUCCEEDED))
    assert line.follow(begun[-1].id) == 1
    assert line.states(ids[-1]) == [WAITING]
    line.end(ids[-1])
    assert find_jobset(line.store.database, jobset.id).state is SUCCEEDED
    members = members_of(line.store.database, jobset.id, self_id=ids[3], limit=10)
    assert [member.id for member in members] == ids[:10]
    assert [member.place for member in members if member.is_self] == [3]


def _set(line: Line, *states: JobState, **columns: Any) -> JobState:
    jobset = NewJobset(id=new_job_id())
    ids = line.post(*[Posting(type="t", jobset_id=jobset.id) for _ in states], jobset=jobset)
    with line.store.database.write() as connection:
        for job_id, state in zip(ids, states, strict=True):
            change = links.jobs.update().where(links.jobs.c.id == job_id)
            connection.execute(change.values(state=state.value, **columns))
    return find_jobset(line.store.database, jobset.id).state


def test_the_state_of_a_set_follows_from_its_members(line: Line) -> None:
    running, suspended, scheduled = JobState.RUNNING, JobState.SUSPENDED, JobState.SCHEDULED
    assert _set(line, SUCCEEDED, FAILED, running, WAITING) is running
    assert _set(line, SUCCEEDED, FAILED, WAITING, BLOCKED) is WAITING
    assert _set(line, suspended, scheduled, BLOCKED) is suspended
    assert _set(line, scheduled, BLOCKED) is scheduled
    assert _set(line, SUCCEEDED, CANCELLED, JobState.DEAD) is FAILED
    assert _set(line, SUCCEEDED, CANCELLED) is CANCELLED
    assert _set(line, SUCCEEDED, SUCCEEDED) is SUCCEEDED


def test_a_branch_that_was_skipped_is_no_failure(line: Line) -> None:
    jobset = NewJobset(id=new_job_id())
    first, _ = line.post(
        Posting(type="first", jobset_id=jobset.id),
        line.after(0, when=When.FAILURE, jobset_id=jobset.id),
        jobset=jobset,
    )
    line.end(first)
    found = find_jobset(line.store.database, jobset.id)
    assert (found.state, found.skipped, found.counts) == (SUCCEEDED, 1, {SUCCEEDED: 1, CANCELLED: 1})


def test_jobsets_are_listed_newest_first_and_their_jobs_by_index(line: Line) -> None:
    sets = [NewJobset(id=new_job_id()) for _ in range(5)]
    for jobset in sets:
        line.post(Posting(type="t", jobset_id=jobset.id), jobset=jobset)
    first, mark = page_of_jobsets(line.store.database, limit=3)
    rest, end = page_of_jobsets(line.store.database, limit=3, before=mark)
    assert [one.id for one in [*first, *rest]] == [one.id for one in reversed(sets)]
    assert end is None
    jobs, _, _ = line.store.page(JobFilter(jobset_id=sets[2].id, states=[WAITING, FAILED]))
    assert [job.jobset_id for job in jobs] == [sets[2].id]
    assert line.store.page(JobFilter(jobset_id=sets[2].id, types=["other"]))[0] == []


def test_many_are_cancelled_in_one_transaction(line: Line) -> None:
    waiting = [line.plain() for _ in range(5)]
    running, ended = line.plain(), line.plain()
    line.end(ended)
    begin(line.store.database, [running], owner="alice:1:aa", node="alice")
    with watched(line.store.database.engine) as sent:
        done = ownership.request_cancels(line.store.database, [*waiting, running, ended], CancelMode.REVERT)
    assert sent.commits == 1
    assert done == {**dict.fromkeys(waiting, (CANCELLED, True)), running: (JobState.RUNNING, True)}
    assert line.job(running).cancel is CancelMode.REVERT


def test_open_members_are_told_apart(line: Line) -> None:
    jobset = NewJobset(id=new_job_id())
    first, then = line.post(
        Posting(type="a", jobset_id=jobset.id), line.after(0, jobset_id=jobset.id), jobset=jobset
    )
    database = line.store.database
    assert open_members(database, jobset.id) == [first, then]
    assert open_members(database, jobset.id, blocked=True) == [then]
    assert open_members(database, jobset.id, blocked=False) == [first]
    begin(database, [first], owner="alice:1:aa", node="alice")
    ownership.request_cancel(database, first, CancelMode.KEEP)
    assert open_members(database, jobset.id, uncancelled=True) == [then]
