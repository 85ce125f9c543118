"""Running one command under the eyes of its job."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any

from taskflow import task

from flows.builtin.support.lines import Lines, Tail
from flows.builtin.support.processes import GuardedProcess, Stream, merged_environment
from jobrunner import stopping
from jobrunner.quantities import parse_duration

TAIL_BYTES = 16 * 1024
"""How much of the end of each stream the result keeps; the job's log has the rest."""

_TICK_SECONDS = 0.1
_BRIEF_BYTES = 2000


class CommandFailed(Exception):
    """The command ended with a code that is not a success; ``code`` and ``stderr`` (its end) tell more."""

    def __init__(self, message: str, code: int | None = None, stderr: str = "") -> None:
        # All of them: TaskFlow copies and stores an exception by its args.
        super().__init__(message, code, stderr)
        self.code = code
        self.stderr = stderr

    def __str__(self) -> str:
        return str(self.args[0])


class CommandTimedOut(CommandFailed):
    """The command was ended because it took too long."""


class RunCommand(task.Task):  # type: ignore[misc]
    """Runs a command to its end; the result has its exit code and the end of what it wrote.

    Runs again from the start when its machine died. When its conductor shuts down, the command may use the time that
    the conductor gives; when the job is cancelled, times out or is lost to another conductor, the command is ended.
    """

    def execute(
        self,
        command: Sequence[str],
        cwd: str | None = None,
        env: Sequence[str] | None = None,
        stdin: str | None = None,
        timeout: str | float | None = None,
        ok_codes: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        started = time.monotonic()
        limit = None if timeout is None else parse_duration(timeout)
        output = Output()
        environment = merged_environment(env or [])
        with (
            given(stdin) as source,
            GuardedProcess(command, cwd=cwd, env=environment, stdin=source) as process,
        ):
            self._report(f"{command[0]} runs as process {process.pid}")
            ended_for = follow(process, output, None if limit is None else started + limit)
            code = process.code
        if ended_for == "time":
            raise CommandTimedOut(f"{command[0]}: ended after {limit:g} s, its timeout", code, output.brief)
        if ended_for is not None:
            raise stopping.Stopped(f"{command[0]}: ended, because of: {ended_for}")
        if code not in (ok_codes or [0]):
            raise CommandFailed(f"{command[0]}: {describe(code)}{output.last_words}", code, output.brief)
        seconds = round(time.monotonic() - started, 3)
        return {
            "code": code,
            "seconds": seconds,
            "stdout": output.tail("stdout"),
            "stderr": output.tail("stderr"),
        }

    def _report(self, message: str) -> None:
        self.notifier.notify(task.EVENT_UPDATE_PROGRESS, {"progress": 0.0, "message": message})


class Output:
    """Passes a command's output on to the job's log, line by line, and keeps the end of it."""

    def __init__(self) -> None:
        self._lines: dict[Stream, Lines] = {"stdout": Lines(), "stderr": Lines()}
        self._tails: dict[Stream, Tail] = {"stdout": Tail(TAIL_BYTES), "stderr": Tail(TAIL_BYTES)}

    def feed(self, stream: Stream, data: bytes) -> None:
        self._tails[stream].feed(data)
        self._print(stream, self._lines[stream].feed(data))

    def flush(self) -> None:
        for stream, lines in self._lines.items():
            self._print(stream, lines.flush())

    def tail(self, stream: Stream) -> str:
        return self._tails[stream].text

    @property
    def brief(self) -> str:
        """The end of standard error, short enough for an error message's details."""
        return self.tail("stderr")[-_BRIEF_BYTES:]

    @property
    def last_words(self) -> str:
        """The last line of standard error, as the end of a message."""
        lines = self.tail("stderr").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return f": {words[-1][-300:]}" if words else ""

    @staticmethod
    def _print(stream: Stream, lines: list[str]) -> None:
        # Looked up now, not at import: a conductor puts its own streams there to keep the job's log.
        out = sys.stdout if stream == "stdout" else sys.stderr
        for line in lines:
            print(line, file=out)


def given(stdin: str | None) -> contextlib.AbstractContextManager[IO[bytes] | None]:
    """The text as a file: a pipe would need somebody who writes while others read."""
    if stdin is None:
        return contextlib.nullcontext()
    source = tempfile.TemporaryFile()  # noqa: SIM115 (it is the caller's to close)
    source.write(stdin.encode("utf-8", errors="surrogateescape"))
    source.seek(0)
    return source


def follow(process: GuardedProcess, output: Output, deadline: float | None) -> str | None:
    """Pass output on until the command has ended; say why it was made to end, or None if it ended by itself."""
    ended_for: str | None = None
    while not process.finished:
        for stream, data in process.read(_TICK_SECONDS):
            output.feed(stream, data)
        if ended_for is None:
            ended_for = why_end(deadline)
            if ended_for is not None:
                process.stop()
    output.flush()
    return ended_for


def why_end(deadline: float | None) -> str | None:
    """Why the command must end now, if it must: ``time`` for its own timeout, else the conductor's reason."""
    reason = stopping.stop_reason()
    if reason is not None and reason != "suspend":
        return reason
    return "time" if deadline is not None and time.monotonic() >= deadline else None


def describe(code: int | None) -> str:
    if code is None:
        return "could not be ended, not even by SIGKILL"
    return f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
