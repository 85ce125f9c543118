"""What TaskFlow programs post: its order, its bounds, what becomes of it, and who sees it."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from taskflow import exceptions as exc
from taskflow import states
from taskflow.jobs.base import JobPriority

from jobrunner.boards import open_board
from jobrunner.boards.taskflow.jobboard import PostingBoard
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import taskflow_postings
from tests.support.boards import entry, until

Open = Callable[..., PostingBoard]
Conf = dict[str, Any]


def names(board: PostingBoard, **which: bool) -> list[str]:
    return [job.name for job in board.iterjobs(**which)]


def forge(conf: Conf, job_id: str, text: str) -> None:
    """Write something else where a job's posting is."""
    if conf["board"] == "jobrunner-redis":
        with redis.Redis.from_url(conf["connection"], decode_responses=True) as client:
            client.hset("{jobrunner/taskflow}:entries", job_id, text)
        return
    database = Database(conf["connection"])
    with database.write() as connection:
        connection.execute(
            sa.update(taskflow_postings).where(taskflow_postings.c.job_id == job_id).values(posting=text)
        )
    database.close()


def test_what_was_posted_is_what_others_find(board: PostingBoard, other_board: PostingBoard) -> None:
    before = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    posted = board.post("é", details={"pair": (1, 2), "store": {"x": None}}, priority=JobPriority.HIGH)
    (found,) = other_board.iterjobs()
    assert (found.uuid, found.name, found.priority) == (posted.uuid, "é", JobPriority.HIGH)
    assert found.details == posted.details == {"pair": [1, 2], "store": {"x": None}}
    assert (found.book, found.book_uuid, found.book_name) == (None, None, None)
    assert found.created_on == posted.created_on == found.last_modified
    assert abs(found.created_on - before) < datetime.timedelta(seconds=10)
    assert found == posted == next(board.iterjobs())
    assert found != board.post("é", details=found.details)


@pytest.mark.parametrize(
    "details", [{"x": object()}, {"x": float("nan")}, {"x": "y" * 1_100_000}, {"x": {1, 2}}]
)
def test_what_cannot_be_kept_is_refused(board: PostingBoard, details: Conf) -> None:
    with pytest.raises(exc.JobFailure, match="cannot be posted"):
        board.post("job", details=details)
    assert board.job_count == 0


def test_a_large_posting_is_kept(board: PostingBoard, other_board: PostingBoard) -> None:
    board.post("job", details={"x": "é" * 150_000, "deep": [[[[[[["z"]]]]]]]})
    (found,) = other_board.iterjobs()
    assert found.details["x"] == "é" * 150_000


def test_urgent_jobs_come_first_then_old_ones_and_claimed_ones_last(board: PostingBoard) -> None:
    for number in range(3):
        for priority in ("low", "VERY_HIGH", JobPriority.NORMAL):
            board.post(
                f"{getattr(priority, 'value', priority.upper() if isinstance(priority, str) else '')}-{number}",
                priority=priority,
            )
    order = [f"{priority}-{number}" for priority in ("VERY_HIGH", "NORMAL", "LOW") for number in range(3)]
    assert names(board) == order
    jobs = {job.name: job for job in board.iterjobs()}
    for name in ("LOW-1", "VERY_HIGH-1", "VERY_HIGH-0"):
        board.claim(jobs[name], "me")
    claimed = ["VERY_HIGH-0", "VERY_HIGH-1", "LOW-1"]
    unclaimed = [name for name in order if name not in claimed]
    assert names(board, only_unclaimed=True) == unclaimed
    assert names(board) == unclaimed + claimed
    board.abandon(jobs["VERY_HIGH-1"], "me")
    assert names(board)[0] == "VERY_HIGH-1"
    assert board.job_count == 9


def test_a_listing_goes_on_over_pages_while_its_jobs_are_claimed(board: PostingBoard) -> None:
    posted = [board.post("job", priority="HIGH" if number % 2 else "LOW").uuid for number in range(60)]
    found = []
    for job in board.iterjobs():
        board.claim(job, "me")
        found.append(job.uuid)
    assert found == posted[1::2] + posted[::2]


