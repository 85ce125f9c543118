"""What ends a wait, and how soon."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable

import pytest

from jobrunner.boards.board import Board, News
from jobrunner.errors import BoardUnavailable
from jobrunner.model import JobClass
from tests.support.boards import ALICE, BOB, LONG, OTHER, PLAIN, Waiter, entry, until

TOO_LATE = 2.0
"""Seconds by which a wait that should end has ended on a busy machine; a missed one lasts ten times as long."""


@pytest.fixture
def waiting(open_one: Callable[[], Board]) -> Board:
    """A board object that knows the classes of these tests, and has nothing to hear of."""
    board = open_one()
    board.post([entry("plain"), entry("other", OTHER)])
    board.classes()
    board.withdraw(["plain", "other"])
    board.wait([PLAIN], timeout=0)
    assert not board.wait([PLAIN], timeout=0)
    return board


def assert_still_waiting(waiter: Waiter, moment: float = 0.4) -> None:
    threading.Event().wait(moment)  # a wait that ends within it fails; none is kept from ending later
    assert waiter.is_waiting


def test_times_out_on_an_empty_board(board: Board) -> None:
    began = time.monotonic()
    assert not board.wait([PLAIN], timeout=0.3)
    assert 0.3 <= time.monotonic() - began < TOO_LATE


def test_tells_at_first_of_jobs_that_wait_already(board: Board, other_board: Board) -> None:
    other_board.post([entry()])
    assert board.wait([PLAIN], timeout=20)


def test_tells_of_which_classes_there_may_be_work(waiting: Board, other_board: Board) -> None:
    with Waiter(waiting, PLAIN, OTHER) as waiter:
        other_board.post([entry("job", OTHER)])
        assert waiter.join() == News(frozenset({OTHER}))
    # An ear that hears of what waits rather than of what comes may tell of the same again; so that goes first.
    other_board.withdraw(["job"])
    waiting.wait([PLAIN], timeout=0)
    with Waiter(waiting, PLAIN) as waiter:
        other_board.post([entry("new", JobClass(type="never_seen"))])
        assert waiter.join() == News(new_classes=True)


def test_ends_when_a_job_is_posted(waiting: Board, other_board: Board) -> None:
    with Waiter(waiting, PLAIN) as waiter:
        assert_still_waiting(waiter)
        other_board.post([entry("job")])
        posted_at = time.monotonic()
        assert waiter.join()
    assert waiter.ended_at - posted_at < TOO_LATE
    assert waiting.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["job"]


def test_ends_when_a_delayed_job_is_hastened(waiting: Board, other_board: Board) -> None:
    other_board.post([entry("job", delay=LONG)])
    with Waiter(waiting, PLAIN) as waiter:
        assert_still_waiting(waiter)
        other_board.hasten(["job"])
        hastened_at = time.monotonic()
        assert waiter.join()
    assert waiter.ended_at - hastened_at < TOO_LATE
    assert waiting.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["job"]


def test_ends_for_its_own_posts_too(waiting: Board) -> None:
    with Waiter(waiting, PLAIN) as waiter:
        waiting.post([entry()])
        assert waiter.join()


def test_hears_soon_of_most_posts(waiting: Board, other_board: Board) -> None:
    delays = []
    for _ in range(20):
        with Waiter(waiting, PLAIN) as waiter:
            threading.Event().wait(0.03)
            other_board.post([entry("job")])
            posted_at = time.monotonic()
            assert waiter.join()
        delays.append(waiter.ended_at - posted_at)
        waiting.withdraw(["job"])
    assert sorted(delays)[10] < 0.25


def test_what_happened_between_two_waits_ends_the_second_at_once(waiting: Board, other_board: Board) -> None:
    for _ in range(3):
        other_board.post([entry()])
    assert waiting.wait([PLAIN], timeout=20)
    other_board.post([entry()])
    assert waiting.wait([PLAIN], timeout=20)


def test_many_news_end_one_wait(waiting: Board, other_board: Board) -> None:
    other_board.post([entry() for _ in range(30)])
    for _ in range(30):
        other_board.post([entry()])
    assert waiting.wait([PLAIN], timeout=20)
    until(lambda: not waiting.wait([PLAIN], timeout=0.05))


def test_a_job_that_is_left_in_line_does_not_end_every_wait(waiting: Board, other_board: Board) -> None:
    other_board.post([entry("declined")])
    assert waiting.wait([PLAIN], timeout=20)
    other_board.post([entry("of somebody else", OTHER)])
    with Waiter(waiting, PLAIN, timeout=20) as waiter:
        assert_still_waiting(waiter)


def test_goes_on_when_another_class_is_posted(waiting: Board, other_board: Board) -> None:
    with Waiter(waiting, PLAIN) as waiter:
        other_board.post([entry(job_class=OTHER)])
        assert_still_waiting(waiter)
        other_board.post([entry()])
        assert waiter.join()


def test_ends_for_a_class_that_nobody_knew(waiting: Board, other_board: Board) -> None:
    new = JobClass(type="plain", node="here")
    with Waiter(waiting, PLAIN) as waiter:
        assert_still_waiting(waiter)
        other_board.post([entry(job_class=new)])
        assert waiter.join()
    assert waiting.classes() == {new}
    with Waiter(waiting, PLAIN) as waiter:
        other_board.post([entry(job_class=new)])
        assert_still_waiting(waiter)


def test_ends_when_a_job_is_released(waiting: Board, other_board: Board) -> None:
    other_board.post([entry("job")])
    other_board.claim(BOB, [PLAIN], limit=1, lease=LONG)
    with Waiter(waiting, PLAIN) as waiter:
        assert_still_waiting(waiter)
        other_board.release(BOB, ["job"])
        assert waiter.join()


def test_ends_when_a_dead_owners_jobs_are_handed_back(waiting: Board, other_board: Board) -> None:
    other_board.post([entry("job")])
    other_board.claim(BOB, [PLAIN], limit=1, lease=LONG)
    with Waiter(waiting, PLAIN) as waiter:
        assert_still_waiting(waiter)
        other_board.release_owner(BOB)
        assert waiter.join()


@pytest.mark.parametrize("posted_first", [True, False])
def test_ends_when_a_delayed_job_is_due(waiting: Board, other_board: Board, posted_first: bool) -> None:
    job = entry("job", delay=0.8)
    if posted_first:
        other_board.post([job])
    with Waiter(waiting, PLAIN) as waiter:
        if not posted_first:
            threading.Event().wait(0.1)
            other_board.post([job])
        assert waiter.join()
        late_ms = time.time_ns() // 1_000_000 - job.available_ms
    assert 0 <= late_ms < TOO_LATE * 1000
    assert waiting.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["job"]


def test_ends_when_a_release_delay_is_over(waiting: Board, other_board: Board) -> None:
    other_board.post([entry("job")])
    other_board.claim(BOB, [PLAIN], limit=1, lease=LONG)
    with Waiter(waiting, PLAIN) as waiter:
        other_board.release(BOB, ["job"], delay=0.5)
        began = time.monotonic()
        assert waiter.join()
    assert 0.4 < waiter.ended_at - began < 0.5 + TOO_LATE


@pytest.mark.parametrize("claimed_first", [True, False])
def test_ends_when_a_lease_runs_out(waiting: Board, other_board: Board, claimed_first: bool) -> None:
    other_board.post([entry("job")])
    if claimed_first:
        other_board.claim(BOB, [PLAIN], limit=1, lease=0.8)
    with Waiter(waiting, PLAIN) as waiter:
        if not claimed_first:
            threading.Event().wait(0.1)
            other_board.claim(BOB, [PLAIN], limit=1, lease=0.8)
        began = time.monotonic()
        assert waiter.join()
    assert waiter.ended_at - began < 0.8 + TOO_LATE
    assert waiting.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["job"]


def test_goes_on_while_a_lease_is_kept(waiting: Board, other_board: Board) -> None:
    other_board.post([entry("job")])
    other_board.claim(BOB, [PLAIN], limit=1, lease=1.0)
    with Waiter(waiting, PLAIN) as waiter:
        for _ in range(8):
            assert other_board.keep([("job", BOB)], lease=1.0) == set()
            assert_still_waiting(waiter, 0.25)
        assert waiter.join()


def test_waking_ends_every_wait_of_the_object_and_no_other(
    waiting: Board, open_one: Callable[[], Board]
) -> None:
    bystander = open_one()
    bystander.wait([PLAIN], timeout=0)
    with Waiter(bystander, PLAIN) as other, Waiter(waiting, PLAIN) as one, Waiter(waiting, OTHER) as two:
        assert_still_waiting(one)
        assert two.is_waiting
        waiting.wake()
        woken_at = time.monotonic()
        assert not one.join()
        assert not two.join()
        assert_still_waiting(other, 0.1)
    assert max(one.ended_at, two.ended_at) - woken_at < TOO_LATE


def test_waking_just_before_a_wait_ends_it(waiting: Board) -> None:
    waiting.wake()
    began = time.monotonic()
    assert not waiting.wait([PLAIN], timeout=20)
    assert time.monotonic() - began < TOO_LATE
    assert not waiting.wait([PLAIN], timeout=0.2)


def test_each_of_several_threads_hears_of_its_own_classes(waiting: Board, other_board: Board) -> None:
    with Waiter(waiting, PLAIN) as one, Waiter(waiting, PLAIN) as two, Waiter(waiting, OTHER) as three:
        assert_still_waiting(three)
        other_board.post([entry()])
        assert one.join()
        assert two.join()
        assert_still_waiting(three)
        other_board.post([entry(job_class=OTHER)])
        assert three.join()


def test_closing_ends_a_wait(waiting: Board) -> None:
    with Waiter(waiting, PLAIN) as waiter:
        assert_still_waiting(waiter, 0.1)
        waiting.close()
        assert not waiter.join()
    with pytest.raises(BoardUnavailable, match="closed"):
        waiting.wait([PLAIN], timeout=1)


def test_waiting_costs_next_to_nothing(waiting: Board) -> None:
    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_THREAD)
        return used.ru_utime + used.ru_stime

    waiting.wait([PLAIN], timeout=1.2)
    before, seconds = cpu(), 3.0
    assert not waiting.wait([PLAIN], timeout=seconds)
    assert (cpu() - before) / seconds < 0.02  # 0.01 on a machine that does nothing else
