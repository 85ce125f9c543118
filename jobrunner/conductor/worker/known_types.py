"""Which job types a worker knows, and so which jobs are for it; found anew when it is told to load plugins again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from jobrunner.conductor.broken_plugins import in_words
from jobrunner.conductor.channel import Channel
from jobrunner.model import JobClass
from jobrunner.plugins.registry import Registry

log = logging.getLogger(__name__)


class KnownTypes:
    """The job types of one worker. Safe for several threads: what is known is replaced as a whole.

    :param load: finds the plugins; with True, all of them anew
    :param node: whose jobs fit, beside those that are pinned to no node
    """

    def __init__(self, load: Callable[[bool], Registry], node: str, channel: Channel) -> None:
        self._load = load
        self._node = node
        self._channel = channel
        self.registry = load(False)
        self.classes: frozenset[JobClass] = frozenset()
        """The classes of jobs that ask for no capabilities; none until the supervisor was told of the types."""

    def fits(self, cls: JobClass) -> bool:
        """Whether a class's type and node are this worker's."""
        return cls.type in self.registry.job_types and cls.node in (None, self._node)

    def tell(self) -> None:
        """Tell the supervisor which types there are; from now on their jobs are claimed."""
        registry = self.registry
        types = sorted(registry.job_types)
        nodes = (None, self._node)
        self.classes = frozenset(JobClass(type=name, node=node) for name in types for node in nodes)
        isolates = any(job_type.wants_spares for job_type in registry.job_types.values())
        self._channel.send("ready", types=types, problems=in_words(registry.problems), isolates=isolates)

    def reload(self, then: Callable[[], None]) -> None:
        """Load plugins again, in a thread of its own: what a plugin does at its import must not cost leases.

        :param then: called when that is done
        """
        threading.Thread(target=self._load_again, args=(then,), name="reload", daemon=True).start()

    def _load_again(self, then: Callable[[], None]) -> None:
        try:
            self.registry = self._load(True)
            self.tell()
            then()
        except Exception:
            log.exception("the plugins could not be loaded again; the old ones stay")
