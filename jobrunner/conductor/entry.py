"""The first steps of a worker process, before it imports anything that takes time.

What the supervisor wants of it comes over the line between them: signals that were meant for the supervisor, or for the
whole control group (systemd's way to stop a service), must not end it with jobs under way.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType

ORPHANED = 70
"""Exit code of a worker whose supervisor is gone."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from jobrunner.conductor.entry import start; start(int(sys.argv[1]))"
)
"""What a worker's interpreter runs: it finds modules exactly where its supervisor does, whatever its directory."""


def start(descriptor: int) -> None:
    """Be a worker, over this end of the line to the supervisor; does not return."""
    for number in _SIGNALS:
        signal.signal(number, _leave_to_supervisor)
    os.register_at_fork(after_in_child=_as_usual)
    os.set_inheritable(descriptor, False)
    from jobrunner.conductor.worker import main

    code = main(socket.socket(fileno=descriptor))
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that hangs in a task or a capability must not keep the process: all that counts is written.
    os._exit(code)


def _leave_to_supervisor(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which the programs that tasks start would inherit."""


def _as_usual() -> None:
    """A process that a task forks heeds signals again."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
