"""The schedule comes from its seed alone, meets every kind of fault, and leaves calms in which only machines break."""

from __future__ import annotations

import random

import pytest

from tests.chaos.conditions import conditions
from tests.chaos.faults import PERIOD_S, STORM, Draw, Fault, NothingToBreak, World, catalogue, draw_schedule
from tests.chaos.machines import Machine
from tests.chaos.users import draw_kinds, kinds, lives


def schedule(seed: int, seconds: float = 180.0) -> list[Draw]:
    return draw_schedule(seed, seconds=seconds, machines=["alice", "bob"], lease=2.0, every=1.6, most=20.0)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert schedule(7) == schedule(7)
    assert [str(draw) for draw in schedule(7)] != [str(draw) for draw in schedule(8)]


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_comes(seed: int) -> None:
    assert {draw.kind for draw in schedule(seed)} == set(catalogue())


def test_a_calm_has_no_fault_that_disturbs() -> None:
    known = catalogue()
    drawn = [draw for seed in range(20) for draw in schedule(seed)]
    for draw in drawn:
        storm_ends = (draw.at // PERIOD_S + STORM) * PERIOD_S
        assert draw.calm == (draw.at > storm_ends)
        if known[draw.kind].disturbs:
            assert draw.at + draw.seconds <= storm_ends + 0.02
    assert {draw.calm for draw in drawn} == {True, False}


def test_each_kind_of_job_is_drawn() -> None:
    drawn = draw_kinds(random.Random(1), 120, "/nowhere")
    assert len(drawn) == 120
    known = (*kinds("/nowhere"), *lives("/nowhere"), *conditions("/nowhere"))
    assert {kind.name for kind in drawn} == {kind.name for _, kind in known}
    plain = draw_kinds(random.Random(1), 120, "/nowhere", plain=True)
    assert all(kind.is_plain for kind in plain)
    assert drawn == draw_kinds(random.Random(1), 120, "/nowhere")


class Stub(Machine):
    """A machine without processes."""

    def __init__(self, name: str, *, down: bool = False, ready: bool = True) -> None:
        self.name, self.down, self.paused, self._ready = name, down, False, ready

    def is_ready(self) -> bool:
        return self._ready


class Nothing(Fault):
    name = "nothing"

    def start(self) -> str:
        return self.machine.name


def fault(*machines: Machine, calm: bool = False) -> Nothing:
    named = {machine.name: machine for machine in machines}
    world = World(lease=2.0, machines=named, stage=None, posted=dict)  # type: ignore[arg-type]
    draw = Draw(number=1, at=0.0, kind="nothing", machine="alice", seconds=1.0, seed=1, calm=calm)
    return Nothing(world, draw)


def test_another_machine_is_taken_for_one_that_is_down() -> None:
    assert fault(Stub("alice"), Stub("bob")).begin() == "alice"
    assert fault(Stub("alice", down=True), Stub("bob")).begin() == "bob"
    with pytest.raises(NothingToBreak):
        fault(Stub("alice", down=True)).begin()


def test_the_last_machine_is_left_alone_in_a_calm() -> None:
    assert fault(Stub("alice"), Stub("bob", ready=False)).begin() == "alice"
    assert fault(Stub("alice"), Stub("bob"), calm=True).begin() == "alice"
    with pytest.raises(NothingToBreak):
        fault(Stub("alice"), Stub("bob", ready=False), calm=True).begin()
