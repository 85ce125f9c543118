"""Claims: how long they last, and that nobody touches another's."""

from __future__ import annotations

import pytest

from jobrunner.boards.board import Board, BoardCounts
from tests.support.boards import ALICE, BOB, LONG, OTHER, PLAIN, entry, until

SHORT = 0.3


@pytest.fixture
def expired(board: Board) -> str:
    """A job that Alice claimed, whose lease has run out, and which nobody else has claimed."""
    board.post([entry("job")])
    assert board.claim(ALICE, [PLAIN], limit=1, lease=SHORT) == ["job"]
    until(lambda: board.owners(["job"]) == {})
    return "job"


def test_a_lease_that_ran_out_offers_the_job_again(board: Board, other_board: Board) -> None:
    board.post([entry("job")])
    board.claim(ALICE, [PLAIN], limit=1, lease=SHORT)
    assert other_board.claim(BOB, [PLAIN], limit=1, lease=LONG) == []
    until(lambda: other_board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["job"])
    assert board.owners(["job"]) == {"job": BOB}


def test_it_gets_its_old_place_in_line(board: Board, expired: str) -> None:
    board.post([entry("young"), entry("old", age=9)])
    assert board.claim(BOB, [PLAIN], limit=3, lease=LONG) == ["old", "job", "young"]


def test_an_expired_job_counts_as_waiting_and_is_listed_without_owner(board: Board, expired: str) -> None:
    assert board.count() == BoardCounts(waiting=1, delayed=0, claimed=0)
    ((row,), _) = board.list()
    assert (row.entry.job_id, row.owner, row.lease_until_ms) == ("job", None, None)
    assert board.known(["job"]) == {"job"}
    assert board.classes() == {PLAIN}


def test_an_expired_job_can_be_claimed_by_name(board: Board, expired: str) -> None:
    assert board.claim_these(BOB, ["job"], lease=LONG) == ["job"]
    assert board.keep([("job", BOB)], lease=LONG) == set()
    assert board.release_owner(ALICE) == []


def test_keeping_makes_a_lease_last(board: Board, other_board: Board) -> None:
    board.post([entry("job")])
    board.claim(ALICE, [PLAIN], limit=1, lease=SHORT)
    assert board.keep([("job", ALICE)], lease=LONG) == set()
    other_board.post([entry("signal", OTHER)])
    other_board.claim(BOB, [OTHER], limit=1, lease=2 * SHORT)  # ends after Alice's first lease would have
    until(lambda: other_board.owners(["job", "signal"]) == {"job": ALICE})
    assert other_board.claim(BOB, [PLAIN], limit=1, lease=LONG) == []


def test_keeping_counts_from_now(board: Board) -> None:
    board.post([entry("job")])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.keep([("job", ALICE)], lease=SHORT) == set()
    until(lambda: board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["job"])


def test_keeps_many_of_several_owners_at_once_and_tells_the_lost(board: Board) -> None:
    board.post([entry(f"{n:04d}") for n in range(1100)])
    mine = board.claim(ALICE, [PLAIN], limit=550, lease=LONG)
    yours = board.claim(BOB, [PLAIN], limit=550, lease=LONG)
    claims = [(job_id, ALICE) for job_id in mine] + [(job_id, BOB) for job_id in yours]
    board.withdraw(mine[:2])
    lost = {*mine[:2], "absent"}
    assert board.keep([*claims, ("absent", ALICE)], lease=LONG) == lost
    assert board.keep([], lease=LONG) == set()


def test_a_zombie_keeps_nothing_though_nobody_claimed_its_job(board: Board, expired: str) -> None:
    assert board.keep([("job", ALICE)], lease=LONG) == {"job"}
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["job"]


def test_a_zombie_does_not_lengthen_its_successors_lease(board: Board, expired: str) -> None:
    board.claim(BOB, [PLAIN], limit=1, lease=SHORT)
    assert board.keep([("job", ALICE)], lease=LONG) == {"job"}
    until(lambda: board.claim("carol", [PLAIN], limit=1, lease=LONG) == ["job"])


