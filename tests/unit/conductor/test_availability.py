"""How free a node is, and how long it lets others go first."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobrunner.conductor.availability import NOISE, Gauge, Taken, reluctance

IDLE = {"slots": 0.0, "own": 0.0, "processor": 0.0, "memory": 0.0}
parts = st.floats(min_value=0.0, max_value=1.0)


@given(free=parts)
def test_a_node_that_is_alone_never_waits(free: float) -> None:
    assert reluctance(free, None) == 0.0


@given(free=parts, other=parts)
def test_nobody_waits_for_more_than_all_of_the_time(free: float, other: float) -> None:
    assert 0.0 <= reluctance(free, other) <= 1.0


@given(free=parts, other=parts)
def test_a_node_that_is_as_free_as_any_never_waits(free: float, other: float) -> None:
    assert reluctance(max(free, other), other) == 0.0


@given(free=parts, less=parts, other=parts)
def test_the_less_free_it_is_the_longer_it_waits(free: float, less: float, other: float) -> None:
    assert reluctance(min(free, less), other) >= reluctance(free, other)


def test_small_differences_are_noise_and_larger_ones_outlast_a_wake_up() -> None:
    assert reluctance(1.0 - NOISE / 2, 1.0) == 0.0
    assert reluctance(0.9, 1.0) > 0.3
    assert reluctance(0.0, 1.0) == 1.0


@pytest.mark.parametrize("name", [field.name for field in fields(Taken)])
@given(less=parts, more=parts)
def test_a_node_is_the_less_free_the_more_of_anything_is_taken(name: str, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert Taken(**{**IDLE, name: less}).free >= Taken(**{**IDLE, name: more}).free


def test_of_an_idle_node_all_is_free_and_of_one_without_places_nothing() -> None:
    assert Taken(**IDLE).free == 1.0
    assert Taken(**{**IDLE, "slots": 1.0}).free == 0.0


@pytest.mark.parametrize("name", ["own", "processor", "memory"])
def test_of_two_that_have_used_up_anything_the_one_with_more_places_is_freer(name: str) -> None:
    used_up, half = Taken(**{**IDLE, name: 1.0}), Taken(**{**IDLE, name: 1.0, "slots": 0.5})
    assert reluctance(half.free, used_up.free) > 0.5
    assert reluctance(used_up.free, half.free) == 0.0


def test_half_of_the_places_outweigh_what_looks_at_a_busy_processor_differ_by() -> None:
    idle, half = Taken(**{**IDLE, "processor": 1.0}), Taken(**{**IDLE, "processor": 0.85, "slots": 0.5})
    assert reluctance(idle.free, half.free) == 0.0


def test_half_of_the_memory_does_not_matter() -> None:
    assert Taken(**{**IDLE, "memory": 0.5}).free == 1.0
    assert Taken(**{**IDLE, "memory": 0.8}).free < 0.5


def test_a_look_tells_what_is_taken_since_the_last_one() -> None:
    gauge = Gauge()
    assert gauge.look(running=4, slots=16, used_s=0.0).slots == 0.25
    assert gauge.look(running=0, slots=16, used_s=1e9).own == 1.0
    later = gauge.look(running=0, slots=0, used_s=1e9 - 1)
    assert (later.slots, later.own) == (0.0, 0.0)
