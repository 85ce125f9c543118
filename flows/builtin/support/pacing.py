"""How fast a task may go, and when it has to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from jobrunner import stopping
from jobrunner.quantities import parse_size

MAX_CHUNK_BYTES = 1024 * 1024
MIN_CHUNK_BYTES = 1024
_SLICE_SECONDS = 0.1
_CREDIT_SECONDS = 1.0


def check_stop() -> None:
    """Raise Stopped if the work of the task is not wanted any more.

    A conductor that shuts down (``suspend``) waits a while for atoms under way. Work that would have to be done again
    from its start is better finished in that time, so it goes on.
    """
    reason = stopping.stop_reason()
    if reason is not None and reason != "suspend":
        raise stopping.Stopped(f"stopped: {reason}")


def pause(seconds: float) -> None:
    """Wait for ``seconds``; raises Stopped as soon as the work is not wanted any more."""
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        if stopping.stop_requested():
            check_stop()
            threading.Event().wait(min(remaining, _SLICE_SECONDS))
        else:
            stopping.wait_for_stop(remaining)
    check_stop()


def rate_of(text: str | None) -> int | None:
    """Bytes a second from a size such as ``5MiB``; None, for no limit, if there is none or it is zero.

    Raises ValueError.
    """
    return None if text is None else parse_size(text) or None


class Throttle:
    """Holds a stream of bytes to a rate, in bytes a second; without a rate it only looks whether to stop."""

    def __init__(
        self,
        rate: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = pause,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._wait = wait
        self._free_at = clock()

    @property
    def chunk_bytes(self) -> int:
        """How much to read at once, so that the waits between two reads stay short."""
        if self._rate is None:
            return MAX_CHUNK_BYTES
        return max(MIN_CHUNK_BYTES, min(MAX_CHUNK_BYTES, int(self._rate * _SLICE_SECONDS)))

    def took(self, size: int) -> None:
        """Account for ``size`` bytes, and wait until the rate allows the next; raises Stopped."""
        check_stop()
        if self._rate is None:
            return
        now = self._clock()
        # Unused time counts for a moment only, or a long wait on a slow disk would be followed by a long burst.
        self._free_at = max(self._free_at, now - _CREDIT_SECONDS) + size / self._rate
        if self._free_at > now:
            self._wait(self._free_at - now)
