"""Claims of TaskFlow programs: leases that end, and that are kept; nobody touches a claim that is not his."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from taskflow import exceptions as exc
from taskflow import states
from taskflow.utils.redis_utils import UnknownExpire

from jobrunner.boards.taskflow.jobboard import PostingBoard
from tests.support.boards import until
from tests.support.taskflow_boards import die, stays

Open = Callable[..., PostingBoard]
LEASE = 0.6
LONG = 60.0
NAME = "conductor"


def lost_job(board: PostingBoard, other: PostingBoard):
    """The job as the first board claimed it, and as the other claims it now."""
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME)
    die(board)
    (theirs,) = other.iterjobs()
    until(lambda: theirs.state == states.UNCLAIMED)
    other.claim(theirs, NAME)
    return job, theirs


def test_a_lease_is_kept_while_the_board_object_lives(open_one: Open, other_board: PostingBoard) -> None:
    lease = 1.0
    board = open_one(lease=lease)
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME)
    (theirs,) = other_board.iterjobs()
    stays(lambda: theirs.state == states.CLAIMED, seconds=2.5 * lease)
    with pytest.raises(exc.UnclaimableJob, match=NAME):
        other_board.claim(theirs, "other")
    assert 0 < theirs.expires_in() <= lease
    board.consume(job, NAME)
    assert theirs.state == states.COMPLETE


def test_a_lease_ends_when_its_process_does(open_one: Open, other_board: PostingBoard) -> None:
    job, theirs = lost_job(open_one(lease=LEASE), other_board)
    assert job.uuid == theirs.uuid
    assert other_board.find_owner(theirs) == NAME


@pytest.mark.parametrize("what", ["consume", "abandon", "trash"])
def test_who_lost_a_claim_can_not_end_his_namesakes(
    open_one: Open, other_board: PostingBoard, what: str
) -> None:
    board = open_one(lease=LEASE)
    job, theirs = lost_job(board, other_board)
    with pytest.raises(exc.JobFailure, match="not the one of"):
        getattr(board, what)(job, NAME)
    assert theirs.state == states.CLAIMED
    other_board.consume(theirs, NAME)
    assert theirs.state == states.COMPLETE


def test_who_lost_a_claim_can_not_lengthen_his_namesakes_lease(
    open_one: Open, other_board: PostingBoard
) -> None:
    board = open_one(lease=LEASE)
    job, theirs = lost_job(board, other_board)
    before = theirs.expires_in()
    assert job.extend_expiry(1000) is False
    assert theirs.expires_in() <= max(before, 10)
    assert theirs.extend_expiry(1000) is True
    assert theirs.expires_in() > 900


def test_a_lease_that_ended_is_lost_though_nobody_has_claimed_since(
    open_one: Open, other_board: PostingBoard
) -> None:
    board = open_one(lease=LEASE)
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME)
    die(board)
    until(lambda: job.state == states.UNCLAIMED)
    assert job.extend_expiry(10) is False
    with pytest.raises(exc.NotFound, match="nobody claims"):
        board.consume(job, NAME)
    assert [each.uuid for each in other_board.iterjobs(only_unclaimed=True)] == [job.uuid]


def test_a_process_does_not_claim_what_it_has_lost_before_it_has_settled_it(open_one: Open) -> None:
    board = open_one(lease=LEASE)
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME)
    die(board)
    until(lambda: job.state == states.UNCLAIMED)
    (again,) = board.iterjobs()
    with pytest.raises(exc.UnclaimableJob, match="in this process"):
        board.claim(again, NAME)
    with pytest.raises(exc.NotFound):
        board.abandon(job, NAME)
    board.claim(again, NAME)
    with pytest.raises(exc.JobFailure):
        board.consume(job, NAME)
    board.consume(again, NAME)


def test_the_keeper_notices_a_lost_lease(
    open_one: Open, other_board: PostingBoard, caplog: pytest.LogCaptureFixture
) -> None:
    board = open_one(lease=LEASE)
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME)
    owner = job.claim.owner
    assert other_board._session is not None
    other_board._session.postings.release(
        job.uuid, owner
    )  # as when the lease had run out while this one slept
    until(lambda: f"The lease of job {job.uuid} was lost" in caplog.text)
    assert job.extend_expiry(10) is False


def test_an_expiry_of_the_programs_own_is_left_to_the_program(open_one: Open) -> None:
    board = open_one(lease=0.2)
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME, expiry=LONG)
    assert LONG - 10 < job.expires_in() <= LONG
    assert job.extend_expiry(4 * LEASE)
    stays(lambda: job.state == states.CLAIMED, seconds=LEASE)
    until(lambda: job.state == states.UNCLAIMED)
    assert job.expires_in() == UnknownExpire.KEY_NOT_FOUND
    assert not job.extend_expiry(LONG)
    board.claim(job, NAME, expiry=LONG)  # nothing of it is known to run here
    board.consume(job, NAME)


def test_a_kept_lease_that_was_extended_is_not_shortened(open_one: Open, other_board: PostingBoard) -> None:
    board = open_one(lease=1)
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME)
    assert job.extend_expiry(LONG)
    stays(lambda: job.expires_in() > LONG / 2, seconds=1)
    assert job.extend_expiry(0.1)
    assert job.expires_in() > LONG / 2


@pytest.mark.parametrize("expiry", [0, -1, float("nan")])
def test_an_expiry_has_to_be_some_time(board: PostingBoard, expiry: float) -> None:
    job = board.post("job")
    with pytest.raises(ValueError, match="more than 0"):
        board.claim(job, NAME, expiry=expiry)
    assert job.state == states.UNCLAIMED


def test_closing_hands_claims_back_at_once(open_one: Open, other_board: PostingBoard) -> None:
    board = open_one(lease=LONG)
    kept, own = board.post("kept"), board.post("with an expiry of its own")
    board.claim(kept, NAME)
    board.claim(own, NAME, expiry=LONG)
    board.close()
    board.close()
    assert [job.name for job in other_board.iterjobs(only_unclaimed=True)] == ["kept"]
    with pytest.raises(exc.JobFailure, match="not connected"):
        board.consume(kept, NAME)
    board.connect()
    with pytest.raises(exc.NotFound, match="nobody claims"):
        board.consume(kept, NAME)


def test_only_who_claimed_a_job_ends_its_claim(board: PostingBoard, other_board: PostingBoard) -> None:
    board.post("job")
    (job,) = board.iterjobs()
    board.claim(job, NAME)
    (theirs,) = other_board.iterjobs()
    with pytest.raises(exc.JobFailure, match=NAME):
        board.abandon(job, "somebody else")
    with pytest.raises(exc.JobFailure, match=NAME):
        other_board.abandon(theirs, NAME)
    assert theirs.extend_expiry(LONG) is False
    (as_listed_again,) = board.iterjobs()
    board.abandon(as_listed_again, NAME)
    assert job.state == states.UNCLAIMED


@pytest.mark.parametrize("who", ["é 漢 \U0001f600", "a/b", 'a"\\b', "\ud800", "n" * 200])
def test_names_are_what_they_were(board: PostingBoard, other_board: PostingBoard, who: str) -> None:
    job = board.post("job")
    board.claim(job, who)
    assert other_board.find_owner(job) == who
    board.consume(job, who)
    assert other_board.find_owner(job) is None


def test_a_name_that_is_too_long_is_refused(board: PostingBoard) -> None:
    job = board.post("job")
    with pytest.raises(ValueError, match="fewer characters"):
        board.claim(job, "n" * 300)


def test_each_job_is_claimed_once_by_many_at_once(open_one: Open) -> None:
    boards = [open_one() for _ in range(3)]
    jobs = {boards[0].post(f"job-{number}").uuid for number in range(20)}

    def claim_all(number: int) -> list[str]:
        board, claimed = boards[number % 3], []
        for job in board.iterjobs():
            try:
                board.claim(job, f"{NAME}-{number}")
            except exc.UnclaimableJob:
                continue
            claimed.append(job.uuid)
        return claimed

    with ThreadPoolExecutor(6) as pool:
        claimed = [job_id for found in pool.map(claim_all, range(6)) for job_id in found]
    assert sorted(claimed) == sorted(jobs)


def test_two_namesakes_have_claims_of_their_own(board: PostingBoard, other_board: PostingBoard) -> None:
    for _ in range(2):
        board.post("job")
    mine, theirs = board.iterjobs()
    board.claim(mine, NAME)
    other_board.claim(theirs, NAME)
    for job in (mine, theirs):
        assert board.find_owner(job) == other_board.find_owner(job) == NAME
    with pytest.raises(exc.JobFailure):
        other_board.consume(next(job for job in other_board.iterjobs() if job == mine), NAME)
    board.consume(mine, NAME)
    other_board.consume(theirs, NAME)
    assert board.job_count == 0
