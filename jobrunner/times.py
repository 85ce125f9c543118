"""Times as all parts of jobrunner keep them."""

from __future__ import annotations

import time

LONGEST_S = 10**9
"""No delay or time limit is longer: 31 years."""
LAST_MS = 253_402_300_799_999
"""The end of the year 9999, UTC."""


def now_ms() -> int:
    """This machine's time, in milliseconds since the epoch, UTC. For durations there are steady clocks."""
    return time.time_ns() // 1_000_000
