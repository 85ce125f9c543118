"""Requests to stop: which reason counts, and what a task is told."""

from __future__ import annotations

import contextvars
import itertools
import threading

import pytest

from jobrunner import stopping
from jobrunner.stopping import StopReason, StopSignal


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.permutations(["suspend", "hold", "timeout", "cancel", "lost"], 2))
)
def test_the_weightier_reason_counts_and_of_equals_the_first(first: StopReason, second: StopReason) -> None:
    weight = {"suspend": 0, "hold": 0, "timeout": 1, "cancel": 1, "lost": 2}
    stop = StopSignal()
    stop.set(first)
    stop.set(second)
    assert stop.reason == (second if weight[second] > weight[first] else first)


def test_it_is_remembered_that_the_conductor_leaves() -> None:
    stop = StopSignal()
    stop.set("cancel")
    assert not stop.leaving
    stop.set("suspend")
    assert stop.leaving
    assert stop.reason == "cancel"


def test_a_task_sees_its_own_jobs_signal() -> None:
    ours, others = StopSignal(), StopSignal()
    others.set("cancel")
    token = stopping.bind(ours)
    assert not stopping.stop_requested()
    assert stopping.stop_reason() is None
    ours.set("suspend")
    assert stopping.stop_requested()
    assert stopping.stop_reason() == "suspend"
    assert contextvars.Context().run(stopping.stop_requested) is False
    stopping.unbind(token)
    assert not stopping.stop_requested()


def test_waiting_for_a_stop_ends_when_it_comes() -> None:
    stop = StopSignal()
    token = stopping.bind(stop)
    threading.Timer(0.05, stop.set, ["cancel"]).start()
    assert stopping.wait_for_stop(10)
    stopping.unbind(token)


def test_outside_of_a_conductor_nobody_asks() -> None:
    assert not stopping.wait_for_stop(0.001)
