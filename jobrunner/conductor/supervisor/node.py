"""What a conductor says of its node."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

import psutil

from jobrunner.conductor.availability import Taken


def node_report(
    *,
    processes: int,
    slots: int,
    running: int,
    ended: int,
    types: list[str],
    isolated: dict[str, Any],
    version: str,
    rivals: list[str],
    taken: Taken,
    gives_way: float,
    labels: Sequence[str] = (),
) -> dict[str, Any]:
    """The node's report: load, memory in bytes, and what the conductor does; ``rivals`` use its name as well."""
    memory = psutil.virtual_memory()
    return {
        "processes": processes,
        "slots": slots,
        "running": running,
        "ended": ended,
        "types": types,
        "isolated": isolated,
        "rivals": rivals,
        "labels": list(labels),
        "load": list(os.getloadavg()),
        "cpus": os.cpu_count(),
        "memory_total": memory.total,
        "memory_available": memory.available,
        "taken": asdict(taken),
        "gives_way": round(gives_way, 3),
        "python": platform.python_version(),
        "version": version,
        "taskflow": metadata.version("taskflow"),
        "host": platform.node(),
    }
