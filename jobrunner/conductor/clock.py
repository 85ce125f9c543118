"""The clock for leases: it goes on while the machine sleeps, and does not jump when somebody sets the time."""

from __future__ import annotations

import time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> float:
    """Seconds since the machine started, sleep included; comparable between the processes of one machine."""
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
