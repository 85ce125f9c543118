"""The machine and the versions that a run's figures belong to."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench.rows import cores
from bench.servers import Servers, filesystem_of

PACKAGES = ("jobrunner", "taskflow", "sqlalchemy", "redis", "PyMySQL", "psycopg")
FLUSHES = 200


def describe(servers: Servers) -> dict[str, Any]:
    """Machine, disk and versions, for people to compare like with like."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "file_system": filesystem_of(servers.directory),
        "flush_ms": _flush_ms(servers.directory),
        "load_at_start": round(os.getloadavg()[0], 2),
        "versions": versions(servers),
    }


def versions(servers: Servers) -> dict[str, str]:
    """The versions of what takes part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    with servers.redis.client() as client:
        found["redis server"] = client.info("server")["redis_version"]
    found["mariadb server"] = str(servers.mariadb.execute("SELECT VERSION()")[0][0])
    if servers.postgresql is not None:
        found["postgresql server"] = str(servers.postgresql.execute("SHOW server_version")[0][0])
    return found


def as_lines(machine: dict[str, Any]) -> list[str]:
    """The description in two or three lines."""
    return [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:g} GB, Linux {machine['kernel']}, "
        f"{machine['file_system']}: a flush takes {machine['flush_ms']:.2f} ms; "
        f"load at the start {machine['load_at_start']:g}",
        ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _flush_ms(directory: Path) -> float:
    """The median time in milliseconds that a small write takes to reach the disk: the price of a commit."""
    path = directory / "flushed"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(FLUSHES):
            start = time.perf_counter()
            file.write(b"x" * 512)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    path.unlink()
    return statistics.median(taken) * 1000
