"""The processes of a session: a job's own process, which leads it, and what its tasks have started.

A signal goes to a process by a descriptor of it, and only if that is of the session still: whatever ends and begins
meanwhile, no stranger gets one.
"""

from __future__ import annotations

import contextlib
import os
import signal

PASSES = 5
"""Whoever starts processes faster than they are killed is met again in the next pass, but not for ever."""


def members(leaders: frozenset[int] | set[int]) -> dict[int, list[int]]:
    """The processes of each of these sessions, by the process ids of those who lead them; one pass over all."""
    found: dict[int, list[int]] = {leader: [] for leader in leaders}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                leader = os.getsid(int(name))
                if leader in found:
                    found[leader].append(int(name))
    return found


def signal_session(leader: int, number: int) -> None:
    """Send a signal to all processes of a session; with SIGKILL until none is left that has not got it."""
    told: set[int] = set()
    for _ in range(PASSES if number == signal.SIGKILL else 1):
        fresh = set(members({leader})[leader]) - told
        for pid in fresh:
            _signal_member(pid, leader, number)
        if not fresh:
            return
        told |= fresh


def _signal_member(pid: int, leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # gone, or a kernel of before 5.3
            if os.getsid(pid) == leader:
                os.kill(pid, number)
            return
        try:
            if os.getsid(pid) == leader:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
