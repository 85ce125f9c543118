"""A node's workers, and what is wished of all of them: claim nothing more, run so many jobs at most, give way.

Wishes come from other threads than the supervisor's own: the lease keeper asks SQL for them, the chores measure the
machine. So all of this is safe for several threads. A worker that is just being started misses none of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

from jobrunner.conductor.supervisor.process import WorkerProcess
from jobrunner.config import Config

log = logging.getLogger(__name__)

DRAINED = "the node %s is drained: it takes no more jobs until `jobrunner node undrain`"


class Crew:
    """The workers that live, or have ended and were not reaped yet."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._workers: dict[str, WorkerProcess] = {}
        self._lock = threading.Lock()
        self._drained = False
        self._limit: int | None = None
        self._gives_way = False

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[WorkerProcess]:
        """Over those that are there now, whoever comes and goes meanwhile."""
        with self._lock:
            return iter(list(self._workers.values()))

    def get(self, owner: str) -> WorkerProcess | None:
        """The worker of this identity."""
        with self._lock:
            return self._workers.get(owner)

    def setup(self, slot: int | None) -> dict[str, Any]:
        """What a worker in this place is to know at its start; None is the place of one that is alone."""
        config = self._config.model_dump(mode="json")
        if slot is not None:
            config["conductor"]["jobs"] = self._config.jobs_of(slot)
        return {"config": config, "place": slot, "drained": self._drained, "slots": self._slots_of(slot)}

    def join(self, worker: WorkerProcess, setup: dict[str, Any]) -> None:
        """A worker was started with this setup; it is told of what was wished since."""
        with self._lock:
            self._workers[worker.owner] = worker
            if self._drained != setup["drained"]:
                worker.channel.send("drain", drained=self._drained)
            if self._slots_of(worker.slot) != setup["slots"]:
                worker.channel.send("slots", number=self._slots_of(worker.slot))

    def leave(self, worker: WorkerProcess) -> None:
        """A worker is there no more."""
        with self._lock:
            del self._workers[worker.owner]

    def tell(self, kind: str, **content: Any) -> None:
        """Tell all of them."""
        for worker in self:
            worker.channel.send(kind, **content)

    # -- what is wished

    @property
    def slots(self) -> int:
        """How many jobs may run now, all together."""
        return sum(self._config.jobs_of(number, self._limit) for number in range(self._config.processes))

    def drain(self, drained: bool) -> None:
        """Claim nothing more, or go on."""
        with self._lock:
            if drained == self._drained:
                return
            self._drained = drained
            for worker in self._workers.values():
                worker.channel.send("drain", drained=drained)
        if drained:
            log.warning(DRAINED, self._config.node_name)
        else:
            log.info("the node %s takes jobs again", self._config.node_name)

    def limit_to(self, limit: int | None) -> None:
        """Run so many jobs at most, all together; None for as many as the configuration says."""
        with self._lock:
            if limit == self._limit:
                return
            self._limit = limit
            for worker in self._workers.values():
                if worker.slot is not None:
                    worker.channel.send("slots", number=self._slots_of(worker.slot))
        log.info(
            "the node %s may run %s at once",
            self._config.node_name,
            "any number" if limit is None else f"{limit} jobs",
        )

    def give_way(self, share: float) -> None:
        """Claim so reluctantly; said again and again, for those that came since."""
        if share or self._gives_way:
            self._gives_way = bool(share)
            self.tell("give_way", share=share)

    def _slots_of(self, slot: int | None) -> int | None:
        """How many jobs the worker in this place may run now; None for one that is alone."""
        return None if slot is None else self._config.jobs_of(slot, self._limit)
