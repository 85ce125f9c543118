"""Times as all parts of jobrunner keep them."""

from __future__ import annotations

import time


def now_ms() -> int:
    """This machine's time, in milliseconds since the epoch, UTC. For durations there are steady clocks."""
    return time.time_ns() // 1_000_000
