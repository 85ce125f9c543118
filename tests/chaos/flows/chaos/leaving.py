"""How the tasks of the chaos run leave evidence: a line on disk before they go on, in a file of their process's own.

A line: ``job``, ``atom``, ``attempt``, ``epoch``, ``owner``, ``what`` (``start``, ``end`` or ``revert``), ``after``
(the atoms whose results it got), ``got`` and ``gave`` (tokens: what came in, what went out), ``pid``, ``at`` (seconds,
monotonic) and ``wall_us`` (microseconds since the epoch, as SQL's own clock on the same machine).

A task knows nothing of epochs. It finds the one under which it runs where no server can change it: in the journal of
the run that called it, further up its own stack. Under a conductor that has none the epoch is None.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

_lock = threading.Lock()
_files: dict[tuple[int, str], int] = {}


def leave(directory: str, **what: Any) -> None:
    """Append a line of evidence, on disk when this returns."""
    line = {**what, **whose(), "pid": os.getpid(), "at": time.monotonic(), "wall_us": time.time_ns() // 1000}
    descriptor = _own_file(directory)
    os.write(descriptor, (json.dumps(line) + "\n").encode())
    os.fsync(descriptor)


def _own_file(directory: str) -> int:
    """This process's file: a child that was forked gets another."""
    key = (os.getpid(), directory)
    with _lock:
        if key not in _files:
            path = f"{directory}/{os.getpid()}.{time.monotonic_ns()}.jsonl"
            _files[key] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return _files[key]


def whose() -> dict[str, Any]:
    """Under which attempt, epoch and owner the present task runs."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        fence = getattr(getattr(frame.f_locals.get("self"), "_journal", None), "fence", None)
        if fence is not None:
            return {"attempt": fence.attempt, "epoch": fence.epoch, "owner": fence.owner}
        frame = frame.f_back
    return {"attempt": 1, "epoch": None, "owner": f"pid {os.getpid()}"}
