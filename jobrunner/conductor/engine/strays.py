"""Processes that a task forks are its own affair; one that comes back from the task's code ends there.

``os.fork`` in a task copies the worker, with its connections and none of its other threads. A copy that went on as a
worker would wait for ever for threads that it does not have, and keep whoever waits for it; so it ends the way in which
a program of its own would.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TypeVar

Answer = TypeVar("Answer")


def in_this_process(call: Callable[[], Answer]) -> Answer:
    """What ``call`` returns or raises; a process that it forked does not come back."""
    process = os.getpid()
    try:
        answer = call()
    except BaseException as error:
        if os.getpid() != process:
            _end(error)
        raise
    if os.getpid() != process:
        _end(None)
    return answer


def _end(error: BaseException | None) -> NoReturn:
    """End as a program does: without what the worker would do at its end, and with ``sys.exit``'s code."""
    code = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            code = error.code or 0
        elif error is not None:
            print("".join(traceback.format_exception(error)), file=sys.__stderr__, flush=True)
    finally:
        os._exit(code & 0xFF)
