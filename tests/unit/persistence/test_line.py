"""The line before the journal's writer: one turn at a time, nobody forgotten, nobody woken for nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.persistence.journal.line import Line, Turn

LAZY_S = 0.05
DEADLINE_S = 10.0


class Flow:
    """All that the line knows of a flow."""

    def __init__(self, *, dirty: bool = False) -> None:
        self.dirty_since = time.monotonic() if dirty else None


def flow(*, dirty: bool = False) -> FlowJournal:
    return cast("FlowJournal", Flow(dirty=dirty))


def untold() -> None:
    raise AssertionError("nobody writes here")


class Writer:
    """A thread that takes turns, and holds each until it is told to end it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.turns: list[Turn] = []
        self._taken = threading.Semaphore(0)
        self._end = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (turn := self._line.next()) is not None:
            self.turns.append(turn)
            self._taken.release()
            self._end.acquire()
            for flow in turn.flows:
                flow.dirty_since = None
            self._line.end_turn()

    def turn(self, *, within: float = DEADLINE_S) -> Turn | None:
        """The writer's next turn, if it has one in time."""
        return self.turns[-1] if self._taken.acquire(timeout=within) else None

    def end_turn(self) -> None:
        self._end.release()


@pytest.fixture
def line() -> Line:
    found = Line(lazy=LAZY_S, most=10)
    found.begin()
    return found


@pytest.fixture
def writer(line: Line) -> Iterator[Writer]:
    found = Writer(line)
    yield found
    line.end()
    found.end_turn()
    found.thread.join(DEADLINE_S)
    assert not found.thread.is_alive()


def test_who_finds_nobody_there_has_its_turn_at_once(line: Line) -> None:
    one = flow()
    turn = line.take_turn(one)
    assert turn == Turn(flows=[one], waiting=[])


def test_one_turn_at_a_time(line: Line) -> None:
    one = flow()
    assert line.take_turn(one) is not None
    assert line.take_turn(flow()) is None
    line.end_turn()
    assert line.take_turn(one) is not None


def test_nobody_goes_before_those_who_wait(line: Line) -> None:
    line.join(flow(), untold)
    assert line.take_turn(flow()) is None


def test_who_came_meanwhile_has_the_next_turn(line: Line, writer: Writer) -> None:
    assert line.take_turn(flow()) is not None
    after = flow()
    line.join(after, untold)
    assert writer.turn(within=0.1) is None
    line.end_turn()
    turn = writer.turn()
    assert turn is not None
    assert (turn.flows, turn.waiting) == ([after], [untold])


def test_a_turn_of_the_writers_keeps_others_waiting(line: Line, writer: Writer) -> None:
    line.join(flow(), untold)
    assert writer.turn() is not None
    assert line.take_turn(flow()) is None
    writer.end_turn()
    deadline = time.monotonic() + DEADLINE_S
    while line.take_turn(flow()) is None:
        assert time.monotonic() < deadline
    line.end_turn()


@pytest.mark.parametrize("soon", [False, True])
def test_what_is_dirty_for_a_while_has_its_turn_though_nobody_waits(
    line: Line, writer: Writer, soon: bool
) -> None:
    """Also of a flow for which the writer was not woken when it was opened: it was when that had its turn."""
    dirty, own = flow(), flow()
    line.open(dirty)
    line.open(own, soon=soon)
    assert line.take_turn(own) is not None
    cast(Any, dirty).dirty_since = time.monotonic()
    line.end_turn()
    turn = writer.turn()
    assert turn is not None
    assert turn.flows == [dirty]


def test_the_writer_looks_after_a_flow_that_was_opened_soon_before_its_turn(
    line: Line, writer: Writer
) -> None:
    one = flow()
    line.open(one, soon=True)
    assert line.take_turn(one) is not None
    line.end_turn()
    cast(Any, one).dirty_since = time.monotonic()
    turn = writer.turn()
    assert turn is not None
    assert turn.flows == [one]


def test_whoever_has_a_turn_takes_along_what_is_overdue(line: Line) -> None:
    overdue, one = flow(dirty=True), flow()
    cast(Any, overdue).dirty_since -= 2 * LAZY_S
    line.open(overdue)
    turn = line.take_turn(one)
    assert turn is not None
    assert turn.flows == [one, overdue]


def test_the_end_waits_for_a_turn_that_is_under_way(line: Line) -> None:
    writer = Writer(line)
    assert line.take_turn(flow()) is not None
    line.end()
    writer.thread.join(0.1)
    assert writer.thread.is_alive()
    line.end_turn()
    writer.thread.join(DEADLINE_S)
    assert not writer.thread.is_alive()


def test_after_the_end_nobody_has_a_turn(line: Line) -> None:
    line.end()
    with pytest.raises(RuntimeError, match="not running"):
        line.take_turn(flow())
