"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobrunner.conductor.channel import Channel
from jobrunner.conductor.clock import boottime

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from jobrunner.worker_entry import start; start(int(sys.argv[1]))"
)
"""What a worker's interpreter runs: it finds modules exactly where its supervisor does, whatever its directory."""
SEND_PATIENCE_S = 0.5
"""A worker that has not read for so long, with its line full, hangs."""


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker: its process, the line to it, and what it said last.

    ``slot`` is its place in the conductor, or None for a process of a single suspect (then ``suspect`` is that job and
    who held it). ``ended_on_purpose`` is set when the supervisor kills it to leave.
    """

    slot: int | None
    owner: str
    process: subprocess.Popen[bytes]
    channel: Channel
    suspect: tuple[str, str] | None = None
    started: float = field(default_factory=boottime)
    heard: float = field(default_factory=boottime)
    ready: bool = False
    running: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    ended: int = 0
    ended_on_purpose: bool = False
    hung_up: bool = False
    """It closed its line: it ends, or is made to."""

    def silence(self, now: float, *, lease: float, start: float) -> float:
        """Seconds by which it has been silent for too long; until it is ready it has ``start`` seconds."""
        return now - self.heard - (lease if self.ready else max(lease, start))


def start_worker(
    identity: str,
    slot: int | None,
    setup: Mapping[str, Any],
    *,
    node: str,
    suspect: tuple[str, str] | None = None,
) -> WorkerProcess:
    """Start a worker with an identity of its own; it is in a session of its own, so a Ctrl-C does not reach it."""
    ours, theirs = socket.socketpair()
    place = f"{slot if slot is not None else 'alone'}"
    owner = f"{identity}/{place}.{uuid.uuid4().hex[:6]}"
    name = f"{node}/{place}"
    command = [sys.executable, "-c", PROGRAM, str(theirs.fileno()), json.dumps(sys.path), f"jobrunner:{name}"]
    try:
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    worker = WorkerProcess(
        slot=slot,
        owner=owner,
        process=process,
        channel=Channel(ours, patience=SEND_PATIENCE_S),
        suspect=suspect,
    )
    worker.channel.send("setup", **setup, owner=owner, name=name, alone=suspect)
    return worker


def how_it_ended(code: int) -> str:
    """A process's exit status in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
