"""The test's side: starting processes, and waiting for them."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TypeAlias

PROGRAM = Path(__file__).with_name("interpreter.py")
ROOT = Path(__file__).parents[3]
START_S = 60.0
NO_MATTER = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""Of the variables that Python reads while it starts, those that the interpreter heeds."""
LOCALES = {"C", "POSIX", "C.UTF-8"}
"""With each of these Python reads and writes UTF-8, as the interpreter does."""

Process: TypeAlias = "WarmProcess | subprocess.Popen[bytes]"


class WarmProcess:
    """A process as :class:`subprocess.Popen` has it, as far as tests need that."""

    def __init__(self, pid: int, told: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """Its exit code, or less than 0 the number of the signal that ended it; None while it lives."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._note()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended. Raises subprocess.TimeoutExpired."""
        if self.returncode is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        if self.returncode is None:
            self._note()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it if it lives; until it was seen to have ended nobody else gets its id."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _note(self) -> None:
        self.returncode = int(_line(self._told))
        os.close(self._told)


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes],
    cold: bool = False,
) -> Process:
    """Start ``python -m jobrunner`` with these arguments, and nothing to read.

    :param cold: start Python, and have it import all that it needs
    """
    if cold or _needs_its_own_python(env):
        command = [sys.executable, "-m", "jobrunner", *arguments]
        return subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
    told, tells = os.pipe()
    asked = {"arguments": list(arguments), "cwd": str(cwd), "environment": dict(env)}
    with open(os.devnull, "rb") as nothing, tempfile.TemporaryFile() as request:
        request.write(json.dumps(asked).encode())
        request.flush()
        files = [request.fileno(), nothing.fileno(), stdout.fileno(), stderr.fileno(), tells]
        socket.send_fds(_interpreter(os.getpid()).line, [b"start"], files)
    os.close(tells)
    return WarmProcess(int(_line(told)), told)


def _needs_its_own_python(environment: Mapping[str, str]) -> bool:
    locale = next(filter(None, map(environment.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "C")
    if locale not in LOCALES or any(name.startswith("PYTHON") for name in environment.keys() - NO_MATTER):
        return True
    places = environment.get("PYTHONPATH", "").split(os.pathsep)
    return any(Path(place, "sitecustomize.py").exists() for place in places if place)


class _Interpreter:
    """The interpreter of this process, and the line to it."""

    def __init__(self) -> None:
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(theirs.fileno()), str(ROOT)],
                pass_fds=[theirs.fileno()],
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                cwd="/",
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.end)

    def end(self) -> None:
        self.line.close()
        self._process.wait(START_S)


@functools.cache
def _interpreter(pid: int) -> _Interpreter:
    """That of the process with this id: one that is forked from it gets an interpreter of its own."""
    return _Interpreter()


def _line(descriptor: int) -> bytes:
    """The next line of what the interpreter tells of a process: its id at first, then how it ended."""
    found = b""
    while not found.endswith(b"\n"):
        if not select.select([descriptor], [], [], START_S)[0]:
            raise TimeoutError("the interpreter does not answer")
        byte = os.read(descriptor, 1)
        if not byte:
            raise RuntimeError("the interpreter has ended")
        found += byte
    return found
