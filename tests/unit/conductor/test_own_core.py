"""The core of a busy worker: when one is taken, changed and given back, and which threads are bound to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from jobrunner.conductor.turns.baton import Baton
from jobrunner.conductor.turns.cores import Times, cores_allowed
from jobrunner.conductor.turns.own_core import LOOK_S, REST_S, OwnCore, core_for

PULSE_S = 0.25
ALL = cores_allowed() if hasattr(os, "sched_getaffinity") else frozenset()

T = TypeVar("T")


class Machine:
    """Cores whose use is set, and a worker on them; nothing is bound until a thread asks for it."""

    def __init__(self, *cores: int, place: int | None = 0) -> None:
        self.now = 1000.0
        self.used = 0.0
        self.allowed = frozenset(cores)
        self.ticks = dict.fromkeys(cores, (0.0, 0.0))
        self.counts = True
        self.core = OwnCore(
            place,
            allowed=lambda: self.allowed,
            used_s=lambda: self.used,
            cores=self._times,
            clock=lambda: self.now,
        )

    def _times(self) -> Times:
        if not self.counts:
            raise OSError("no such file")
        return dict(self.ticks)

    def goes_on(
        self, seconds: float, *, uses: float, others: dict[int, float] | None = None, looks: bool = True
    ) -> int | None:
        """So long the worker uses such a share of a core, and others theirs of each; the core chosen by then."""
        for _ in range(round(seconds / PULSE_S)):
            self.now += PULSE_S
            self.used += uses * PULSE_S
            for core, (used, total) in self.ticks.items():
                share = (others or {}).get(core, 0.0) + (uses if core == self.core.chosen else 0.0)
                self.ticks[core] = (used + min(share, 1.0) * 100 * PULSE_S, total + 100 * PULSE_S)
            if looks:
                self.core.look()
        return self.core.chosen


def in_thread(work: Callable[[], T]) -> T:
    """What it returns in a thread of its own, whose cores nobody else finds changed."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


# -- when


def test_a_busy_worker_takes_a_core_and_a_quiet_one_gives_it_back() -> None:
    machine = Machine(0, 1, 2, 3)
    assert machine.goes_on(3, uses=0.1) is None
    assert machine.goes_on(PULSE_S, uses=0.5) is not None
    taken = machine.core.chosen
    assert machine.goes_on(5, uses=0.1) == taken  # between the two limits nothing changes
    assert machine.goes_on(LOOK_S + PULSE_S, uses=0.01) is None
    assert machine.goes_on(PULSE_S, uses=0.5) == taken


def test_workers_of_one_conductor_start_on_different_cores() -> None:
    machines = [Machine(2, 3, 6, 7, place=place) for place in range(5)]
    taken = [machine.goes_on(PULSE_S, uses=1.0) for machine in machines]
    assert set(taken[:4]) == {2, 3, 6, 7}
    assert taken[4] == taken[0]


def test_a_worker_that_nobody_disturbs_keeps_its_core() -> None:
    machine = Machine(0, 1, 2, 3)
    taken = machine.goes_on(PULSE_S, uses=0.9)
    busy = dict.fromkeys(range(4), 0.2)
    assert {machine.goes_on(LOOK_S, uses=0.6, others=busy) for _ in range(5)} == {taken}


def test_a_worker_whose_core_others_use_moves_to_a_freer_one_and_stays_there() -> None:
    """Two conductors on one machine begin on the same cores."""
    machine = Machine(0, 1, 2, 3)
    taken = machine.goes_on(PULSE_S, uses=0.5)
    assert taken is not None
    free = (taken + 1) % 4
    others = dict.fromkeys(range(4), 0.5) | {free: 0.1}
    assert machine.goes_on(LOOK_S, uses=0.5, others=others) == free
    assert {machine.goes_on(LOOK_S, uses=0.5, others=others) for _ in range(5)} == {free}


def test_a_worker_does_not_move_between_cores_that_are_equally_used() -> None:
    machine = Machine(0, 1, 2, 3)
    taken = machine.goes_on(PULSE_S, uses=0.5)
    others = dict.fromkeys(range(4), 0.4)
    assert {machine.goes_on(LOOK_S, uses=0.5, others=others) for _ in range(10)} == {taken}


def test_where_all_cores_are_crowded_the_kernel_chooses_for_a_while() -> None:
    machine = Machine(0, 1)
    machine.goes_on(PULSE_S, uses=0.3)
    crowded = {0: 0.7, 1: 0.7}
    assert machine.goes_on(LOOK_S, uses=0.3, others=crowded) is None
    assert machine.goes_on(REST_S - PULSE_S, uses=0.3, others=crowded) is None
    assert machine.goes_on(PULSE_S, uses=0.3) is not None


