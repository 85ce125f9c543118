"""Jobrunner's own lines in the peers' table: the same measurements as in the main one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from statistics import median
from typing import Any

from bench import place
from bench.ours.drained import drain
from bench.ours.latency import idle_latency
from bench.place import Place
from bench.servers import Servers
from jobrunner import __version__

JOBS, STEP_JOBS, STEPS = 2000, 150, 10
LATENCIES = 100
REPEAT = 2

PLACES: dict[str, Callable[[Servers], contextlib.AbstractContextManager[Place]]] = {
    "Redis + MariaDB": place.on_servers,
    "Redis + PostgreSQL": lambda servers: place.on_postgresql(servers, redis=True),
    "PostgreSQL": lambda servers: place.on_postgresql(servers, redis=False),
    "MariaDB": place.on_mariadb,
}


def measure(servers: Servers, where: str) -> dict[str, Any]:
    """One line: jobrunner with one worker process on these servers."""
    with PLACES[where](servers) as ours:
        jobs = median(drain(ours, number=JOBS).rate for _ in range(REPEAT))
        steps = median(drain(ours, number=STEP_JOBS, atoms=STEPS).rate * STEPS for _ in range(REPEAT))
        latency = idle_latency(ours, number=LATENCIES)
    return {
        "name": f"jobrunner, {where}",
        "version": __version__,
        "keeps": where.replace("Redis + ", ""),
        "jobs": JOBS,
        "jobs_per_s": jobs,
        "idle_p50_ms": latency.p50,
        "idle_p99_ms": latency.p99,
        "steps_per_s": steps,
    }
