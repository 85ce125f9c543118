"""The first steps of a worker process, just forked from the fork server.

What the supervisor wants of it comes over the line between them: signals that were meant for the supervisor, or for the
whole control group (systemd's way to stop a service), must not end it with jobs under way.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

NOISY = ("taskflow", "alembic", "stevedore")
"""Libraries whose warnings are about what the journal tells better."""
SWITCH_S = 0.002
"""How long one thread may keep the interpreter while others want it.

The journal's writer, for which jobs wait, wants it after each round trip; with Python's own 5 ms, tasks that compute
would keep it waiting. With less, more is spent on handing the interpreter around: 0.5 ms cost a tenth of the rate.
"""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def start(descriptor: int) -> None:
    """Be a worker, over this end of the line to the supervisor; does not return."""
    leave_signals_to_supervisor()
    os.register_at_fork(after_in_child=_as_usual)
    code = _work(socket.socket(fileno=descriptor))
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that hangs in a task or a capability must not keep the process: all that counts is written.
    os._exit(code)


def leave_signals_to_supervisor() -> None:
    """From here on no signal that asks to leave ends this process."""
    for number in _SIGNALS:
        signal.signal(number, _leave_to_supervisor)


def _work(line: socket.socket) -> int:
    from jobrunner.assemble import make_worker
    from jobrunner.conductor.channel import ORPHANED, Channel
    from jobrunner.conductor.engine import capture
    from jobrunner.config import Config
    from jobrunner.errors import JobrunnerError

    channel = Channel(line)
    setup: dict[str, Any] | None = next(channel.messages(), None)
    if setup is None:
        return ORPHANED
    capture.install()
    sys.setswitchinterval(SWITCH_S)
    _start_logging(setup["log_level"], setup["name"])
    try:
        worker = make_worker(
            Config.model_validate(setup["config"]),
            channel,
            owner=setup["owner"],
            once=setup["once"],
            alone=setup["alone"],
            drained=setup["drained"],
            slots=setup["slots"],
            place=setup["place"],
            directory=setup["directory"],
        )
        return worker.run()
    except JobrunnerError as error:
        log.error("%s", error.message)
        return error.exit_code
    except Exception:
        log.exception("this worker ends by an internal error")
        return 1


def _start_logging(level: str, name: str) -> None:
    from jobrunner.conductor.engine.capture import nobody_speaks

    root = logging.getLogger()
    root.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {name} %(name)s: %(message)s"))
    handler.addFilter(nobody_speaks)
    root.addHandler(handler)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _leave_to_supervisor(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which the programs that tasks start would inherit."""


def _as_usual() -> None:
    """A process that a task forks heeds signals again."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
