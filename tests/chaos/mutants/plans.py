"""Plans: which faults strike and what is posted, so that what a mutant breaks is brought out within half a minute."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.case import Kind
from tests.chaos.conditions import conditions
from tests.chaos.faults import Draw, Fault, catalogue
from tests.chaos.harm_machines import KillMachine, KillSupervisor, KillWorker, PauseMachine, PauseSupervisor
from tests.chaos.harm_servers import FlushBoard
from tests.chaos.harness import QUIET, Harness
from tests.chaos.mutants import harm
from tests.chaos.mutants.harm import KillLeader, LateAnswers
from tests.chaos.systems import Jobrunner, Servers
from tests.chaos.users import draw_kinds, kinds, lives

STARTUP = Path(__file__).with_name("startup")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run is about.

    :param strikes: the kinds of faults, each with its weight
    :param every: seconds from one to the next
    :param posts: the names of what is posted, to be drawn from by the weights that they always have
    :param first: what is posted before anything else
    :param meddles: whether users suspend, resume, cancel, retry and delete jobs
    """

    strikes: Mapping[type[Fault], int]
    every: float
    posts: tuple[str, ...]
    first: tuple[str, ...] = ()
    workers: int = 2
    jobs_a_second: float = 4.0
    meddles: bool = False

    def draw(self, seed: int, *, seconds: float, machines: list[str], lease: float) -> list[Draw]:
        """The faults, from the seed."""
        rng = random.Random(f"plan {seed}")
        schedule: list[Draw] = []
        at = self.every
        while at < seconds:
            (kind,) = rng.choices(list(self.strikes), list(self.strikes.values()))
            lasts = rng.uniform(*kind.lasts) * (lease if kind.leases else 1.0)
            schedule.append(
                Draw(
                    number=len(schedule) + 1,
                    at=round(at, 2),
                    kind=kind.name,
                    machine=machines[len(schedule) % len(machines)],
                    seconds=round(lasts, 2),
                    seed=rng.getrandbits(32),
                )
            )
            at += self.every * rng.uniform(0.8, 1.2)
        return schedule

    def post(self, seed: int, count: int, evidence: str) -> list[Kind]:
        """What is posted, in order."""
        known = [kind for _, kind in (*kinds(evidence), *lives(evidence), *conditions(evidence))]
        first = [kind for kind in known if _name(kind) in self.first]
        rng = random.Random(f"jobs {seed}")
        drawn = [kind for kind in draw_kinds(rng, 60 * count, evidence) if _name(kind) in self.posts]
        return [*first, *drawn][:count]


def _name(kind: Kind) -> str:
    return f"poison {kind.parameters['how']}" if kind.poison else kind.name


STEADY = ("line", "undone", "retry", "progress")
PLANS = {
    "pauses": Plan(strikes={PauseMachine: 4, PauseSupervisor: 1}, every=1.8, posts=(*STEADY, "fan", "long")),
    "late_answers": Plan(strikes={LateAnswers: 1}, every=1.8, posts=(*STEADY, "fan", "long")),
    "deaths": Plan(strikes={KillWorker: 3, KillMachine: 2}, every=2.2, posts=(*STEADY, "fan", "long")),
    "workers": Plan(
        strikes={KillWorker: 1}, every=1.0, posts=(*STEADY, "fan", "long"), jobs_a_second=7.0
    ),
    "suspects": Plan(
        strikes={KillWorker: 1}, every=8.0, posts=("line", "undone"), first=("poison exit", "poison segfault"),
        workers=1,
    ),
    "forgetting": Plan(
        strikes={FlushBoard: 1}, every=0.9, posts=("line", "fan", "progress"), jobs_a_second=8.0
    ),
    "holds": Plan(
        strikes={KillWorker: 4, KillMachine: 1}, every=1.2, posts=("long", "progress", "fan"), meddles=True
    ),
    "permits": Plan(strikes={KillWorker: 1}, every=2.0, posts=("locked", "counted"), jobs_a_second=5.0),
    "chains": Plan(strikes={KillWorker: 1}, every=2.0, posts=("chain", "broken set"), jobs_a_second=1.0),
    "signals": Plan(strikes={KillWorker: 1}, every=0.8, posts=("signals",), jobs_a_second=4.0),
    "apart": Plan(
        strikes={KillWorker: 3, KillSupervisor: 1}, every=1.0, posts=("apart",), jobs_a_second=4.0, meddles=True
    ),
    "expiries": Plan(
        strikes={KillWorker: 1}, every=2.0, posts=("expires soon", "expires in line"), jobs_a_second=6.0, meddles=True
    ),
    "places": Plan(
        strikes={KillWorker: 2, KillMachine: 1}, every=1.8, posts=("pinned", "prefers", "everywhere"), meddles=True
    ),
    "uniques": Plan(strikes={KillWorker: 1}, every=2.0, posts=("only",), jobs_a_second=6.0, meddles=True),
    "leaders": Plan(strikes={KillLeader: 1}, every=5.0, posts=("line",), jobs_a_second=12.0),
}  # fmt: skip


class Planned(Harness):
    """A run by a plan."""

    plan: Plan

    def schedule(self) -> list[Draw]:
        options = self.options
        return self.plan.draw(
            options.seed, seconds=options.seconds * QUIET, machines=self.names, lease=options.lease
        )

    def catalogue(self) -> dict[str, type[Fault]]:
        return {**catalogue(), **{kind.name: kind for kind in harm.KINDS}}

    def kinds(self) -> list[Kind]:
        return self.plan.post(self.options.seed, self.options.jobs, str(self.evidence))

    @property
    def meddles(self) -> bool:
        return self.plan.meddles


class Broken(Jobrunner):
    """jobrunner with something broken in each process of its conductors.

    :param mutant: a name in MUTANTS
    """

    def __init__(self, mutant: str) -> None:
        super().__init__(startup=STARTUP)
        self.name = f"jobrunner, {mutant}"
        self._mutant = mutant

    def environment(self, servers: Servers, *, node: str, lease: float, workers: int) -> dict[str, str]:
        own = {"CHAOS_MUTANT": self._mutant}
        return {**super().environment(servers, node=node, lease=lease, workers=workers), **own}
