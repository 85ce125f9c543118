"""The processor cores of this machine: on which this process may run, how much each is used, which belong together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

Cores = frozenset[int]
Times = Mapping[int, tuple[float, float]]
"""Of each core, how long it was in use, and for how long it was counted, both since the machine started."""

STAT = Path("/proc/stat")
SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cores_allowed() -> Cores:
    """The cores on which the calling thread may run; one that was taken away is not among them."""
    return frozenset(os.sched_getaffinity(0))


def core_times(stat: Path = STAT) -> Times:
    """How much each core was used; raises OSError where the system does not tell. In containers, of all the machine's.

    In ticks: see proc_stat(5). What the host of a virtual machine took away counts as idle: no other process here has
    it, and another core would be taken away next.
    """
    lines = stat.read_text(encoding="ascii", errors="replace").splitlines()
    try:
        return dict(_core_time(line) for line in lines if line[:3] == "cpu" and line[3] != " ")
    except (ValueError, IndexError) as error:
        raise OSError(f"{stat} is not as proc_stat(5) says") from error


def _core_time(line: str) -> tuple[int, tuple[float, float]]:
    name, *rest = line.split()
    # What guests used, which comes last, is in what their hosts did already.
    user, nice, system, idle, iowait, irq, softirq, steal = (int(value) for value in rest[:8])
    used = user + nice + system + irq + softirq
    return int(name[3:]), (float(used), float(used + idle + iowait + steal))


def shares(before: Times, now: Times) -> dict[int, float]:
    """How much of each core was used between two looks, from 0 to 1; nothing of one that was not counted."""
    found = {}
    for core, (used, total) in now.items():
        used_before, total_before = before.get(core, (used, total))
        if total > total_before:
            found[core] = (used - used_before) / (total - total_before)
    return found


def spread(cores: Iterable[int]) -> list[int]:
    """Cores in the order in which they are to be taken: of hardware threads that share a core first one, then others.

    The kernel does so as well; their numbers are next to each other on some machines, and far apart on others.
    """
    taken: Counter[str] = Counter()
    order = []
    for core in sorted(cores):
        siblings = siblings_of(core)
        order.append((taken[siblings], core))
        taken[siblings] += 1
    return [core for _, core in sorted(order)]


def siblings_of(core: int) -> str:
    """The same text for all hardware threads of one core."""
    try:
        return Path(SIBLINGS.format(core)).read_text()
    except OSError:
        return str(core)
