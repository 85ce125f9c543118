"""What can happen, and the schedule of what does: drawn from a seed before the run.

A fault starts at its time and heals after its ``seconds``. Each kind of fault comes once, in a random order, before any
comes again by its weight. A fault that finds nothing to break (its machine is down already) is left out, and says so.
"""

from __future__ import annotations

import abc
import functools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from tests.chaos.case import Absence, Harm, Posted, Window
from tests.chaos.machines import Death, Machine, now_us
from tests.chaos.stage import Stage

SLACK_S = 2.0
"""After a server came back takeovers get so long, and a lease, before they are measured again."""
STARTING_S = 4.0
"""A conductor, or its workers, may take so long to start before they take anything over."""
PERIOD_S = 60.0
STORM = 0.58
"""In the first part of each period everything may break. In the rest only machines do: there takeovers are measured."""


class NothingToBreak(Exception):
    """The fault has no object now."""


@dataclass(kw_only=True)
class World:
    """What faults act on, and what they leave for the checker."""

    lease: float
    machines: dict[str, Machine]
    stage: Stage
    posted: Callable[[], dict[str, Posted]]
    deaths: list[Death] = field(default_factory=list)
    harms: dict[str, Harm] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    """Conductors that ended though nobody wanted them to."""
    bites: Counter[str] = field(default_factory=Counter)
    """How often a fault met what it was meant for, where that is left to chance."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One line of the schedule.

    :param at: seconds after the start
    :param seed: what the fault itself draws from, when it starts
    :param calm: whether nothing but machines breaks at that time
    """

    number: int
    at: float
    kind: str
    machine: str
    seconds: float
    seed: int
    calm: bool = False

    def __str__(self) -> str:
        return (
            f"{self.number:3} {self.at:6.1f} s  {self.kind:<22} {self.machine:<6} for {self.seconds:4.1f} s"
        )


class Fault(abc.ABC):
    """One fault. ``start`` may raise NothingToBreak; ``heal`` undoes it, once.

    Of the class: how often it comes (``weight``), how long it lasts (``lasts``, in seconds; ``leases`` if it is told in
    leases), whether takeovers are slower meanwhile through no fault of a conductor's (``disturbs``), and whether its
    machine can take nothing over meanwhile (``takes_away``), though it does not die (``stands_still``).
    """

    name: ClassVar[str]
    weight: ClassVar[int] = 4
    lasts: ClassVar[tuple[float, float]] = (0.5, 4.0)
    leases: ClassVar[bool] = False
    disturbs: ClassVar[bool] = False
    takes_away: ClassVar[bool] = False
    stands_still: ClassVar[bool] = False

    def __init__(self, world: World, draw: Draw) -> None:
        self.world = world
        self.draw = draw
        self.rng = random.Random(draw.seed)
        self._began_us = 0

    def begin(self) -> str:
        """Start it; what it does, in words."""
        self._began_us = now_us()
        return self.start()

    def end(self) -> None:
        """Heal it."""
        self.heal()
        if self.disturbs:
            self.world.windows.append(
                Window(
                    begin_us=self._began_us,
                    end_us=now_us() + int((self.world.lease + SLACK_S) * 1e6),
                    why=self.name,
                )
            )
        if self.takes_away:
            ends_us = now_us() + int(STARTING_S * 1e6)
            self.world.absences.append(
                Absence(
                    machine=self.machine.name,
                    begin_us=self._began_us,
                    end_us=ends_us,
                    stood_still=self.stands_still,
                )
            )

    @abc.abstractmethod
    def start(self) -> str: ...

    def heal(self) -> None:  # noqa: B027 - not every fault has anything to undo
        """Undo it; nothing, where what happened is over at once."""

    def may_end(self) -> bool:
        """Whether it can heal without anybody's waiting for it; asked again and again until it can."""
        return True

    @functools.cached_property
    def machine(self) -> Machine:
        """The machine that it is about: the one that was drawn, or another if that is down or stands still.

        Raises NothingToBreak if there is none; and in a calm, if it would be the last: somebody has to take over.
        """
        drawn = self.world.machines[self.draw.machine]
        others = [machine for machine in self.world.machines.values() if machine is not drawn]
        up = [machine for machine in (drawn, *others) if not machine.down and not machine.paused]
        if not up:
            raise NothingToBreak("no machine is up")
        if self.draw.calm and sum(machine.is_ready() for machine in up) < 2:
            raise NothingToBreak("it is the last machine that is up")
        return up[0]


def catalogue() -> dict[str, type[Fault]]:
    """All kinds of faults by name."""
    from tests.chaos import harm_machines, harm_network, harm_rows, harm_servers

    modules = (harm_machines, harm_servers, harm_network, harm_rows)
    return {kind.name: kind for module in modules for kind in module.KINDS}


def draw_schedule(
    seed: int, *, seconds: float, machines: list[str], lease: float, every: float, most: float
) -> list[Draw]:
    """The faults of a run.

    :param every: seconds from fault to fault, on average
    :param most: no fault lasts longer
    """
    rng = random.Random(f"schedule {seed}")
    known = catalogue()
    first = list(known)
    rng.shuffle(first)
    schedule: list[Draw] = []
    at = rng.uniform(0.5, 1.5) * every
    while at < seconds:
        storm_ends = (at // PERIOD_S + STORM) * PERIOD_S
        calm = at > storm_ends
        kind = known[_draw_kind(rng, known, first, calm=calm)]
        low, high = kind.lasts
        lasts = min(most, rng.uniform(low, high) * (lease if kind.leases else 1.0))
        if kind.disturbs:
            lasts = min(lasts, storm_ends - at)
        schedule.append(
            Draw(
                number=len(schedule) + 1,
                at=round(at, 2),
                kind=kind.name,
                machine=rng.choice(machines),
                seconds=round(lasts, 2),
                seed=rng.getrandbits(32),
                calm=calm,
            )
        )
        at += rng.uniform(0.5, 1.5) * every
    return schedule


def _draw_kind(rng: random.Random, known: dict[str, type[Fault]], first: list[str], *, calm: bool) -> str:
    """The next that did not come yet, if it may come now; else any that may, by weight."""
    may = {name: kind for name, kind in known.items() if not (calm and kind.disturbs)}
    for name in first:
        if name in may:
            first.remove(name)
            return name
    return rng.choices(list(may), [kind.weight for kind in may.values()])[0]
