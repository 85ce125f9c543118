"""What the supervisor tells a worker, and how the worker heeds it.

A thread of its own listens, as long as the process lives; it waits for no server, since leases could run out meanwhile.
channel.py says which messages there are.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from jobrunner.conductor.channel import ORPHANED, Channel, Message
from jobrunner.conductor.worker.giving_way import GivingWay
from jobrunner.conductor.worker.leases import HeldJobs
from jobrunner.conductor.worker.own_job import OwnJob
from jobrunner.conductor.worker.own_processes import OwnProcesses
from jobrunner.model import CancelMode

log = logging.getLogger(__name__)


class Orders:
    """What one worker was told.

    :param most: the slots that are configured
    :param slots: how many it has until it is told otherwise
    :param drained: whether it claims nothing until it is told that it may
    :param stopping: set when the worker is to end
    :param reload: called to load plugins again; must not wait for that
    :param wake: called when there is something that the thread which claims has to see
    """

    def __init__(
        self,
        channel: Channel,
        *,
        most: int,
        slots: int,
        drained: bool,
        stopping: threading.Event,
        held: HeldJobs,
        giving_way: GivingWay,
        own_processes: OwnProcesses,
        own_job: OwnJob,
        reload: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        self.slots = slots
        """How many jobs may run here at once now."""
        self.drained = drained
        """Whether nothing is to be claimed now."""
        self._channel = channel
        self._most = most
        self._stopping = stopping
        self._held = held
        self._giving_way = giving_way
        self._own_job = own_job
        self._wake = wake
        self._handlers: dict[str, Callable[[Message], None]] = {
            "kept": lambda message: held.kept(message["ids"], message["until"]),
            "lost": lambda message: held.stop(message["ids"], "lost"),
            "cancel": self._on_cancel,
            "hold": lambda message: held.stop([message["id"]], "hold"),
            "drain": self._on_drain,
            "slots": lambda message: self._limit_to(message["number"]),
            "give_way": self._on_give_way,
            "stop": lambda message: self.stop(),
            "reload": lambda message: reload(),
            "take": lambda message: own_job.name(message["id"], message["holder"]),
            "returned": own_processes.returned,
            "left": own_processes.left,
        }

    def start(self) -> None:
        """Start the thread that listens."""
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def _listen(self) -> None:
        for message in self._channel.messages():
            try:
                self._handlers[message["kind"]](message)
            except Exception:
                log.exception("the supervisor's message %r could not be heeded", message["kind"])
        log.error("the supervisor is gone; this worker ends")
        os._exit(ORPHANED)  # nobody keeps the leases any more: nothing may go on, not even a task that hangs

    def stop(self) -> None:
        """Claim no more, and leave running jobs at their next atom borders."""
        self._stopping.set()
        self._own_job.give_up()
        self._held.stop(self._held.ids(), "suspend")
        self._wake()

    def _on_cancel(self, message: Message) -> None:
        held = self._held.get(message["id"])
        if held is not None:
            held.stop.cancel_mode = CancelMode(message["mode"])
            held.stop.set("cancel")

    def _on_drain(self, message: Message) -> None:
        self.drained = message["drained"]

    def _limit_to(self, slots: int) -> None:
        """Run so many jobs at once from now on; those that run are left alone."""
        self.slots = min(slots, self._most)
        self._held.hurry()
        self._wake()

    def _on_give_way(self, message: Message) -> None:
        self._giving_way.share = float(message["share"])
