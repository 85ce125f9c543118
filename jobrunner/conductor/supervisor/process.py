"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import signal
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobrunner.conductor.channel import Channel, Message
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.isolation.accounts import Account
from jobrunner.conductor.supervisor.forks import ForkServer
from jobrunner.policies import RunLimits

SEND_PATIENCE_S = 0.5
"""A worker that has not read for so long, with its line full, hangs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoneJob:
    """A job that runs in a process of its own, and who has claimed it for that.

    One without limits is a suspect: it has a process of its own so that it can do no harm to others.
    """

    job_id: str
    holder: str
    limits: RunLimits | None = None
    timeout: float | None = None

    @classmethod
    def from_message(cls, message: Message, holder: str) -> LoneJob:
        limits = message["limits"]
        return cls(
            job_id=message["id"],
            holder=holder,
            limits=None if limits is None else RunLimits.from_json(limits),
            timeout=message["timeout"],
        )


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker: the line to it, what it said last, and how it ended.

    ``slot`` is its place in the conductor, or None for a process that is ``alone``: it runs one job, ``lone``, or waits
    for it. ``ended_on_purpose`` is set when the supervisor kills it to leave.
    """

    slot: int | None
    owner: str
    channel: Channel
    lone: LoneJob | None = None
    account: Account | None = None
    given: float = 0.0
    """When it was given its job, if it is alone."""
    started: float = field(default_factory=boottime)
    heard: float = field(default_factory=boottime)
    ready: bool = False
    running: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    isolates: bool = False
    """Whether it knows job types that run in processes of their own."""
    ended: int = 0
    used_s: float = 0.0
    """Seconds of processors that it has used."""
    taken: bool = False
    """Whether it has taken over the claim of its job."""
    dismissed: bool = False
    """A spare that is not needed any more."""
    ended_on_purpose: bool = False
    hung_up: bool = False
    """It closed its line: it ends, or is made to."""
    code: int | None = None
    """Its exit code, or less than 0 the number of the signal that ended it; None while it lives."""
    cpu: float = 0.0
    """Of one that was alone: seconds of processors that it used, with all that it started, when it has ended."""
    peak: int = 0
    """Of one that was alone: bytes that the largest of its processes had in memory."""

    @property
    def alone(self) -> bool:
        return self.slot is None

    @property
    def is_watched(self) -> bool:
        """Whether it has its job, and the watch sees to that one's limits."""
        return self.taken and self.lone is not None and self.lone.limits is not None

    def give(self, job: LoneJob) -> None:
        """Have it run this job, and nothing else."""
        self.lone, self.given = job, boottime()
        self.channel.send("take", id=job.job_id, holder=job.holder)

    def silence(self, now: float, *, lease: float, start: float) -> float:
        """Seconds by which it has been silent for too long; until it is ready it has ``start`` seconds."""
        return now - self.heard - (lease if self.ready else max(lease, start))


def start_worker(
    forks: ForkServer,
    identity: str,
    slot: int | None,
    setup: Mapping[str, Any],
    *,
    node: str,
    account: Account | None = None,
) -> WorkerProcess:
    """Have a worker forked, with an identity of its own; without a slot one that is alone."""
    place = f"{slot if slot is not None else 'alone'}"
    owner = f"{identity}/{place}.{uuid.uuid4().hex[:6]}"
    ours, theirs = socket.socketpair()
    given = None if account is None else account.to_json()
    forks.fork(owner, f"jobrunner {place}", theirs, alone=slot is None, account=given)
    theirs.close()
    worker = WorkerProcess(
        slot=slot, owner=owner, channel=Channel(ours, patience=SEND_PATIENCE_S), account=account
    )
    worker.channel.send("setup", **setup, owner=owner, name=f"{node}/{place}", alone=slot is None)
    return worker


def how_it_ended(code: int) -> str:
    """A process's exit status in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
