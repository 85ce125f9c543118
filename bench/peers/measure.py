"""Measure one peer: ``python -m bench.peers.measure MODULE DIRECTORY``, in the peers' environment; prints JSON."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.peers.peer import Peer
from bench.samples import percentile
from bench.stamps import Stamp, StampFile, StampPipe

STEPS = 10
STEP_JOBS = 150
LATENCIES = 60
WARM_UP = 5
PAUSE_S = (0.05, 0.15)
DEADLINE_S = 40.0
STOP_S = 15.0


def main() -> None:
    module, directory = sys.argv[1], Path(sys.argv[2])
    peer: Peer = importlib.import_module(f"bench.peers.{module}").PEER()
    peer.prepare()
    try:
        found = {"name": peer.name, "version": peer.version, "keeps": peer.keeps, **measure(peer, directory)}
    finally:
        peer.close()
    print(json.dumps(found))


def measure(peer: Peer, directory: Path) -> dict[str, Any]:
    """Jobs a second, milliseconds from posting to start when idle, and steps a second where there are steps."""
    found: dict[str, Any] = {"jobs": peer.jobs, "jobs_per_s": drained(peer, directory)}
    samples = idle_latency(peer, directory)
    found |= {"idle_p50_ms": percentile(samples, 50), "idle_p99_ms": percentile(samples, 99)}
    return found | {"steps_per_s": steps(peer, directory)}


def drained(peer: Peer, directory: Path) -> float:
    """Post jobs, start the worker; jobs a second from the first start to the last."""
    stamps = StampFile(directory)
    for _ in range(peer.jobs):
        peer.post(str(stamps.path))
    with running_worker(peer, directory) as require_alive:
        return _rate(stamps.wait_for(peer.jobs, DEADLINE_S, require_alive))


def steps(peer: Peer, directory: Path) -> float | None:
    """The same for the steps of ten-step jobs; None where there is no such thing."""
    stamps = StampFile(directory)
    if not all(peer.post_steps(str(stamps.path), STEPS) for _ in range(STEP_JOBS)):
        return None
    with running_worker(peer, directory) as require_alive:
        return _rate(stamps.wait_for(STEPS * STEP_JOBS, DEADLINE_S, require_alive))


def idle_latency(peer: Peer, directory: Path) -> list[float]:
    """Milliseconds from before posting to the start, one job after the other."""
    samples = []
    with StampPipe(directory) as pipe, running_worker(peer, directory):
        for count in range(WARM_UP + LATENCIES):
            time.sleep(random.uniform(*PAUSE_S))
            posted_ns = time.monotonic_ns()
            peer.post(str(pipe.path))
            started = pipe.next(DEADLINE_S)
            if count >= WARM_UP:
                samples.append((started.at_ns - posted_ns) / 1e6)
    return samples


def _rate(stamps: list[Stamp]) -> float:
    moments = sorted(stamp.at_ns for stamp in stamps)
    return (len(moments) - 1) / ((moments[-1] - moments[0]) / 1e9)


@contextlib.contextmanager
def running_worker(peer: Peer, directory: Path) -> Iterator[Callable[[], None]]:
    """The peer's worker in a session of its own, ended with all its children; yields what raises once it has ended."""
    with (directory / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            peer.worker(),
            env={**os.environ, **peer.worker_environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def require_alive() -> None:
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with status {process.returncode}")

    try:
        yield require_alive
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):  # the group is empty: all have left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