def test_tasks_that_compute_on_other_cores_are_not_taken_for_others() -> None:
    machine = Machine(0, 1, 2, 3)
    taken = machine.goes_on(PULSE_S, uses=3.0)
    assert {machine.goes_on(LOOK_S, uses=3.0) for _ in range(3)} == {taken}


def test_counting_that_stops_or_stands_still_changes_nothing() -> None:
    machine = Machine(0, 1)
    taken = machine.goes_on(PULSE_S, uses=0.3)
    machine.ticks = dict.fromkeys((0, 1), (0.0, -1000.0))  # iowait may go backwards, see proc_stat(5)
    assert machine.goes_on(LOOK_S, uses=0.3) == taken
    machine.counts = False
    assert machine.goes_on(2 * LOOK_S, uses=0.3) == taken


@pytest.mark.parametrize("cores", [(), (3,)])
def test_with_one_core_there_is_nothing_to_choose(cores: tuple[int, ...]) -> None:
    assert Machine(*cores).goes_on(5, uses=1.0) is None


def test_where_the_system_does_not_count_nothing_is_bound() -> None:
    machine = Machine(0, 1)
    machine.counts = False
    assert machine.goes_on(5, uses=1.0) is None


def test_cores_of_which_the_system_does_not_tell_are_not_taken() -> None:
    """In some containers it tells of as many as there may be used, with other numbers."""
    machine = Machine(0, 1, 6, 7)
    del machine.ticks[6], machine.ticks[7]
    assert machine.goes_on(PULSE_S, uses=1.0) in {0, 1}
    machine = Machine(6, 7)
    machine.ticks = {0: (0.0, 0.0), 1: (0.0, 0.0)}
    assert machine.goes_on(5, uses=1.0) is None


def test_a_core_that_may_not_be_used_any_more_is_given_up_at_once() -> None:
    machine = Machine(0, 1, 2, 3)
    taken = machine.goes_on(PULSE_S, uses=0.5)
    machine.allowed -= {taken}
    assert machine.goes_on(PULSE_S, uses=0.5) in machine.allowed
    assert machine.goes_on(LOOK_S, uses=0.5) in machine.allowed


@pytest.mark.parametrize("core", [core_for(None, wanted=True), core_for(0, wanted=False)])
def test_who_has_no_place_or_shall_have_no_core_is_left_alone(core: OwnCore) -> None:
    end = threading.Event()
    burner = threading.Thread(target=lambda: [None for _ in iter(end.is_set, True)])
    burner.start()
    try:
        for _ in range(3):
            threading.Event().wait(0.02)
            core.look()
    finally:
        end.set()
        burner.join()
    assert core.chosen is None


def test_a_system_without_the_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    monkeypatch.delattr(os, "sched_getaffinity")
    core = core_for(0, wanted=True)
    core.look()
    core.stay()
    with core.left():
        pass
    assert core.chosen is None


# -- which threads

bound = pytest.mark.skipif(
    len(ALL) < 2, reason="this process may use one core only: there is nothing to bind to"
)


@pytest.fixture
def machine() -> Machine:
    """One with this process's cores, whose worker has just become busy."""
    found = Machine(*ALL)
    found.goes_on(PULSE_S, uses=0.5)
    assert found.core.chosen in ALL
    return found


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[int]]:
    """What the kernel was asked for."""
    asked: list[frozenset[int]] = []
    bind = os.sched_setaffinity

    def count(pid: int, cores: frozenset[int]) -> None:
        asked.append(frozenset(cores))
        bind(pid, cores)

    monkeypatch.setattr(os, "sched_setaffinity", count)
    return asked


@bound
def test_a_thread_that_stays_is_bound_and_what_it_leaves_the_core_for_is_not(machine: Machine) -> None:
    def work() -> list[frozenset[int]]:
        machine.core.stay()
        seen = [cores_allowed()]
        with machine.core.left():
            seen.append(cores_allowed())
        return [*seen, cores_allowed()]

    own = frozenset({machine.core.chosen})
    assert in_thread(work) == [own, ALL, own]


@bound
def test_threads_and_processes_that_somebody_elses_code_starts_have_all_cores(machine: Machine) -> None:
    program = "import os; print(sorted(os.sched_getaffinity(0)))"

    def work() -> tuple[frozenset[int], str]:
        machine.core.stay()
        with machine.core.left():
            return in_thread(cores_allowed), subprocess.check_output(
                [sys.executable, "-Sc", program], text=True
            )

    assert in_thread(work) == (ALL, f"{sorted(ALL)}\n")


