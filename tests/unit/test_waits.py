"""Waiting outside of a conductor: as tests of flows do it, and what is refused."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from taskflow import engines
from taskflow.patterns import linear_flow

import jobrunner
from jobrunner import Sleep, WaitForSignal, waits
from jobrunner.cli.waits import waits_for
from jobrunner.errors import OutsideConductor, SignalTimedOut, UsageError
from jobrunner.model import Job, JobState, Parked
from jobrunner.persistence.signals import ANY, awaits_of, is_awaited
from tests.support.made_up import NOW_MS, made_up_job


def run(*tasks: Any) -> dict[str, Any]:
    found: dict[str, Any] = engines.run(linear_flow.Flow("f").add(*tasks), engine="serial")
    return found


def test_given_signals_are_taken_in_order() -> None:
    both = [WaitForSignal("go", name=name, provides=name) for name in ("a", "b")]
    with waits.signals_given(go=[{"n": 1}, 2]):
        assert run(*both) == {"a": {"n": 1}, "b": 2}


def test_what_is_not_given_is_out_of_time() -> None:
    with waits.signals_given(go=1), pytest.raises(SignalTimedOut, match="'other' did not arrive"):
        run(WaitForSignal("other", timeout="1h"))
    with waits.signals_given(go=[]):
        assert run(WaitForSignal("go", default=0, provides="x")) == {"x": 0}


def test_without_a_conductor_no_signal_can_come() -> None:
    with pytest.raises(OutsideConductor, match="no conductor runs it"):
        run(WaitForSignal("go"))
    with waits.signals_given(go=1):
        pass
    with pytest.raises(OutsideConductor):
        jobrunner.wait_for_signal("go")


def test_sleeping_without_a_conductor_just_sleeps() -> None:
    began = time.monotonic()
    run(Sleep(0.05), Sleep(until=datetime.now() + timedelta(seconds=0.1), name="until"))
    assert 0.08 < time.monotonic() - began < 5
    jobrunner.sleep_until(datetime.now() - timedelta(days=1))


@pytest.mark.parametrize("name", ["", "a b", "a,b", "-a", "é", "x" * 101, "a\n", 7, None])
def test_bad_names_of_signals(name: Any) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a signal"):
        jobrunner.wait_for_signal(name)
    with pytest.raises(UsageError):
        WaitForSignal(name)


@pytest.mark.parametrize("duration", ["10m", float("nan"), float("inf"), None, True])
def test_bad_durations(duration: Any) -> None:
    with pytest.raises(UsageError, match="no time to wait"):
        jobrunner.sleep(duration)


def test_bad_sleeps() -> None:
    for arguments in ({}, {"duration": 1, "until": datetime.now()}, {"duration": -1}, {"duration": "soon"}):
        with pytest.raises(ValueError):  # noqa: PT011
            Sleep(**arguments)
    with pytest.raises(UsageError):
        jobrunner.sleep_until("tomorrow")  # type: ignore[arg-type]


def test_what_a_job_awaits() -> None:
    assert awaits_of([]) is None
    assert awaits_of(["b", "a", "b"]) == "a,b"
    assert is_awaited("a", "a,b")
    assert not is_awaited("a", "ab")
    assert not is_awaited("a", None)
    assert is_awaited("a", awaits_of([f"signal{number}" for number in range(100)]))


def job(**given: Any) -> Job:
    return made_up_job(**{"state": JobState.SUSPENDED, **given})


def test_what_a_job_waits_for_in_words() -> None:
    later = NOW_MS + 7_200_000
    assert waits_for(job(awaits="go", parked=Parked.SIGNAL), NOW_MS) == "the signal go"
    assert waits_for(job(awaits="a,b", parked=Parked.SIGNAL), NOW_MS) == "one of the signals a, b"
    assert waits_for(job(awaits=ANY, parked=Parked.SIGNAL), NOW_MS) == "one of several signals"
    assert waits_for(job(awaits="go", available_ms=later), NOW_MS).startswith("the signal go, until 2025-")
    assert waits_for(job(available_ms=later), NOW_MS).endswith("(in 2h00m)")
    assert waits_for(job(available_ms=later, note="why"), NOW_MS) == ""
    assert waits_for(job(awaits="go"), NOW_MS) == ""  # its signal came; nobody has claimed it yet
    assert waits_for(job(awaits="go", parked=Parked.HELD), NOW_MS) == ""
    assert waits_for(job(state=JobState.RUNNING, awaits="go"), NOW_MS) == ""
