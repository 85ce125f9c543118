"""What a conductor says of its node."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import psutil


def node_report(
    *,
    processes: int,
    slots: int,
    running: int,
    ended: int,
    types: list[str],
    version: str,
    rivals: list[str],
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
        "rivals": rivals,
        "labels": list(labels),
        "load": list(os.getloadavg()),
        "cpus": os.cpu_count(),
        "memory_total": memory.total,
        "memory_available": memory.available,
        "python": platform.python_version(),
        "version": version,
        "host": platform.node(),
    }
