"""A worker's claims, in the test's own process: what it starts, what it does not start twice, what it gives back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobrunner.assemble import make_worker
from jobrunner.boards.board import News
from jobrunner.conductor.channel import Channel
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.worker import setting_off
from jobrunner.errors import StoreUnavailable
from jobrunner.jobs import change, signals
from jobrunner.model import Job, JobClass, JobState
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.store import board_entry
from jobrunner.policies import Policies, RetryPolicy
from tests.support.boards import until
from tests.support.conductors import Cluster

OWNER = "alice:1:aa/0.bb"
LEASE = 30.0
ONCE_MORE = Policies(retry=RetryPolicy(attempts=2, delay=0.0))


class Started:
    """A worker without its loops, and the supervisor's end of its line."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        ours, theirs = socket.socketpair()
        self.line = Channel(ours)
        self.worker = make_worker(cluster.config, Channel(theirs), owner=OWNER, once=False, alone=False)
        self.worker.parts.writer.start()
        self.board = cluster.context.board

    def close(self) -> None:
        Path(self.cluster.gate()).touch()
        assert self.worker.held.wait_below(1, 10)
        self.worker.parts.writer.stop()
        self.worker._database.close()
        self.line.close()
        self.worker.channel.close()

    def claim(self, job_id: str) -> None:
        assert self.board.claim_these(OWNER, [job_id], lease=LEASE) == [job_id]
        self.worker.parts.setting_off.start([job_id], boottime() + LEASE)

    def tell(self) -> None:
        self.worker.ended.tell(self.board)


@pytest.fixture
def started(embedded: Cluster) -> Iterator[Started]:
    found = Started(embedded)
    yield found
    found.close()


def held_job(started: Started) -> str:
    job_id = started.cluster.post("steps", hold=2, gate=started.cluster.gate())
    started.claim(job_id)
    started.cluster.started("step2")
    return job_id


def test_a_job_that_runs_here_is_not_begun_again_when_the_board_forgot_it(started: Started) -> None:
    job_id = held_job(started)
    held = started.worker.held.get(job_id)
    assert held is not None
    started.board.withdraw([job_id])
    started.board.post([board_entry(started.cluster.job(job_id))])
    held.until = boottime() + 1
    started.claim(job_id)
    assert started.cluster.job(job_id).epoch == 1
    assert held.until > boottime() + LEASE / 2
    started.cluster.open(started.cluster.gate())
    started.cluster.succeeded_here(job_id)
    assert len(started.cluster.evidence(what="start")) == 3


def test_a_job_whose_lost_run_still_goes_on_here_is_given_back(started: Started) -> None:
    job_id = held_job(started)
    started.worker.held.stop([job_id], "lost")
    started.board.release(OWNER, [job_id])
    started.claim(job_id)
    assert started.cluster.job(job_id).epoch == 1
    started.tell()
    assert started.board.owners([job_id]) == {}
    assert started.board.known([job_id]) == {job_id}


