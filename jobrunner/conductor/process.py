"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import signal
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobrunner.conductor.channel import Channel
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.forks import ForkServer

SEND_PATIENCE_S = 0.5
"""A worker that has not read for so long, with its line full, hangs."""


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker: the line to it, what it said last, and how it ended.

    ``slot`` is its place in the conductor, or None for a process of a single suspect (then ``suspect`` is that job and
    who held it). ``ended_on_purpose`` is set when the supervisor kills it to leave.
    """

    slot: int | None
    owner: str
    channel: Channel
    suspect: tuple[str, str] | None = None
    started: float = field(default_factory=boottime)
    heard: float = field(default_factory=boottime)
    ready: bool = False
    running: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    ended: int = 0
    used_s: float = 0.0
    """Seconds of processors that it has used."""
    ended_on_purpose: bool = False
    hung_up: bool = False
    """It closed its line: it ends, or is made to."""
    code: int | None = None
    """Its exit code, or less than 0 the number of the signal that ended it; None while it lives."""

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
    suspect: tuple[str, str] | None = None,
) -> WorkerProcess:
    """Have a worker forked, with an identity of its own."""
    place = f"{slot if slot is not None else 'alone'}"
    owner = f"{identity}/{place}.{uuid.uuid4().hex[:6]}"
    ours, theirs = socket.socketpair()
    forks.fork(owner, f"jobrunner {place}", theirs)
    theirs.close()
    worker = WorkerProcess(
        slot=slot, owner=owner, channel=Channel(ours, patience=SEND_PATIENCE_S), suspect=suspect
    )
    worker.channel.send("setup", **setup, owner=owner, name=f"{node}/{place}", alone=suspect)
    return worker


def how_it_ended(code: int) -> str:
    """A process's exit status in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
