"""Moments at which an atom started, told by the process that ran it to the one that measures.

CLOCK_MONOTONIC is the same in all processes of a machine. A stamp is one line, written in one call to a pipe or to a
file opened for appending, so that lines of several processes never mix; the moment is taken before it is written.
"""

from __future__ import annotations

import functools
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

LINE_MAX = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """Who started when: a label, nanoseconds of the monotonic clock, and the process."""

    label: str
    at_ns: int
    pid: int


def stamp(path: str, label: str) -> None:
    """Tell whoever reads ``path`` that the atom starts now."""
    now = time.monotonic_ns()
    os.write(_opened(path), f"{label} {now} {os.getpid()}\n".encode())


@functools.lru_cache(maxsize=8)
def _opened(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


class StampPipe:
    """A named pipe from which stamps are read as they are made."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"stamps-{time.monotonic_ns()}"
        os.mkfifo(self.path)
        # Opened for writing as well: it stays open between writers, and opening does not wait for one.
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._rest = b""

    def next(self, timeout: float) -> Stamp:
        """The next stamp; raises TimeoutError if there is none for ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise TimeoutError(f"no atom started within {timeout:g} s")
            self._rest += os.read(self._fd, LINE_MAX)
        line, _, self._rest = self._rest.partition(b"\n")
        return _parsed(line)

    def close(self) -> None:
        os.close(self._fd)
        self.path.unlink()

    def __enter__(self) -> StampPipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StampFile:
    """A file that collects stamps, for many at once."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"stamps-{time.monotonic_ns()}"
        self.path.touch()

    def wait_for(self, number: int, timeout: float, check: Callable[[], None]) -> list[Stamp]:
        """The stamps, once there are so many; raises TimeoutError.

        :param check: called now and then; raises if there is no use in waiting on
        """
        deadline = time.monotonic() + timeout
        while (found := self.path.read_bytes().count(b"\n")) < number:
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found} of {number} atoms were started within {timeout:g} s")
            time.sleep(0.1)
        return [_parsed(line) for line in self.path.read_bytes().splitlines()]


def _parsed(line: bytes) -> Stamp:
    label, at_ns, pid = line.decode().split()
    return Stamp(label=label, at_ns=int(at_ns), pid=int(pid))