def test_a_claim_that_cannot_be_begun_is_given_back(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(setting_off, "begin", away)
    job_id = started.cluster.post("quick")
    with pytest.raises(StoreUnavailable):
        started.claim(job_id)
    assert started.board.owners([job_id]) == {job_id: OWNER}
    started.tell()
    assert started.board.owners([job_id]) == {}
    assert len(started.worker.held) == len(started.worker.ended) == 0


def test_a_job_that_the_board_forgot_is_posted_again_when_it_goes_back(started: Started) -> None:
    job_id = held_job(started)
    started.board.withdraw([job_id])
    started.worker.parts.orders.stop()
    started.cluster.open(started.cluster.gate())
    assert started.worker.held.wait_below(1, 10)
    started.tell()
    assert started.cluster.job(job_id).state is JobState.SUSPENDED
    assert started.board.known([job_id]) == {job_id}


def test_what_ended_is_told_until_the_board_has_heard_it(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobrunner.errors import BoardUnavailable

    job_id = started.cluster.post("quick")
    started.claim(job_id)
    until(lambda: len(started.worker.ended) == 1)

    def away(*args: Any) -> int:
        raise BoardUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(started.board, "consume", away)
        with pytest.raises(BoardUnavailable):
            started.tell()
    assert len(started.worker.ended) == 1
    started.tell()
    assert started.board.known([job_id]) == set()
    assert len(started.worker.ended) == 0


@pytest.mark.parametrize("within", [None, 3600.0])
def test_a_signal_that_comes_before_the_board_heard_that_its_job_waits_is_not_missed(
    started: Started, within: float | None
) -> None:
    """What it puts on the board is claimed there still, and is taken off it: so the worker looks once more."""
    started.worker.parts.aftermath.start(started.worker._steps(started.board))
    try:
        job_id = started.cluster.post("asks", within=within)
        started.claim(job_id)
        until(lambda: started.cluster.job(job_id).awaits == "go" and len(started.worker.ended) == 1)
        assert signals.signal(started.cluster.context, started.cluster.job(job_id), "go").woken
        assert started.board.owners([job_id]) == {job_id: OWNER}
        started.tell()
        started.worker.parts.aftermath.go()
        until(lambda: started.board.peek([JobClass(type="asks")], limit=1) == [job_id])
    finally:
        started.worker.parts.aftermath.stop()


@pytest.mark.parametrize("runs", [True, False])
def test_who_resumes_a_job_before_the_board_heard_that_it_is_held_back_is_heard(
    started: Started, runs: bool
) -> None:
    """It is claimed there still, by its owner or by who found it held back, and is taken off the board."""
    cluster = started.cluster
    started.worker.parts.aftermath.start(started.worker._steps(started.board))
    try:
        job_id = held_job(started) if runs else cluster.post("steps")
        change.suspend(cluster.context, cluster.job(job_id))
        if runs:
            started.worker.held.stop([job_id], "hold")
            Path(cluster.gate()).touch()
        else:
            started.board.post([board_entry(cluster.job(job_id))])
            started.claim(job_id)
        until(lambda: cluster.job(job_id).state is JobState.SUSPENDED and len(started.worker.ended) == 1)
        change.resume(cluster.context, cluster.job(job_id))
        started.tell()
        started.worker.parts.aftermath.go()
        until(lambda: started.board.peek([JobClass(type="steps")], limit=1) == [job_id])
    finally:
        started.worker.parts.aftermath.stop()


@pytest.mark.parametrize("within", [None, 3600.0])
@pytest.mark.parametrize("seen", [JobState.RUNNING, JobState.SUSPENDED])
@pytest.mark.parametrize("told", [True, False])
def test_a_word_to_cancel_that_comes_when_a_job_begins_to_wait_is_heard_at_once(
    started: Started, within: float | None, seen: JobState, told: bool
) -> None:
    """Whoever cancels may have read the job before; its owner may not have told the board yet that it waits."""
    started.worker.parts.aftermath.start(started.worker._steps(started.board))
    try:
        job_id = started.cluster.post("asks", within=within)
        started.claim(job_id)
        until(lambda: started.cluster.job(job_id).awaits == "go" and len(started.worker.ended) == 1)
        job = started.cluster.job(job_id)
        if seen is JobState.RUNNING:
            job = replace(job, state=seen, parked=None, awaits=None, available_ms=job.created_ms)
        if told:
            started.tell()
            started.worker.parts.aftermath.go()
            until(lambda: not started.worker.parts.aftermath.is_busy)
        change.cancel(started.cluster.context, job)
        started.tell()
        started.worker.parts.aftermath.go()
        until(lambda: started.board.peek([JobClass(type="asks")], limit=1) == [job_id])
    finally:
        started.worker.parts.aftermath.stop()


@pytest.mark.parametrize("within", [None, 3600.0])
def test_cancelling_many_jobs_that_wait_takes_effect_at_once(started: Started, within: float | None) -> None:
    job_id = started.cluster.post("asks", within=within)
    started.claim(job_id)
    until(lambda: started.cluster.job(job_id).awaits == "go" and len(started.worker.ended) == 1)
    started.tell()
    assert change.cancel_all(started.cluster.context, [job_id]) == 1
    assert started.board.peek([JobClass(type="asks")], limit=1) == [job_id]


def test_what_waits_for_its_code_is_claimed_before_its_time(started: Started) -> None:
    job_id = started.cluster.post("quick")
    assert started.board.claim_these(OWNER, [job_id], lease=LEASE) == [job_id]
    started.board.release(OWNER, [job_id], delay=60)
    started.worker.parts.misfits._ids.append(job_id)
    assert started.worker.parts.claiming(started.board).claim()
    started.cluster.succeeded_here(job_id)


def test_only_news_of_jobs_with_capabilities_make_the_scout_look(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    claiming = started.worker.parts.claiming(started.board)
    looks: list[str] = []
    monkeypatch.setattr(claiming.scout, "look", lambda: looks.append("look"))
    gated, free = JobClass(type="gated", capabilities=("gate_is_open",)), JobClass(type="quick")
    monkeypatch.setattr(claiming.scout, "_classes", frozenset({gated}))
    for news, wanted in (
        (News(frozenset({free})), 0),
        (News(frozenset({free, gated})), 1),
        (News(new_classes=True), 1),
        (News(), 0),
    ):
        looks.clear()
        with monkeypatch.context() as patch:
            patch.setattr(started.board, "wait", lambda classes, timeout, news=news: news)
            claiming.wait(0)
        assert not claiming.claim()
        assert len(looks) == wanted, news


def test_a_job_that_cannot_be_set_off_is_left_at_once_and_harms_no_other(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = started.cluster.post_many("quick", count=2)
    run = started.worker.parts.running.run

    def run_some(job: Job, *, fresh: bool) -> None:
        if job.id == bad:
            raise RuntimeError("no thread can be had")
        run(job, fresh=fresh)

    monkeypatch.setattr(started.worker.parts.running, "run", run_some)
    assert set(started.board.claim_these(OWNER, [bad, good], lease=LEASE)) == {bad, good}
    started.worker.parts.setting_off.start([bad, good], boottime() + LEASE)
    started.cluster.succeeded_here(good)
    left = started.cluster.job(bad)
    assert (left.state, left.deaths) == (JobState.SUSPENDED, 1)
    assert "no thread can be had" in str(left.note)
    until(lambda: not len(started.worker.held))
    started.tell()
    assert started.board.owners([bad]) == {}


def test_a_job_that_just_ended_here_is_not_begun_again_before_the_board_has_heard_it(
    started: Started,
) -> None:
    """Its lease had run out: what is still to be told of its end would give up the claim of the next run."""
    job_id = held_job(started)
    started.worker.held.stop([job_id], "lost")
    started.board.release(OWNER, [job_id])
    started.cluster.open(started.cluster.gate())
    assert started.worker.held.wait_below(1, 10)
    assert len(started.worker.ended) == 1
    started.claim(job_id)
    assert (started.cluster.job(job_id).state, started.cluster.job(job_id).epoch) == (JobState.SUSPENDED, 1)
    started.tell()
    assert started.board.owners([job_id]) == {}
    started.claim(job_id)
    started.cluster.succeeded_here(job_id)


def test_a_job_that_is_claimed_again_before_the_rest_of_its_end_is_over_is_begun(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that ends it may be held up between its last steps, the one that claims is not."""
    ending, go_on = threading.Event(), threading.Event()
    note_left = started.worker.parts.running.note_left

    def note_slowly(job: Job) -> bool:
        ending.set()
        assert go_on.wait(10)
        return note_left(job)

    monkeypatch.setattr(started.worker.parts.running, "note_left", note_slowly)
    job_id = started.cluster.post("failing", posting={"policies": ONCE_MORE})
    started.claim(job_id)
    try:
        assert ending.wait(10)
        until(lambda: len(started.worker.ended) == 1)
        started.tell()
        started.claim(job_id)
        assert started.cluster.job(job_id).epoch == 2
    finally:
        go_on.set()
    until(lambda: started.cluster.job(job_id).state is JobState.REVERTED)
    until(lambda: not len(started.worker.held))
    started.tell()
    assert started.board.known([job_id]) == set()


def test_a_claim_that_ended_before_it_was_begun_takes_the_job_from_nobody(started: Started) -> None:
    """The machine stood still in between: somebody else has the job by now, and goes on with it."""
    job_id = started.cluster.post("steps", hold=2, gate=started.cluster.gate())
    asked_at = boottime()
    assert started.board.claim_these(OWNER, [job_id], lease=0.05) == [job_id]
    until(lambda: started.board.claim_these("bob:1:aa/0.bb", [job_id], lease=LEASE) == [job_id])
    begin(started.cluster.context.database, [job_id], owner="bob:1:aa/0.bb", node="bob")
    started.worker.parts.setting_off.start([job_id], asked_at + 0.05)
    found = started.cluster.job(job_id)
    assert (found.owner, found.epoch, found.deaths) == ("bob:1:aa/0.bb", 1, 0)
    started.tell()
    assert started.board.owners([job_id]) == {job_id: "bob:1:aa/0.bb"}
