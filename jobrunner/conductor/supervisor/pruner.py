"""The pruner: removes finished jobs that the configuration does not keep any longer.

It runs on one node at a time, under a lease of its own, so that the work is not done twice; if it is, nothing is
harmed. A conductor that ends leaves it after the batch that is under way; what is left is for the next round, on any
node.
"""

from __future__ import annotations

import logging
import threading
import time

from jobrunner import times
from jobrunner.config import RetentionSection
from jobrunner.persistence import retention
from jobrunner.persistence.nodes import take_lease
from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

PRUNER_LEASE = "pruner"
LEASE_MIN_S = 10.0
"""A batch that takes longer may find that another node prunes as well."""


class Pruner:
    """Prunes, a kind of jobs after the other.

    :param holder: the identity of the conductor that runs it
    :param ending: set when the conductor ends
    """

    def __init__(
        self, database: Database, section: RetentionSection, *, holder: str, ending: threading.Event
    ) -> None:
        self._database = database
        self._section = section
        self._holder = holder
        self._ending = ending
        self._leads_until = 0.0

    def run_if_leader(self) -> int:
        """One round, if this conductor is, or becomes, the one that prunes; how many jobs were removed."""
        if not self._leads():
            return 0
        removed = 0
        for kind in retention.kinds(self._database):
            limits = retention.limits_of(kind, self._section, times.now_ms())
            if limits and not self._ending.is_set():
                done = retention.prune(self._database, kind, limits, go_on=self._goes_on)
                removed += done.removed
        if removed:
            log.info("removed %d finished jobs that are not kept any longer", removed)
        return removed

    def _goes_on(self, pause: float) -> bool:
        return not self._ending.wait(pause) and self._leads()

    def _leads(self) -> bool:
        """Whether the lease is held until the next round; it is renewed when half of it is over."""
        lease = max(LEASE_MIN_S, 2 * self._section.every)
        if time.monotonic() > self._leads_until - lease / 2:
            if not take_lease(self._database, PRUNER_LEASE, self._holder, seconds=lease):
                return False
            self._leads_until = time.monotonic() + lease
        return True
