"""What the processes of a run use."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

from tests.chaos.case import Use
from tests.chaos.machines import Machine


def uses(machines: Iterable[Machine]) -> list[tuple[str, str, Use]]:
    """Of each process its role, who it is, and what it uses now."""
    found = []
    for machine in machines:
        for role, processes in machine.processes().items():
            for process in processes:
                try:
                    use = Use(
                        descriptors=process.num_fds(),
                        threads=process.num_threads(),
                        memory_kb=process.memory_info().rss // 1024,
                    )
                except psutil.NoSuchProcess:
                    continue
                found.append((role, f"{machine.name}, process {process.pid}", use))
    return found


def most_by_role(found: list[tuple[str, str, Use]]) -> dict[str, Use]:
    """The most that a process of each role uses."""
    roles = {role for role, _, _ in found}
    return {role: Use.most(use for other, _, use in found if other == role) for role in roles}
