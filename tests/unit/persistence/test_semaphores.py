"""Who may have a semaphore, and who has to wait for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobrunner.persistence.permits.semaphores import Refusal, Semaphore, Terms, Wish
from jobrunner.policies import ANY_NUMBER

NOW = 1_000_000
MUTEX, THREE = Terms(count=1), Terms(count=3)
ROOM = Refusal(semaphore="db")


def wish(score: int, units: int = 1, *, shared: bool = False) -> Wish:
    return Wish(score, f"job-{score}", units, shared)


def held(*taken: tuple[int, bool], line: list[Wish] | None = None) -> Semaphore:
    one = Semaphore(name="db", line=line or [])
    for number, (units, shared) in enumerate(taken):
        one.take(f"holder-{number}", units, shared)
    return one


@pytest.mark.parametrize("taken", range(3))
def test_there_is_room_up_to_the_count(taken: int) -> None:
    assert held(*[(1, False)] * taken).refusal(wish(1), THREE, NOW) is None


def test_and_no_further() -> None:
    assert held(*[(1, False)] * 3).refusal(wish(1), THREE, NOW) == ROOM
    assert held((2, False)).refusal(wish(1, 2), THREE, NOW) == ROOM


def test_a_lowered_count_lets_nobody_in() -> None:
    assert held((1, False), (1, False)).refusal(wish(1), MUTEX, NOW) == ROOM


def test_nobody_gets_in_where_the_count_is_nothing() -> None:
    assert held().refusal(wish(1), Terms(count=0), NOW) == ROOM


def test_who_asks_for_more_than_there_is_gets_all_of_it() -> None:
    assert held().refusal(wish(1, 9), THREE, NOW) is None
    assert held((1, False)).refusal(wish(1, 9), THREE, NOW) == ROOM
    assert held((9, False)).refusal(wish(1), THREE, NOW) == ROOM


def test_many_share_what_one_can_have_alone() -> None:
    readers = held(*[(1, True)] * 50)
    assert readers.refusal(wish(1, shared=True), MUTEX, NOW) is None
    assert readers.refusal(wish(1), MUTEX, NOW) == ROOM
    assert held((1, False)).refusal(wish(1, shared=True), MUTEX, NOW) == ROOM


def test_one_that_wants_it_alone_is_not_overtaken_by_those_who_share() -> None:
    readers = held((1, True), line=[wish(5)])
    assert readers.refusal(wish(6, shared=True), MUTEX, NOW) == ROOM
    assert readers.refusal(wish(4, shared=True), MUTEX, NOW) is None


def test_one_that_wants_much_is_not_overtaken_by_those_who_want_little() -> None:
    assert held((2, False), line=[wish(5, 3)]).refusal(wish(6), THREE, NOW) == ROOM


def test_those_behind_may_have_what_those_ahead_leave() -> None:
    assert held((1, False), line=[wish(5)]).refusal(wish(6), THREE, NOW) is None
    assert held((1, False), line=[wish(5), wish(6)]).refusal(wish(7), THREE, NOW) == ROOM


def test_who_is_in_line_does_not_wait_for_itself() -> None:
    assert held(line=[wish(5)]).refusal(wish(5), MUTEX, NOW) is None


def test_granting_takes_it_out_of_the_line() -> None:
    one = held(line=[wish(5), wish(6)])
    one.grant(wish(5), MUTEX, NOW)
    assert one.line == [wish(6)]
    assert one.refusal(wish(6), MUTEX, NOW) == ROOM


def test_the_line_is_kept_in_order_and_nobody_stands_in_it_twice() -> None:
    one = held(line=[wish(5), wish(7)])
    for score in (6, 6, 5):
        one.queue(wish(score))
    assert [other.score for other in one.line] == [5, 6, 7]


RATE = Terms(count=ANY_NUMBER, starts=2, period_ms=1000)


def test_a_rate_lets_so_many_start_and_tells_the_next_when() -> None:
    one = held()
    for at in (0, 300):
        assert one.refusal(wish(1), RATE, NOW + at) is None
        one.grant(wish(at), RATE, NOW + at)
    assert one.refusal(wish(9), RATE, NOW + 400) == Refusal(semaphore="db", at_ms=NOW + 1000)
    assert one.refusal(wish(9), RATE, NOW + 999) == Refusal(semaphore="db", at_ms=NOW + 1000)
    assert one.refusal(wish(9), RATE, NOW + 1000) is None


def test_those_in_line_are_told_one_after_the_other() -> None:
    one = held()
    one.started = [NOW - 100, NOW - 50]
    times = []
    for score in range(5):
        refusal = one.refusal(wish(score), RATE, NOW)
        assert refusal is not None
        times.append(refusal.at_ms)
        one.queue(wish(score))
    assert times == [NOW + 900, NOW + 950, NOW + 1900, NOW + 1950, NOW + 2900]


def test_never_more_start_in_any_period_than_were_said() -> None:
    one, starts = held(), []
    for now in range(NOW, NOW + 20_000, 37):
        if one.refusal(wish(now), RATE, now) is None:
            one.grant(wish(now), RATE, now)
            starts.append(now)
    assert len(starts) >= 38
    assert all(later - earlier >= 1000 for earlier, later in zip(starts, starts[2:], strict=False))


def test_what_somebody_set_goes_before_what_jobs_say() -> None:
    one = Semaphore(name="db", count=2, starts=5, period_ms=10)
    assert one.terms(RATE) == Terms(count=2, starts=5, period_ms=10)
    assert Semaphore(name="db", count=2).terms(RATE) == Terms(count=2, starts=2, period_ms=1000)
    assert Semaphore(name="db", starts=0).terms(RATE) == Terms(count=ANY_NUMBER)


def of_set(score: int, set_id: str = "set", **wanted: Any) -> Wish:
    return replace(wish(score, **wanted), set_id=set_id)


def test_a_set_holds_it_once_for_all_its_jobs() -> None:
    one = held()
    one.grant(of_set(1), MUTEX, NOW)
    assert one.refusal(of_set(2), MUTEX, NOW) is None
    one.grant(of_set(2), MUTEX, NOW)
    assert (one.alone, one.holders) == (1, {"set"})
    assert one.refusal(of_set(3, "other"), MUTEX, NOW) == one.refusal(wish(3), MUTEX, NOW) == ROOM


def test_a_set_that_has_it_is_not_kept_waiting_by_who_waits_for_it() -> None:
    one = held(line=[wish(1)])
    assert one.refusal(of_set(2), MUTEX, NOW) == ROOM
    one.take("set", 1, False)
    assert one.refusal(of_set(2), MUTEX, NOW) is None


def test_those_of_a_set_stand_in_line_as_one() -> None:
    line = [of_set(1), of_set(2), of_set(3)]
    assert held(line=line).refusal(of_set(3), MUTEX, NOW) is None
    assert held(line=line).refusal(wish(4), Terms(count=2), NOW) is None
    assert held(line=line).refusal(wish(4), MUTEX, NOW) == ROOM


def test_a_sets_jobs_are_one_start() -> None:
    one, rate = held(), Terms(count=ANY_NUMBER, starts=1, period_ms=1000)
    one.grant(of_set(1), rate, NOW)
    one.grant(of_set(2), rate, NOW)
    assert one.started == [NOW]
    assert one.refusal(wish(3), rate, NOW) == Refusal(semaphore="db", at_ms=NOW + 1000)
