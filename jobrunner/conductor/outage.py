"""Saying that something is away once, not at every try."""

from __future__ import annotations

import logging
import threading

from jobrunner.errors import JobrunnerError


class Outage:
    """Logs when something goes away and when it is back, once each. Safe for several threads."""

    def __init__(self, log: logging.Logger, doing: str) -> None:
        self._log = log
        self._doing = doing
        self._is_away = False
        self._lock = threading.Lock()

    def goes_on(self, error: JobrunnerError) -> None:
        """Something is away: tried again, and said again only after it was back."""
        with self._lock:
            first, self._is_away = not self._is_away, True
        if first:
            self._log.warning("%s: %s It is tried again until it works.", self._doing, error.sentence)

    def is_over(self) -> None:
        """It worked."""
        if self._is_away:
            with self._lock:
                self._is_away = False
            self._log.warning("%s: works again", self._doing)
