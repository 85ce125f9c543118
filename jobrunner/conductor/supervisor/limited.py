"""The limits that concern a conductor as a whole: those that its configuration says, and that of its own node."""

from __future__ import annotations

from jobrunner.config import Config, Limit
from jobrunner.persistence.permits.configured import Configured
from jobrunner.persistence.permits.limits import configure
from jobrunner.persistence.server.database import Database


class ConfiguredLimits:
    """Tells the store once what the configuration says, for all conductors to heed."""

    def __init__(self, config: Config, database: Database) -> None:
        self._node = config.node_name
        self._wanted = {name: _configured(limit) for name, limit in config.limits.by_semaphore.items()}
        self._database = database
        self._told = False

    def tell(self) -> None:
        """Tell it, unless that was done; raises StoreUnavailable, and then it is to be tried again."""
        if not self._told:
            configure(self._database, self._node, self._wanted)
            self._told = True


def _configured(limit: Limit) -> Configured:
    starts, period_ms = (None, None) if limit.starts is None else limit.starts
    return Configured(count=limit.count, starts=starts, period_ms=period_ms)
