"""What a process of a conductor owes to its parent: to end with it, and to say in a process list what it is."""

from __future__ import annotations

import ctypes
import os
import signal

from jobrunner.conductor.channel import ORPHANED

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_NAME_MAX = 15
_prctl = ctypes.CDLL(None).prctl
_prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def end_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel kill this process when its parent ends, whatever its threads are doing then.

    A thread that listens for the end of a line cannot act on it while a task keeps the interpreter to itself. To be
    called first of all; the parent is the *thread* that made this process, so that must live as long as its process.
    Where a sandbox forbids it, the end of the line is what is left.

    :param parent: its process id; if that is gone already, this process ends here
    :param number: the signal that is sent instead, to one that does what is to be done then
    """
    _prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(ORPHANED)


def call_it(name: str) -> None:
    """Have ``ps -o comm`` and ``top`` show this name, of which the kernel keeps 15 bytes."""
    kept = ctypes.create_string_buffer(name.encode()[:_NAME_MAX])
    _prctl(_PR_SET_NAME, ctypes.addressof(kept), 0, 0, 0)
