"""The guardian: runs one command, and sees to it that nothing of it outlives the process that asked for it.

It is started by :mod:`flows.builtin.support.processes` as ``python -I -S guard.py LIFELINE STATUS`` with two inherited
file descriptors. It imports nothing of this project, so that it starts in some hundredths of a second.

Invariants:

- The asking process holds the only write end of the *lifeline* pipe. End of file on it means that this process is
  gone (or wants an end): the command's process group gets SIGTERM, and SIGKILL after its grace. A pipe is used rather
  than PR_SET_PDEATHSIG towards the asking process because that signal is bound to the *thread* that forked, and
  because it reaches one process, not a group.
- The command itself gets SIGKILL if the guardian dies (PR_SET_PDEATHSIG, on Linux). The guardian has one thread, so
  what happens between fork and exec is safe, which it would not be in a conductor full of threads (``preexec_fn``).
- The command leads a process group of its own in a session without a terminal. When it ends, what it left in that
  group is ended too. A process that made itself a session of its own left the job on purpose, and is left alone.
- *status* gets one JSON line when the command runs or could not be started, and one when everything has ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WATCHED_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
POLL_SECONDS = 0.02
UNKILLABLE_SECONDS = 5.0


def main(lifeline: int, status: int) -> None:
    """Run the command that the lifeline's first line describes, until it ends or the lifeline does."""
    for descriptor in (lifeline, status):
        # The command must not hold them: their ends say who still lives.
        os.set_inheritable(descriptor, False)
    wakeup = watch_signals()
    # Orphans of the command come here, are reaped here, and do not stay as zombies.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    spec = read_spec(lifeline)
    pid, failure = spawn(spec)
    if failure is not None:
        say(status, failure)
        return
    say(status, {"pid": pid})
    release_standard_streams()
    say(status, Group(pid, spec["grace"]).watch(lifeline, wakeup))


def watch_signals() -> int:
    """Let signals wake the loop; return the descriptor that becomes readable."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in WATCHED_SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the thread that started this may have blocked some
    return reading


def prctl(option: int, value: int) -> None:
    """Call prctl(2) where there is one; elsewhere the lifeline has to do."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def read_spec(lifeline: int) -> dict[str, Any]:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = os.read(lifeline, 65536)
        if not chunk:
            sys.exit(0)  # the asking process died before it could say what to run
        data += chunk
    spec: dict[str, Any] = json.loads(data)
    return spec


def say(status: int, message: dict[str, Any]) -> None:
    try:
        os.write(status, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return  # nobody is left to hear it; what had to be ended has been


def spawn(spec: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """Start the command; return its pid, or what went wrong, and in which step."""
    argv = [word.encode("latin-1") for word in spec["argv"]]
    environment = {key.encode("latin-1"): value.encode("latin-1") for key, value in spec["env"].items()}
    cwd = None if spec["cwd"] is None else spec["cwd"].encode("latin-1")
    guardian = os.getpid()
    reading, writing = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        become(argv, environment, cwd, guardian, writing)
    os.close(writing)
    with open(reading, "rb") as answers:
        answer = answers.read()
    if not answer:
        return pid, None
    os.waitpid(pid, 0)
    return pid, json.loads(answer)


def become(
    argv: list[bytes], environment: dict[bytes, bytes], cwd: bytes | None, guardian: int, failed: int
) -> None:
    """Turn the forked child into the command; never returns."""
    step = "start"
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*WATCHED_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ):  # the last two Python ignores
            signal.signal(number, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:
            os._exit(1)  # it died before the line above
        if cwd is not None:
            step = "cwd"
            os.chdir(cwd)
        step = "exec"
        os.execvpe(argv[0], argv, environment)  # noqa: S606 (no shell, on purpose)
    except BaseException as error:  # noqa: BLE001 (it is told, and the process ends)
        os.write(
            failed,
            json.dumps({"error": getattr(error, "errno", None), "text": str(error), "at": step}).encode(),
        )
    finally:
        os._exit(127)


def release_standard_streams() -> None:
    """Let go of the command's pipes, so that its readers see when the command's own ends are closed."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


class Group:
    """The command's process group, from its start until it is gone."""

    def __init__(self, pid: int, grace: float) -> None:
        self._pid = pid
        self._grace = grace
        self._code: int | None = None

    def watch(self, lifeline: int, wakeup: int) -> dict[str, Any]:
        """Wait for the end of the command or of the lifeline, then end what is left of the group."""
        asked = False
        while not self._reap() and not asked:
            ready, _, _ = select.select([lifeline, wakeup], [], [])
            asked = lifeline in ready or self._asked_by_signal(wakeup, ready)
        killed = self._end()
        return {"exit": self._code, "asked": asked, "killed": killed}

    @staticmethod
    def _asked_by_signal(wakeup: int, ready: list[int]) -> bool:
        if wakeup not in ready:
            return False
        return any(number != signal.SIGCHLD for number in os.read(wakeup, 4096))

    def _reap(self) -> bool:
        """Collect what has ended; True once the command itself is among it."""
        while True:
            try:
                pid, state = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self._pid:
                self._code = os.waitstatus_to_exitcode(state)
        return self._code is not None

    def _end(self) -> bool:
        """Ask the group to end, then make it; returns whether it had to be made to."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a stopped process would not see the SIGTERM
        if self._gone_within(self._grace):
            return False
        self._signal(signal.SIGKILL)
        self._gone_within(UNKILLABLE_SECONDS)
        return True

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self._reap()
            if not self._signal(0):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; False if there is nobody left in it."""
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # somebody is left who changed their user id
        return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
