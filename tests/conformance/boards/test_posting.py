"""Posting, withdrawing, and what is known of the jobs on a board."""

from __future__ import annotations

import pytest

from jobrunner.boards.board import Board, BoardCounts
from jobrunner.errors import WrongBoard
from jobrunner.model import JobClass, Priority
from tests.support.boards import ALICE, BOB, LONG, OTHER, PLAIN, entry, until


def test_counts_what_was_posted(board: Board) -> None:
    assert board.post([entry(), entry(), entry(delay=LONG)]) == 3
    assert board.count() == BoardCounts(waiting=2, delayed=1, claimed=0)


def test_posts_nothing_at_all(board: Board) -> None:
    assert board.post([]) == 0
    assert board.count() == BoardCounts(waiting=0, delayed=0, claimed=0)


def test_posting_again_changes_nothing_while_it_waits(board: Board, other_board: Board) -> None:
    job = entry("job", age=5)
    assert board.post([job]) == 1
    assert other_board.post([job, entry("job"), entry("new")]) == 1
    assert board.claim(ALICE, [PLAIN], limit=10, lease=LONG) == ["job", "new"]


def test_one_batch_with_the_same_job_twice_posts_it_once(board: Board) -> None:
    assert board.post([entry("job"), entry("job", age=7)]) == 1
    assert board.claim(ALICE, [PLAIN], limit=10, lease=LONG) == ["job"]


def test_posting_a_claimed_job_does_not_make_it_claimable(board: Board) -> None:
    job = entry("job")
    board.post([job])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.post([job]) == 0
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == []
    assert board.owners(["job"]) == {"job": ALICE}


def test_posting_a_delayed_job_keeps_its_delay(board: Board) -> None:
    board.post([entry("job", delay=LONG)])
    assert board.post([entry("job")]) == 0
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == []


def test_a_consumed_job_can_be_posted_again(board: Board) -> None:
    job = entry("job")
    board.post([job])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.consume(ALICE, ["job"]) == 1
    assert board.post([job]) == 1
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["job"]


def test_many_at_once(board: Board) -> None:
    jobs = [entry() for _ in range(1203)]
    assert board.post(jobs) == 1203
    assert board.post(jobs) == 0
    assert board.known([job.job_id for job in jobs]) == {job.job_id for job in jobs}
    assert board.withdraw([job.job_id for job in jobs]) == 1203
    assert board.count().waiting == 0


def test_withdraws_in_whatever_state(board: Board) -> None:
    board.post([entry("claimed")])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    board.post([entry("waiting"), entry("delayed", delay=LONG)])
    assert board.withdraw(["claimed", "waiting", "delayed", "absent"]) == 3
    assert board.count() == BoardCounts(waiting=0, delayed=0, claimed=0)
    assert board.keep([("claimed", ALICE)], lease=LONG) == {"claimed"}
    assert board.release_owner(ALICE) == []
    assert board.claim(BOB, [PLAIN], limit=10, lease=LONG) == []


def test_knows_jobs_in_whatever_state(board: Board) -> None:
    board.post([entry("claimed")])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    board.post([entry("waiting"), entry("delayed", delay=LONG)])
    assert board.known(["claimed", "waiting", "delayed", "absent"]) == {"claimed", "waiting", "delayed"}
    assert board.known([]) == set()


def test_tells_living_owners_only(board: Board) -> None:
    board.post([entry("lively", age=2), entry("dying", age=1), entry("waiting")])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    board.claim(BOB, [PLAIN], limit=1, lease=0.2)
    until(lambda: board.owners(["lively", "dying", "waiting"]) == {"lively": ALICE})
    assert board.owners([]) == {}


def test_lists_the_classes_of_all_jobs_on_it(board: Board) -> None:
    pinned = JobClass(type="plain", node="näpf 'x' {7}", capabilities=("has:ffmpeg", "x"))
    assert board.classes() == set()
    board.post([entry("a"), entry("b", OTHER, delay=LONG), entry("c", pinned)])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.classes() == {PLAIN, OTHER, pinned}
    board.consume(ALICE, ["a"])
    board.withdraw(["b"])
    assert board.classes() == {pinned}
    assert board.claim(ALICE, [pinned], limit=1, lease=LONG) == ["c"]


def test_a_class_with_a_very_long_key_is_a_class_like_any_other(board: Board) -> None:
    long = JobClass(type="plain", capabilities=tuple(f"capability_{n}" for n in range(100)))
    longer = JobClass(type="plain", capabilities=(*long.capabilities, "one more"))
    board.post([entry("a", long), entry("b", longer)])
    assert board.classes() == {long, longer}
    assert board.claim(ALICE, [longer], limit=5, lease=LONG) == ["b"]
    assert board.wait([long], timeout=5)


def test_lists_page_by_page(board: Board) -> None:
    jobs = {job.job_id: job for job in (entry(priority=Priority.LOW, delay=n % 2 * LONG) for n in range(25))}
    board.post(list(jobs.values()))
    (claimed,) = board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    rows, mark = board.list(limit=10)
    sizes = [len(rows)]
    while mark is not None:
        page, mark = board.list(after=mark, limit=10)
        sizes.append(len(page))
        rows += page
    assert sizes == [10, 10, 5]
    assert {row.entry.job_id: row.entry for row in rows} == jobs
    owners = {row.entry.job_id: row.owner for row in rows if row.owner is not None}
    assert owners == {claimed: ALICE}
    (until_ms,) = [row.lease_until_ms for row in rows if row.lease_until_ms is not None]
    assert abs(until_ms - jobs[claimed].posted_ms - LONG * 1000) < 30_000


def test_the_last_page_may_be_full(board: Board) -> None:
    board.post([entry("a"), entry("b")])
    rows, mark = board.list(limit=2)
    assert (len(rows), mark) == (2, None)


def test_lists_nothing_of_an_empty_board(board: Board) -> None:
    assert board.list() == ([], None)


def test_clearing_forgets_everything(board: Board) -> None:
    board.post([entry("a"), entry("b"), entry("c", delay=LONG)])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    board.clear()
    assert board.count() == BoardCounts(waiting=0, delayed=0, claimed=0)
    assert board.classes() == set()
    assert board.keep([("a", ALICE)], lease=LONG) == {"a"}
    assert board.post([entry("a")]) == 1
    assert board.claim(BOB, [PLAIN], limit=10, lease=LONG) == ["a"]


def test_closing_twice_is_fine(board: Board) -> None:
    board.post([entry()])
    board.wait([PLAIN], timeout=0)
    board.close()
    board.close()


def test_a_board_is_bound_to_one_store(board: Board, other_board: Board, store_id: str) -> None:
    board.bind(store_id)
    board.bind(store_id)
    with pytest.raises(WrongBoard, match=store_id[:8]) as raised:
        other_board.bind("11111111-2222-3333-4444-555555555555")
    assert "11111111" in raised.value.message
    assert raised.value.hint