def test_a_supervisor_of_both_does_not_lengthen_it_either(board: Board, expired: str) -> None:
    board.post([entry("of alice", OTHER)])
    board.claim(ALICE, [OTHER], limit=1, lease=LONG)
    board.claim(BOB, [PLAIN], limit=1, lease=LONG)
    assert board.keep([("job", ALICE), ("of alice", ALICE)], lease=0.0) == {"job"}
    assert board.owners(["job"]) == {"job": BOB}
    until(lambda: board.owners(["of alice"]) == {})


def test_a_zombie_neither_consumes_nor_releases(board: Board, expired: str) -> None:
    assert board.consume(ALICE, ["job"]) == 0
    assert board.release(ALICE, ["job"], delay=LONG) == 0
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["job"]
    assert board.consume(ALICE, ["job"]) == 0
    assert board.release(ALICE, ["job"]) == 0
    assert board.release_owner(ALICE) == []
    assert board.owners(["job"]) == {"job": BOB}


def test_others_claims_are_left_alone(board: Board) -> None:
    board.post([entry("a", age=2), entry("b", age=1), entry("waiting")])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    board.claim(BOB, [PLAIN], limit=1, lease=LONG)
    assert board.release(ALICE, ["b", "waiting", "absent"]) == 0
    assert board.consume(ALICE, ["a", "b", "waiting", "absent"]) == 1
    assert board.consume(ALICE, []) == 0
    assert board.owners(["a", "b"]) == {"b": BOB}
    assert board.count() == BoardCounts(waiting=1, delayed=0, claimed=1)


def test_a_claim_is_passed_on_without_a_moment_in_which_others_could_have_it(
    board: Board, other_board: Board
) -> None:
    board.post([entry("a", age=2), entry("b", age=1), entry("waiting")])
    board.claim(ALICE, [PLAIN], limit=2, lease=LONG)
    assert other_board.pass_on(ALICE, BOB, ["a", "waiting", "absent"], lease=LONG) == ["a"]
    assert board.owners(["a", "b", "waiting"]) == {"a": BOB, "b": ALICE}
    assert board.keep([("a", BOB), ("a", ALICE), ("b", ALICE)], lease=LONG) == {"a"}
    assert board.consume(ALICE, ["a"]) == 0
    assert board.count() == BoardCounts(waiting=1, delayed=0, claimed=2)
    assert board.release_owner(ALICE) == ["b"]
    assert board.release(BOB, ["a"]) == 1
    assert board.claim("carol", [PLAIN], limit=3, lease=LONG) == ["a", "b", "waiting"]


def test_a_claim_that_was_passed_on_lasts_from_then(board: Board) -> None:
    board.post([entry("job")])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.pass_on(ALICE, BOB, ["job"], lease=SHORT) == ["job"]
    until(lambda: board.claim("carol", [PLAIN], limit=1, lease=LONG) == ["job"])


def test_only_who_holds_a_living_claim_can_pass_it_on(board: Board, expired: str) -> None:
    assert board.pass_on(ALICE, BOB, ["job"], lease=LONG) == []
    board.claim("carol", [PLAIN], limit=1, lease=LONG)
    assert board.pass_on(ALICE, BOB, ["job"], lease=LONG) == []
    assert board.pass_on(ALICE, BOB, [], lease=LONG) == []
    assert board.owners(["job"]) == {"job": "carol"}


def test_a_released_job_is_offered_again_at_its_old_place(board: Board) -> None:
    board.post([entry("old", age=2), entry("young")])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.release(ALICE, ["old"]) == 1
    assert board.release(ALICE, ["old"]) == 0
    assert board.release(ALICE, []) == 0
    assert board.claim(BOB, [PLAIN], limit=2, lease=LONG) == ["old", "young"]


def test_a_job_released_with_a_delay_is_offered_when_that_is_over(board: Board) -> None:
    board.post([entry("job", age=2)])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.release(ALICE, ["job"], delay=SHORT) == 1
    assert board.count() == BoardCounts(waiting=0, delayed=1, claimed=0)
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == []
    assert board.keep([("job", ALICE)], lease=LONG) == {"job"}
    until(lambda: board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["job"])


