"""How often somebody who waits looks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from jobrunner.jobs import pace
from jobrunner.jobs.pace import FIRST_S, LONGEST_S, Pace


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, by a clock on which nothing else takes time."""
    pauses: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: 1000.0 + sum(pauses), sleep=pauses.append)
    monkeypatch.setattr(pace, "time", clock)
    return pauses


def test_pauses_grow_up_to_a_limit_and_are_short_again_when_something_happened(slept: list[float]) -> None:
    looks = Pace(None)
    for _ in range(30):
        looks.rest()
    assert slept[0] == FIRST_S
    assert slept == sorted(slept)
    assert slept[-1] == LONGEST_S
    looks.quicken()
    looks.rest()
    assert slept[-1] == FIRST_S
    assert not looks.is_over


def test_no_pause_outlasts_the_time_there_is(slept: list[float]) -> None:
    looks = Pace(2.0)
    while not looks.is_over:
        looks.rest()
    assert sum(slept) == pytest.approx(2.0)
    looks.rest()
    assert slept[-1] == 0.0
