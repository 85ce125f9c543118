"""What a conductor uses: memory, threads, descriptors, and the processor while it has nothing to do."""

from __future__ import annotations

import threading

import psutil
import pytest

from tests.support.conductors import Cluster

MIB = 1024 * 1024
IDLE_S = 3.0
OPEN = 5_000


@pytest.fixture(autouse=True)
def _cold(request: pytest.FixtureRequest) -> None:
    """Memory that comes from the interpreter of tests would not count."""
    for name in {"networked", "anywhere"} & set(request.fixturenames):
        request.getfixturevalue(name).cold = True


def resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MIB


def test_a_worker_uses_no_more_after_many_jobs_than_before(networked: Cluster) -> None:
    conductor = networked.start()
    networked.succeeded(*networked.post_many("quick", count=100))
    [worker] = conductor.workers()
    supervisor = psutil.Process(conductor.process.pid)
    before = (worker.num_threads(), worker.num_fds(), resident(worker), resident(supervisor))
    networked.succeeded(*networked.post_many("quick", count=400))
    networked.until(lambda: worker.num_threads() <= before[0] + 1, "no more threads", within=5)
    networked.until(lambda: worker.num_fds() <= before[1] + 2, "no more descriptors", within=5)
    assert resident(worker) - before[2] < 6
    assert resident(supervisor) - before[3] < 3
    print(f"worker {resident(worker):.0f} MiB, supervisor {resident(supervisor):.0f} MiB")
    assert resident(worker) < 110
    assert resident(supervisor) < 66


@pytest.mark.thorough
def test_many_open_jobs_cost_the_supervisor_little(networked: Cluster) -> None:
    """Until the leader has compared them all, which ends with a note for those that nobody can claim."""
    conductor = networked.start(conductor__lease=2)
    networked.succeeded(networked.post("quick"))
    supervisor = psutil.Process(conductor.process.pid)
    before = resident(supervisor)
    [first, *_] = networked.post_many("quick", count=OPEN, posting={"node": "nowhere"})
    networked.until(lambda: networked.job(first).note is not None, "compared", within=30)
    print(f"{OPEN} open jobs: {resident(supervisor) - before:.1f} MiB more")
    assert resident(supervisor) - before < 2


def test_an_idle_conductor_hardly_uses_the_processor(anywhere: Cluster) -> None:
    conductor = anywhere.start(conductor__lease=10)
    anywhere.succeeded(anywhere.post("quick"))
    processes = [psutil.Process(conductor.process.pid), *conductor.workers()]
    threading.Event().wait(1.0)  # what the first job brought about comes to its end
    before = [sum(process.cpu_times()[:2]) for process in processes]
    threading.Event().wait(IDLE_S)
    shares = [
        (sum(process.cpu_times()[:2]) - used) / IDLE_S * 100
        for process, used in zip(processes, before, strict=True)
    ]
    print("idle, percent of a core:", [f"{share:.2f}" for share in shares])
    assert max(shares) < 2.0
