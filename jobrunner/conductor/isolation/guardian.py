"""The guardian of a job's own process: its parent, which sees to it that nothing that the job started outlives it.

Invariants:

- The guardian is a subreaper, so all that begins below it stays below it, in whatever session or group. It has ended
  its work when it has no child left.
- When the job's process has ended, by whatever, all that is left below is killed; and so are they all at the signal
  END, which the kernel sends when the fork server is gone, in whatever way. So who kills the whole conductor with
  SIGKILL leaves no command behind that the next owner would start a second time.
- A job's process that hands its job over has ended all that it had started before it tells the board (worker.py).
- The job's process ends with its guardian (parent.py). A guardian that is killed itself can end nothing else; the fork
  server then ends the session of the job's process.
- Once it has forked, it has one thread, no connection, and does next to nothing; it stays the conductor's user, so that
  the job's processes, if they are another's, cannot reach it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobrunner.conductor.isolation.descent import children_of, signal_descendants, take_in_orphans
from jobrunner.conductor.parent import end_with

NAME = "jobrunner-guard"
"""Without a space: Python 3.12 and 3.13 would take the nice value for the number of threads, and warn of forking."""
UNKILLABLE_S = 10.0
"""What has not ended so long after SIGKILL, since the kernel waits for a disk, or since it is root's, is left."""
PASS_S = 0.02
"""Between two rounds of killing, if nothing ends meanwhile."""
REPORT_BYTES = 4096
END = signal.SIGUSR1
"""Has a guardian end all. No SIGTERM: a service manager sends that to all processes of a conductor that is to leave."""
_HEEDED = frozenset({signal.SIGCHLD, END})


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How a job's own process ended, and what it used, with all that it started."""

    code: int
    """Its exit code, or less than 0 the number of the signal that ended it."""
    cpu: float = 0.0
    """Seconds of processors."""
    peak: int = 0
    """Bytes that the largest of its processes had in memory."""
    left: int = 0
    """So many processes could not be ended."""


def guard(work: Callable[[], None], *, parent: int, reports: int, lines: Sequence[int]) -> None:
    """Fork a process that does ``work``, and be its guardian until nothing of it is left; does not return in either.

    :param parent: the process with whose end everything ends
    :param reports: a pipe that takes what :func:`read_reports` reads
    :param lines: descriptors that are that process's alone
    """
    # Blocked before there is a child: none of these may come before it is waited for.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
    end_with(parent, END)
    take_in_orphans()
    guardian = os.getpid()
    child = os.fork()
    if not child:
        os.close(reports)
        end_with(guardian)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        work()
        os._exit(0)
    for line in lines:
        os.close(line)
    _tell(reports, {"pid": child})
    _tell(reports, asdict(_Guardian(child).stand()))
    os._exit(0)


def _tell(pipe: int, said: dict[str, int | float]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the fork server is gone: nobody wants to know
        os.write(pipe, json.dumps(said).encode() + b"\n")


def end_all_but_this() -> None:
    """In a process that has a guardian: end all that it has started, for some seconds; the guardian does the rest.

    For it to do before its job may be anybody else's: who is about to leave can take long about that.
    """
    guardian, deadline = os.getppid(), time.monotonic() + UNKILLABLE_S
    while _is_guardian(guardian) and time.monotonic() < deadline:
        if not signal_descendants(guardian, signal.SIGKILL, but=os.getpid()):
            return
        time.sleep(PASS_S)


def _is_guardian(pid: int) -> bool:
    """Whether this parent is one: below anybody else there are strangers."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as comm:
        return comm.read().rstrip("\n") == NAME
    return False


def read_reports(pipe: int) -> tuple[int | None, Report | None]:
    """What a guardian that has ended has said: the process id of its child, and its report; None: it was killed."""
    said: list[dict[str, Any]] = []
    with contextlib.suppress(BlockingIOError):
        said = [json.loads(line) for line in os.read(pipe, REPORT_BYTES).splitlines()]
    return said[0]["pid"] if said else None, Report(**said[1]) if len(said) > 1 else None


class _Guardian:
    """Waits for one child, and for all that comes to it by and by."""

    def __init__(self, child: int) -> None:
        self._child = child
        self._status: int | None = None

    def stand(self) -> Report:
        """Wait for the end of the child, or for the word to end it; then end all that is left."""
        while self._reap() and self._status is None:
            if signal.sigwait(_HEEDED) == END:
                break
        left = self._end_all()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Report(
            code=-signal.SIGKILL if self._status is None else os.waitstatus_to_exitcode(self._status),
            cpu=round(used.ru_utime + used.ru_stime, 3),
            peak=used.ru_maxrss * 1024,
            left=left,
        )

    def _reap(self) -> bool:
        """Collect what has ended; False if there is nobody left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._child:
                self._status = status

    def _end_all(self) -> int:
        """Kill all below until none is left, for some seconds; how many are left.

        Who starts processes faster than they are found is met again in the next round.
        """
        deadline = time.monotonic() + UNKILLABLE_S
        while self._reap():
            signal_descendants(os.getpid(), signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, PASS_S)
            if time.monotonic() > deadline:
                return len(children_of(os.getpid()))
        return 0
