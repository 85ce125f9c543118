"""A busy worker's own threads keep to one core; whatever else runs in it has all of them."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from taskflow import retry
from taskflow.patterns import graph_flow, linear_flow
from taskflow.task import EVENT_UPDATE_PROGRESS

from jobrunner.assemble import make_worker
from jobrunner.conductor.channel import Channel
from jobrunner.conductor.turns.baton import Baton
from jobrunner.conductor.turns.cores import cores_allowed
from jobrunner.conductor.turns.own_core import OwnCore
from jobrunner.model import JobState
from tests.support.conductors import Cluster
from tests.support.runs import Calls, Note, Runs

ALL = cores_allowed()

pytestmark = pytest.mark.skipif(
    len(ALL) < 2, reason="this process may use one core only: there is nothing to bind to"
)


def cores_of(worker: psutil.Process) -> dict[int, str]:
    """The cores of each of its threads, as the kernel has them."""
    found = {}
    for task in Path(f"/proc/{worker.pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except OSError:  # it has ended meanwhile
            continue
        found[int(task.name)] = status.split("Cpus_allowed_list:")[1].split()[0]
    return found


def bound(worker: psutil.Process) -> set[int]:
    """The threads that keep to one core."""
    return {thread for thread, cores in cores_of(worker).items() if cores.isdigit()}


def where_it_ran(cluster: Cluster, *types: str) -> None:
    """Fail unless the code of jobs of these types, and all that it started, had all cores."""
    told = [cluster.post(name) for name in types]
    cluster.succeeded(*told)
    for job_id in told:
        job = cluster.job(job_id)
        where = job.result["where"]
        assert where == dict.fromkeys(where, sorted(ALL)), f"{job.type}: {where}"


def test_a_busy_worker_keeps_to_one_core_its_tasks_do_not_and_a_quiet_one_neither(embedded: Cluster) -> None:
    conductor = embedded.start(conductor__lease=10)
    [worker] = conductor.workers()
    assert not bound(worker)
    claims, writes = sorted(cores_of(worker))[:2]  # the journal's writer is the first thread that is started
    spin = embedded.post("spin", gate=embedded.gate())

    def ran_while_bound() -> bool:
        before = bound(worker)
        where_it_ran(embedded, "where", "where_in_a_pool")
        return {claims, writes} < before & bound(worker)  # and some that have run jobs

    embedded.until(ran_while_bound, "the worker's own threads keep to a core")
    where_it_ran(embedded, "where_alone")
    embedded.open(embedded.gate())
    embedded.succeeded(spin)
    embedded.until(lambda: not bound(worker), "no thread keeps to a core")


@pytest.mark.parametrize("wanted", [True, False])
def test_it_can_be_switched_off(embedded: Cluster, wanted: bool) -> None:
    section = embedded.config.conductor.model_copy(update={"cpu_affinity": wanted})
    config = embedded.config.model_copy(update={"conductor": section})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = make_worker(config, Channel(theirs), owner="a:1:a/0.b", once=False, alone=False, place=0)
        core = worker.parts.core
        core.look()
        end = time.process_time() + 0.05
        while time.process_time() < end:
            sum(range(1000))
        core.look()
        worker._database.close()
    assert (core.chosen is not None) == wanted


# -- what is not ours


class Told(list[frozenset[int]]):
    """The cores on which somebody else's code was run."""

    def tells(self, answer: Any = None) -> Callable[..., Any]:
        def tell(*args: Any, **given: Any) -> Any:
            self.append(cores_allowed())
            return answer

        return tell


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def busy(runs: Runs) -> OwnCore:
    """The core of a worker that has just become busy, and runs what ``runs`` does."""
    clock = map(float, itertools.count())
    core = OwnCore(0, used_s=lambda: next(clock), clock=lambda: next(clock))
    core.look()
    assert core.chosen is not None
    runs.baton = Baton(core)
    return core


def run_in_thread(runs: Runs, job_id: str) -> JobState:
    with ThreadPoolExecutor(1) as pool:
        state = pool.submit(runs.run, job_id).result().state
        assert pool.submit(cores_allowed).result() == {runs.baton.core.chosen}
    return state


@pytest.mark.parametrize("engine", ["serial", "parallel"])
def test_what_a_flows_author_wrote_has_all_cores(runs: Runs, busy: OwnCore, told: Told, engine: str) -> None:
    class Tells(Note):
        def execute(self, *args: Any, **given: Any) -> Any:
            told.append(cores_allowed())
            return super().execute(*args, **given)

        def revert(self, *args: Any, **given: Any) -> None:
            told.append(cores_allowed())

    class Once(retry.Times):  # type: ignore[misc]
        def execute(self, *args: Any, **given: Any) -> Any:
            told.append(cores_allowed())
            return super().execute(*args, **given)

        def on_failure(self, *args: Any, **given: Any) -> Any:
            told.append(cores_allowed())
            return super().on_failure(*args, **given)

        def revert(self, *args: Any, **given: Any) -> None:
            told.append(cores_allowed())

    def fails() -> None:
        raise ValueError("it fails")

    calls: Calls = []

    def flow() -> Any:
        told.append(cores_allowed())
        a, b = Tells("a", calls), Tells("b", calls, does=fails)
        found = graph_flow.Flow("f", retry=Once(1, "tries")).add(a, b)
        return found.link(a, b, decider=told.tells(True))

    assert run_in_thread(runs, runs.post(flow, engine=engine)) is JobState.REVERTED
    # the factory, the retry, a, the decider, b, the retry's strategy, the two reverts, the retry's revert
    assert told == [ALL] * 9


def test_who_listens_to_a_tasks_progress_has_all_cores(runs: Runs, busy: OwnCore, told: Told) -> None:
    def flow() -> Any:
        task = Note("a", [])
        task.notifier.register(EVENT_UPDATE_PROGRESS, told.tells())
        return linear_flow.Flow("f").add(task)

    assert run_in_thread(runs, runs.post(flow)) is JobState.SUCCEEDED
    assert told == [ALL] * 2