def test_hands_back_all_that_a_dead_owner_holds(board: Board, other_board: Board) -> None:
    board.post([entry("a", age=3), entry("b", OTHER, age=2), entry("c", age=1), entry("done")])
    assert board.claim(ALICE, [PLAIN, OTHER], limit=2, lease=LONG) == ["a", "b"]
    board.claim(BOB, [PLAIN], limit=1, lease=LONG)
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    board.consume(ALICE, ["done"])
    assert sorted(other_board.release_owner(ALICE)) == ["a", "b"]
    assert other_board.release_owner(ALICE) == []
    assert board.keep([("a", ALICE), ("b", ALICE), ("c", BOB)], lease=LONG) == {"a", "b"}
    assert board.claim(ALICE, [PLAIN, OTHER], limit=5, lease=LONG) == ["a", "b"]


def test_hands_back_hundreds_of_a_dead_owner(board: Board) -> None:
    board.post([entry() for _ in range(700)])
    claimed = board.claim(ALICE, [PLAIN], limit=700, lease=LONG)
    assert sorted(board.release_owner(ALICE)) == sorted(claimed)
    assert board.claim(BOB, [PLAIN], limit=700, lease=LONG) == claimed


def test_many_leases_end_at_once(board: Board) -> None:
    board.post([entry(job_class=OTHER, age=1) for _ in range(250)])
    board.post([entry("mine")])
    board.claim(ALICE, [OTHER], limit=250, lease=SHORT)
    board.claim(ALICE, [PLAIN], limit=1, lease=2 * SHORT)
    until(lambda: board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["mine"])
    assert len(board.claim(BOB, [OTHER], limit=300, lease=LONG)) == 250


# Hastening


def test_a_hastened_job_can_be_claimed_now_at_its_own_place(board: Board, other_board: Board) -> None:
    board.post([entry("young"), entry("delayed", delay=LONG), entry("old", age=9)])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.release(ALICE, ["old"], delay=LONG) == 1
    assert board.claim(BOB, [PLAIN], limit=3, lease=LONG) == ["young"]
    assert other_board.hasten(["old", "delayed"]) == 2
    assert board.claim(BOB, [PLAIN], limit=3, lease=LONG) == ["old", "delayed"]


def test_hastening_leaves_alone_what_is_not_delayed(board: Board) -> None:
    board.post([entry("waiting"), entry("claimed", age=9)])
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    assert board.hasten(["waiting", "claimed", "unknown"]) == 0
    assert board.hasten([]) == 0
    assert board.count() == BoardCounts(waiting=1, delayed=0, claimed=1)
    assert board.owners(["waiting", "claimed"]) == {"claimed": ALICE}
    assert board.known(["unknown"]) == set()


def test_a_job_that_is_called_is_claimed_though_it_is_delayed(board: Board, other_board: Board) -> None:
    board.post([entry("b", delay=LONG), entry("a"), entry("other", job_class=OTHER, delay=LONG)])
    assert board.call(ALICE, ["b", "other", "absent", "a"], [PLAIN], limit=3, lease=LONG) == ["b", "a"]
    assert board.owners(["a", "b", "other"]) == {"a": ALICE, "b": ALICE}
    assert other_board.call(BOB, ["a", "b"], [PLAIN], limit=3, lease=LONG) == []
    assert board.claim(BOB, [OTHER], limit=1, lease=LONG) == ["other"]  # it was hastened
    assert board.consume(ALICE, ["a", "b"]) == 2


def test_who_is_called_beyond_the_limit_is_hastened(board: Board) -> None:
    board.post([entry("a", delay=LONG), entry("b", delay=LONG)])
    assert board.call(ALICE, ["a", "b"], [PLAIN], limit=1, lease=SHORT) == ["a"]
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["b"]
    assert board.call(ALICE, [], [PLAIN], limit=1, lease=SHORT) == []
    until(lambda: board.call(BOB, ["a"], [PLAIN], limit=1, lease=LONG) == ["a"])  # its lease had run out


def test_hastens_many_at_once(board: Board) -> None:
    ids = [f"{n:04d}" for n in range(1100)]
    board.post([entry(job_id, delay=LONG) for job_id in ids])
    assert board.hasten(ids) == len(ids)
    assert board.count() == BoardCounts(waiting=len(ids), delayed=0, claimed=0)
