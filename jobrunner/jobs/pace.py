"""How often somebody who waits looks at the database: soon at first, then less and less often."""

from __future__ import annotations

import time

FIRST_S = 0.02
LONGEST_S = 0.5
GROWTH = 1.3


class Pace:
    """The pauses between looks.

    :param timeout: seconds from now on, which no pause outlasts; None: for as long as it takes
    """

    def __init__(self, timeout: float | None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pause = FIRST_S

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def quicken(self) -> None:
        """Something happened, so more may soon: begin with short pauses again."""
        self._pause = FIRST_S

    def rest(self) -> None:
        """Pause until it is time for the next look."""
        left = self._pause if self._deadline is None else self._deadline - time.monotonic()
        time.sleep(max(0.0, min(self._pause, left)))
        self._pause = min(self._pause * GROWTH, LONGEST_S)
