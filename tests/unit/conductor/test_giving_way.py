"""Claiming while other nodes are freer: each job is left to them for the same time, whatever happens meanwhile."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import cast

import pytest

from jobrunner.boards.board import Board
from jobrunner.conductor.worker.giving_way import QUEUE, GivingWay
from jobrunner.model import JobClass

ANYWHERE, PINNED = JobClass(type="plain", node=None), JobClass(type="plain", node="alice")
CLASSES = (ANYWHERE, PINNED)
LONGEST, SPREAD = 1.0, 0.5
PAUSE = 0.5 * LONGEST + SPREAD
ROOM = 4


class Line:
    """A board's line, first in line first."""

    spread = SPREAD

    def __init__(self) -> None:
        self.waiting: dict[JobClass, list[str]] = {ANYWHERE: [], PINNED: []}

    def claim(self, owner: str, classes: Collection[JobClass], *, limit: int, lease: float) -> list[str]:
        return self.claim_these(owner, self.peek(classes, limit=limit), lease=lease)

    def claim_these(self, owner: str, job_ids: Sequence[str], *, lease: float) -> list[str]:
        there = [job_id for job_id in job_ids if any(job_id in line for line in self.waiting.values())]
        for line in self.waiting.values():
            line[:] = [job_id for job_id in line if job_id not in there]
        return there

    def peek(self, classes: Collection[JobClass], *, limit: int, skip: int = 0) -> list[str]:
        return [job_id for cls in classes for job_id in self.waiting[cls]][skip : skip + limit]


class Worker:
    """A worker on a board, with a clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.line = Line()
        self.board = cast("Board", self.line)
        self.giving_way = GivingWay(LONGEST, clock=lambda: self.now)
        self.giving_way.share = 0.5

    def claim(self, after: float = 0.0) -> list[str]:
        self.now += after
        return self.giving_way.claim(self.board, "alice:1/0", CLASSES, limit=ROOM, lease=10)

    def post(self, *ids: str, cls: JobClass = ANYWHERE) -> None:
        self.line.waiting[cls] += ids


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_job_that_freer_nodes_leave_is_taken_when_the_pause_is_over(worker: Worker) -> None:
    worker.post("a")
    assert worker.claim() == []
    assert worker.giving_way.patience(worker.board) == pytest.approx(PAUSE)
    assert worker.claim(after=PAUSE - 0.01) == []
    assert worker.claim(after=0.02) == ["a"]
    assert worker.giving_way.patience(worker.board) == math.inf


def test_a_job_that_comes_while_another_is_left_to_others_has_a_pause_of_its_own(worker: Worker) -> None:
    worker.post("a")
    worker.claim()
    worker.line.waiting[ANYWHERE].clear()  # a freer node took it
    worker.post("b")
    assert worker.claim(after=PAUSE - 0.01) == []
    assert worker.claim(after=0.02) == []
    assert worker.giving_way.patience(worker.board) == pytest.approx(PAUSE - 0.02)
    assert worker.claim(after=PAUSE) == ["b"]


def test_what_only_this_node_may_run_is_taken_at_once(worker: Worker) -> None:
    worker.post("a")
    worker.post("mine", cls=PINNED)
    assert worker.claim() == ["mine"]
    assert worker.claim() == []


def test_no_more_is_taken_than_there_is_room_for(worker: Worker) -> None:
    ids = [f"job-{number}" for number in range(ROOM + 2)]
    worker.post(*ids)
    assert worker.claim() == []
    assert worker.claim(after=PAUSE) == ids[:ROOM]
    assert worker.claim() == ids[ROOM:]


def test_while_jobs_queue_up_nobody_gives_way(worker: Worker) -> None:
    worker.post(*(f"job-{number}" for number in range(ROOM + QUEUE - 1)))
    assert worker.claim() == []
    worker.post("one-more")
    assert len(worker.claim()) == ROOM


def test_what_was_known_before_is_not_known_for_long_after_claims_without_a_look(worker: Worker) -> None:
    worker.post("a")
    worker.claim()
    worker.giving_way.forget()
    assert worker.claim(after=PAUSE) == []


def test_the_freest_node_makes_no_pause(worker: Worker) -> None:
    worker.giving_way.share = 0.0
    assert worker.giving_way.pause(worker.board) == 0.0
