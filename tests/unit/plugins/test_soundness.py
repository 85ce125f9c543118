"""A flow that was found sound a moment ago is not built again for the same parameters; whatever else is."""

from __future__ import annotations

from typing import Any

import pytest
from taskflow.flow import Flow
from taskflow.patterns import linear_flow
from taskflow.task import Task

from jobrunner.errors import InvalidFlow, InvalidParameters
from jobrunner.model import Posting
from jobrunner.plugins import Registry, job, soundness
from jobrunner.plugins.registry import JobType


class Make(Task):
    default_provides = "made"

    def execute(self) -> int:
        return 1


class Use(Task):
    def execute(self, made: int, keep: int) -> None: ...


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(soundness.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def typed(registry: Registry, asked: list[int]) -> JobType:
    @job
    def tidy(keep: int = 3) -> Flow:
        """Needs what nothing provides if it has to keep nothing."""
        asked.append(keep)
        if keep > 100:
            raise ValueError("there is no room for that many")
        return linear_flow.Flow("tidy").add(*([Make()] if keep else []), Use())

    return registry.get_type("tidy")


def require(job_type: JobType, **parameters: Any) -> None:
    accepted = job_type.accept(Posting(type=job_type.name, parameters=parameters))
    job_type.require_sound(accepted.parameters, accepted.factory)


def test_the_same_is_asked_once(registry: Registry, clock: Clock) -> None:
    asked: list[int] = []
    job_type = typed(registry, asked)
    for _ in range(3):
        require(job_type)
        require(job_type, keep=4)
        require(job_type, keep=3)  # what the default is
    assert asked == [3, 4]


def test_it_is_asked_again_after_a_while(registry: Registry, clock: Clock) -> None:
    asked: list[int] = []
    job_type = typed(registry, asked)
    require(job_type)
    clock.now += soundness.SOUND_FOR_S - 0.001
    require(job_type)
    assert asked == [3]
    clock.now += 0.001
    require(job_type)
    assert asked == [3, 3]


def test_what_other_parameters_break_is_refused_each_time(registry: Registry, clock: Clock) -> None:
    asked: list[int] = []
    job_type = typed(registry, asked)
    require(job_type)
    for _ in range(2):
        with pytest.raises(InvalidFlow, match="needs 'made'"):
            require(job_type, keep=0)
        with pytest.raises(InvalidParameters, match="no room"):
            require(job_type, keep=101)
    assert asked == [3, 0, 101, 0, 101]


def test_a_type_that_was_loaded_anew_is_asked_anew(registry: Registry, clock: Clock) -> None:
    first: list[int] = []
    second: list[int] = []
    require(typed(registry, first))
    registry.reset()
    require(typed(registry, second))
    assert (first, second) == ([3], [3])


def test_only_so_many_are_remembered(registry: Registry, clock: Clock) -> None:
    asked: list[int] = []
    job_type = typed(registry, asked)
    for keep in range(1, soundness.REMEMBERED + 2):
        require(job_type, keep=keep)
    del asked[:]
    require(job_type, keep=soundness.REMEMBERED + 1)
    require(job_type, keep=2)
    assert asked == []
    require(job_type, keep=1)
    assert asked == [1]
    assert len(job_type._sound_flows._until) == soundness.REMEMBERED


def test_keys_tell_values_apart() -> None:
    values: list[Any] = [1, "1", [1], True, None, {}, {"a": 1}, {"a": "1"}, {"b": 1}, 1.5]
    assert len({soundness.key_of(value, None) for value in values}) == len(values)
    assert soundness.key_of("a", "b") != soundness.key_of("ab", "")