def test_no_more_is_read_than_somebody_looks_at(board: PostingBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(60):
        board.post("job")
    assert board._session is not None
    postings, read = board._session.postings, []
    genuine = postings.unclaimed

    def unclaimed(mark: Any, limit: int) -> Any:
        rows, following = genuine(mark, limit)
        read.append(len(rows))
        return rows, following

    monkeypatch.setattr(postings, "unclaimed", unclaimed)
    assert next(board.iterjobs()).name == "job"
    assert read == [10]
    read.clear()
    assert len(list(board.iterjobs())) == 60
    assert read == [10, 40, 10]


@pytest.mark.parametrize("text", ["garbage", "[]", '"é"', "[" * 5000, '{"name": 7}'])
def test_what_cannot_be_read_is_skipped_reported_and_left(
    board: PostingBoard, conf: Conf, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    first, broken, last = (board.post(name) for name in ("first", "broken", "last"))
    forge(conf, broken.uuid, text)
    for _ in range(2):
        assert names(board) == ["first", "last"]
    assert caplog.text.count(f"Job {broken.uuid} on board test-board is skipped") == 1
    assert board.job_count == 3
    for job in (first, last):
        board.claim(job, "me")
        board.consume(job, "me")
    assert names(board) == []
    assert board.job_count == 1
    with pytest.raises(exc.NotFound):
        board.wait(timeout=0.1)


def test_states_are_told_as_they_are(board: PostingBoard, other_board: PostingBoard) -> None:
    job = board.post("job")
    (theirs,) = other_board.iterjobs()
    assert job.state == theirs.state == states.UNCLAIMED
    board.claim(job, "me")
    assert job.state == theirs.state == states.CLAIMED
    board.abandon(job, "me")
    assert theirs.state == states.UNCLAIMED
    assert job.wait(timeout=0.05) is False
    other_board.claim(theirs, "other")
    other_board.consume(theirs, "other")
    assert job.state == theirs.state == states.COMPLETE
    assert job.wait(timeout=1) is True
    with pytest.raises(exc.NotFound, match="was consumed"):
        board.claim(job, "me")


def test_a_trashed_job_is_put_aside_and_can_come_back(board: PostingBoard, other_board: PostingBoard) -> None:
    for name in ("first", "broken", "last"):
        board.post(name)
    _, job, _ = board.iterjobs()
    board.claim(job, "me")
    board.trash(job, "me")
    assert names(board) == ["first", "last"]
    assert board.job_count == 2
    with pytest.raises(exc.JobFailure, match="trashed"):
        _ = job.state
    with pytest.raises(exc.NotFound, match="trashed"):
        board.claim(job, "me")
    (aside,) = other_board.trashed()
    assert (aside.uuid, aside.name) == (job.uuid, "broken")
    other_board.restore(aside)
    with pytest.raises(exc.NotFound):
        other_board.restore(aside)
    assert other_board.trashed() == []
    assert names(board) == ["first", "broken", "last"]
    board.claim(job, "me")
    board.consume(job, "me")
    assert job.state == states.COMPLETE


def test_a_wait_is_ended_by_another_processes_posting(open_one: Open) -> None:
    board, poster = open_one(), open_one()
    found: list[str] = []
    waiter = threading.Thread(target=lambda: found.extend(job.name for job in board.wait(timeout=20)))
    waiter.start()
    threading.Event().wait(0.3)
    assert waiter.is_alive()
    poster.post("job")
    began = time.monotonic()
    waiter.join(20)
    assert found == ["job"]
    assert time.monotonic() - began < 5
    assert [job.name for job in board.wait(timeout=0)] == ["job"]


def test_closing_ends_a_wait(open_one: Open) -> None:
    board = open_one()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            board.wait()
        except exc.JobFailure as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    threading.Event().wait(0.3)
    board.close()
    waiter.join(15)
    assert len(raised) == 1


def test_boards_on_one_server_are_apart(board: PostingBoard, open_one: Open) -> None:
    other = open_one(namespace="other")
    job = board.post("job")
    assert (names(other), other.job_count, names(board)) == ([], 0, ["job"])
    with pytest.raises(exc.NotFound):
        other.claim(job, "me")
    assert job.state == states.UNCLAIMED


def test_jobrunners_own_board_on_the_same_server_is_apart(board: PostingBoard, conf: Conf) -> None:
    own = open_board(conf["connection"])
    try:
        own.post([entry("11111111-1111-4111-8111-111111111111")])
        posted = board.post("job")
        assert own.count().waiting == 1
        assert len(own.classes()) == 1
        assert [row.entry.job_id for row in own.list()[0]] == ["11111111-1111-4111-8111-111111111111"]
        assert names(board) == ["job"]
        own.clear()
        assert posted.state == states.UNCLAIMED
        own.post([entry("11111111-1111-4111-8111-111111111111")])
        board.claim(posted, "me")
        board.consume(posted, "me")
        assert own.count().waiting == 1
    finally:
        own.close()


def test_a_board_that_was_not_connected_says_so(conf: Conf, open_one: Open) -> None:
    board = open_one()
    job = board.post("job")
    board.close()
    assert not board.connected
    for call in (
        lambda: job.state,
        lambda: board.post("job"),
        lambda: board.job_count,
        lambda: list(board.iterjobs()),
        lambda: board.wait(timeout=1),
        lambda: board.find_owner(job),
        lambda: board.claim(job, "me"),
        lambda: job.extend_expiry(1),
    ):
        with pytest.raises(exc.JobFailure, match="not connected"):
            call()
    board.connect()
    until(lambda: names(board) == ["job"])