@bound
def test_a_thread_that_does_not_stay_has_all_cores_whoever_started_it(machine: Machine) -> None:
    """As the threads of a parallel engine's pool, which the engine's thread starts."""

    def atom() -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        before = cores_allowed()
        with machine.core.left():
            within = cores_allowed()
        return before, within, cores_allowed()

    def work() -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        machine.core.stay()
        return in_thread(atom)

    assert in_thread(work) == (frozenset({machine.core.chosen}), ALL, ALL)


@bound
def test_somebody_elses_code_has_all_cores_when_the_worker_becomes_quiet_or_busy_meanwhile(
    machine: Machine,
) -> None:
    def work() -> list[frozenset[int]]:
        seen = []
        machine.core.stay()
        with machine.core.left():
            machine.goes_on(LOOK_S, uses=0.0)
            seen.append(cores_allowed())
        seen.append(cores_allowed())
        with machine.core.left():
            machine.goes_on(PULSE_S, uses=0.5)
            seen.append(cores_allowed())
        seen.append(cores_allowed())
        return seen

    seen = in_thread(work)
    assert seen == [ALL, ALL, ALL, {machine.core.chosen}]


@bound
def test_threads_that_wait_are_let_go_when_the_worker_is_quiet(machine: Machine) -> None:
    with ThreadPoolExecutor(1) as waits:
        waits.submit(machine.core.stay).result()
        assert waits.submit(cores_allowed).result() == {machine.core.chosen}
        machine.goes_on(LOOK_S, uses=0.0)
        assert waits.submit(cores_allowed).result() == ALL


@bound
def test_a_thread_that_was_started_by_a_bound_one_is_free_in_a_worker_that_is_quiet_by_then(
    machine: Machine,
) -> None:
    def first_steps() -> frozenset[int]:
        machine.core.stay()
        return cores_allowed()

    def work() -> frozenset[int]:
        machine.core.stay()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(cores_allowed).result() == {machine.core.chosen}
            machine.goes_on(LOOK_S, uses=0.0)
            return pool.submit(first_steps).result()

    assert in_thread(work) == ALL


@bound
def test_an_atom_costs_two_calls_and_none_while_nothing_is_bound(calls: list[frozenset[int]]) -> None:
    machine = Machine(*ALL)

    def atoms() -> None:
        machine.core.stay()
        for _ in range(10):
            with machine.core.left():
                pass
        machine.core.stay()

    def work() -> list[int]:
        made = []
        for uses in (0.0, 0.5, 0.0):
            machine.goes_on(LOOK_S + PULSE_S, uses=uses)
            machine.core.stay()
            calls.clear()
            atoms()
            made.append(len(calls))
        return made

    assert in_thread(work) == [0, 20, 0]


@bound
def test_a_core_that_is_refused_leaves_the_choice_to_the_kernel_and_nobody_bound(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core that was taken away meanwhile, or a sandbox."""
    bind = os.sched_setaffinity

    def refuse(pid: int, cores: frozenset[int]) -> None:
        if len(cores) == 1:
            raise OSError(22, "Invalid argument")
        bind(pid, cores)

    def work() -> tuple[frozenset[int], frozenset[int]]:
        machine.core.stay()
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        with machine.core.left():
            within = cores_allowed()
        machine.goes_on(PULSE_S, uses=0.5)
        machine.core.stay()
        return within, cores_allowed()

    assert in_thread(work) == (ALL, ALL)
    assert machine.goes_on(REST_S - PULSE_S, uses=0.5) is None
    assert machine.goes_on(PULSE_S, uses=0.5) is not None


@bound
def test_a_smaller_set_of_cores_counts_for_somebody_elses_code_too(machine: Machine) -> None:
    """As ``taskset -a`` or a control group sets it while the worker runs."""
    smaller = frozenset({min(ALL)})

    def within() -> frozenset[int]:
        machine.core.stay()
        with machine.core.left():
            return cores_allowed()

    def work() -> tuple[frozenset[int], frozenset[int]]:
        before = within()
        machine.allowed = smaller
        machine.goes_on(PULSE_S, uses=0.5)
        return before, within()

    assert in_thread(work) == (ALL, smaller)


@bound
def test_who_works_with_the_baton_stays_and_lends_it_with_all_cores(machine: Machine) -> None:
    baton = Baton(machine.core)

    def work() -> list[frozenset[int]]:
        with baton.held():
            seen = [cores_allowed()]
            with baton.lent():
                seen.append(cores_allowed())
            return [*seen, cores_allowed()]

    own = frozenset({machine.core.chosen})
    assert in_thread(work) == [own, ALL, own]
