"""Throttling, stopping, progress and lines."""

from __future__ import annotations

import pytest
from taskflow import task

from flows.builtin.support.lines import Lines, Tail, clean, printable
from flows.builtin.support.pacing import MAX_CHUNK_BYTES, Throttle, check_stop, pause, rate_of
from flows.builtin.support.progress import Progress
from jobrunner import stopping


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_a_throttle_holds_the_rate_on_average() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock=clock, wait=clock.wait)
    for _ in range(50):
        throttle.took(100)
    assert clock.now == pytest.approx(105.0)


def test_a_long_idle_time_gives_no_long_burst() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock=clock, wait=clock.wait)
    clock.now += 60
    throttle.took(3000)
    assert clock.now == pytest.approx(162.0)


def test_a_slow_reader_is_not_held_up() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock=clock, wait=clock.wait)
    for _ in range(10):
        clock.now += 1.0  # slower than the rate by itself
        throttle.took(500)
    assert clock.now == 110.0


def test_a_throttled_reader_reads_in_small_pieces() -> None:
    assert Throttle(None).chunk_bytes == MAX_CHUNK_BYTES
    assert Throttle(100_000).chunk_bytes == 10_000


@pytest.mark.parametrize("reason", ["cancel", "timeout", "lost"])
def test_work_that_is_not_wanted_stops(reason: stopping.StopReason) -> None:
    signal = stopping.StopSignal()
    token = stopping.bind(signal)
    try:
        check_stop()
        signal.set("suspend")
        check_stop()
        pause(0.01)
        signal.set(reason)
        with pytest.raises(stopping.Stopped, match=reason):
            check_stop()
        with pytest.raises(stopping.Stopped):
            pause(3600)
    finally:
        stopping._current.reset(token)


def test_progress_is_reported_at_most_ten_times_a_second_but_first_and_last_always() -> None:
    class Work(task.Task):  # type: ignore[misc]
        def execute(self) -> None: ...

    clock = Clock()
    work = Work()
    seen: list[tuple[float, str]] = []
    work.notifier.register(
        task.EVENT_UPDATE_PROGRESS, lambda _, details: seen.append((details["progress"], details["message"]))
    )
    progress = Progress(work, clock=clock)
    for step in range(101):
        progress.report(step / 100, f"file {step}")
        clock.now += 0.01
    assert seen[0] == (0.0, "file 0")
    assert seen[-1] == (1.0, "file 100")
    assert 10 <= len(seen) <= 13


@pytest.mark.parametrize(("text", "rate"), [("5MiB", 5 << 20), ("4096", 4096), ("0", None), (None, None)])
def test_rates_are_read(text: str | None, rate: int | None) -> None:
    assert rate_of(text) == rate


def test_what_is_not_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="'fast' is not a size"):
        rate_of("fast")


def test_lines_are_cut_bounded_and_decoded() -> None:
    lines = Lines(limit=5)
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\r\n123456") == ["two"]
    assert lines.feed(b"789\n\xff\0\nrest") == ["12345 [... 4 more bytes]", "\ufffd\ufffd"]
    assert lines.flush() == ["rest"]
    assert lines.flush() == []


def test_a_tail_keeps_the_end() -> None:
    tail = Tail(10)
    for number in range(1000):
        tail.feed(f"{number} ".encode())
    assert tail.text == "7 998 999 "[-10:]


def test_names_that_are_not_text_can_be_shown() -> None:
    assert printable("caf\udce9") == "caf\\xe9"
    assert clean("é\0".encode()) == "é\ufffd"
