"""Child processes that end with their task, whatever happens to the conductor.

A command runs under a *guardian* (:mod:`flows.builtin.support.guard`), a small process that holds one end of a pipe.
When the conductor dies, by whatever signal, the pipe closes and the guardian ends the command's whole process group.
Everything here happens in the thread of the task: output that a task prints is attributed to its job by that thread.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

GRACE_SECONDS = 5.0
"""How long a process group may take to end after SIGTERM, before SIGKILL."""

_GUARD = Path(__file__).with_name("guard.py")
_READ_BYTES = 64 * 1024
_DRAIN_SECONDS = 1.0
_GUARDIAN_EXIT_SECONDS = 10.0

Stream = Literal["stdout", "stderr"]
Chunk = tuple[Stream, bytes]


class CommandNotStarted(Exception):
    """The command could not be started."""


class GuardianLost(Exception):
    """The process that watched over the command is gone, so how the command ended is not known."""


class GuardedProcess:
    """A command in a process group of its own, which ends when this is closed and when this process dies.

    ``argv`` is a list of arguments; no shell is involved. ``env`` is the whole environment, by default this process's
    own. Use as a context manager: :meth:`start` on entry, :meth:`close` on exit.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._argv = list(argv)
        self._cwd = cwd
        self._env = os.environ if env is None else env
        self._stdin = stdin
        self._grace = grace
        self._guardian: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._status = b""
        self._outcome: dict[str, Any] | None = None
        self._drain_until = float("inf")
        self._selector = selectors.DefaultSelector()
        self._resources = contextlib.ExitStack()
        self.pid = 0

    def __enter__(self) -> GuardedProcess:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the command; raises CommandNotStarted when there is no such program, directory or permission."""
        held, self._lifeline = os.pipe()
        told, telling = os.pipe()
        self._resources.callback(self._selector.close)
        status = self._resources.enter_context(os.fdopen(told, "rb", buffering=0))
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(held), str(telling)],
                stdin=self._stdin if self._stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(held, telling),
                start_new_session=True,
            )
        finally:
            os.close(held)
            os.close(telling)
        self._watch(self._guardian.stdout, "stdout")
        self._watch(self._guardian.stderr, "stderr")
        self._send_spec()
        answer = self._first_word(status)
        if "pid" not in answer:
            raise CommandNotStarted(self._why_not(answer))
        self.pid = int(answer["pid"])
        self._watch(status, "status")

    @property
    def finished(self) -> bool:
        """Whether the command has ended and all that it wrote has been read."""
        if self._outcome is None:
            return False
        # A process that left the group may hold the pipes open for as long as it likes; do not wait for it.
        return len(self._streams) == 0 or time.monotonic() >= self._drain_until

    @property
    def code(self) -> int | None:
        """The exit code once finished, negative for a signal; None if it could not even be killed.

        Raises GuardianLost when nobody knows.
        """
        assert self._outcome is not None, "the command has not ended"
        if "exit" not in self._outcome:
            raise GuardianLost(f"the process that watched over {self._argv[0]!r} was killed")
        code: int | None = self._outcome["exit"]
        return code

    def read(self, timeout: float) -> list[Chunk]:
        """Wait up to ``timeout`` seconds for output or the end; return what there is, in the order it was read."""
        chunks: list[Chunk] = []
        for key, _ in self._selector.select(timeout):
            data = os.read(key.fd, _READ_BYTES)
            if key.data == "status":
                self._hear(data, key.fileobj)
            elif data:
                chunks.append((key.data, data))
            else:
                self._selector.unregister(key.fileobj)
        return chunks

    def stop(self) -> None:
        """Ask for the end of the command and its group; go on reading until it has finished."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def close(self) -> None:
        """End the command if it still runs, wait until its group is gone, and free everything."""
        self.stop()
        guardian = self._guardian
        if guardian is not None:
            for stream in (guardian.stdout, guardian.stderr):
                if stream is not None:
                    stream.close()
            try:
                guardian.wait(self._grace + _GUARDIAN_EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                guardian.kill()  # takes the command with it
                guardian.wait()
            self._guardian = None
        self._resources.close()

    @property
    def _streams(self) -> list[str]:
        return [key.data for key in self._selector.get_map().values() if key.data != "status"]

    def _watch(self, stream: IO[bytes] | None, name: str) -> None:
        assert stream is not None
        self._selector.register(stream, selectors.EVENT_READ, name)

    def _send_spec(self) -> None:
        spec = {
            "argv": [_latin(word) for word in self._argv],
            "env": {_latin(key): _latin(value) for key, value in self._env.items()},
            "cwd": None if self._cwd is None else _latin(os.fspath(self._cwd)),
            "grace": self._grace,
        }
        assert self._lifeline is not None
        remaining = memoryview(json.dumps(spec).encode() + b"\n")
        # A guardian that died says so by its silence on the status pipe.
        with contextlib.suppress(BrokenPipeError):
            while remaining:
                remaining = remaining[os.write(self._lifeline, remaining) :]

    def _first_word(self, status: IO[bytes]) -> dict[str, Any]:
        while b"\n" not in self._status:
            data = status.read(_READ_BYTES)
            if not data:
                return {"text": "the process that was to watch over it died"}
            self._status += data
        line, _, self._status = self._status.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if b"\n" in self._status:
            self._conclude(json.loads(self._status))
        return answer

    def _hear(self, data: bytes, status: Any) -> None:
        self._status += data
        if self._outcome is None and b"\n" in self._status:
            self._conclude(json.loads(self._status))
        if not data:
            self._selector.unregister(status)
            if self._outcome is None:
                self._conclude({})

    def _conclude(self, outcome: dict[str, Any]) -> None:
        self._outcome = outcome
        self._drain_until = time.monotonic() + _DRAIN_SECONDS

    def _why_not(self, answer: Mapping[str, Any]) -> str:
        if answer.get("at") == "cwd":
            return f"cannot start {self._argv[0]!r} in the directory {str(self._cwd)!r}: {answer['text']}"
        number = answer.get("error")
        if number in (errno.ENOENT, errno.ENOTDIR):
            where = (
                "there is no such file"
                if "/" in self._argv[0]
                else "no such program in any directory of PATH"
            )
            return f"command not found: {self._argv[0]!r}: {where} on this machine"
        if number == errno.EACCES:
            return f"cannot run {self._argv[0]!r}: permission denied; is it an executable file?"
        if number == errno.ENOEXEC:
            return f"cannot run {self._argv[0]!r}: not a program of this machine, nor a script with a #! line"
        return f"cannot run {self._argv[0]!r}: {answer.get('text', 'unknown error')}"


def _latin(text: str) -> str:
    """One character a byte: carries any bytes through JSON, whatever the locale of either side."""
    return os.fsencode(text).decode("latin-1")


def merged_environment(assignments: Iterable[str]) -> dict[str, str]:
    """This process's environment with ``KEY=value`` assignments applied; raises ValueError."""
    environment = dict(os.environ)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ValueError(f"{assignment!r} is not an assignment; write KEY=value")
        environment[key] = value
    return environment
