"""What every server of the tests can do: start, answer, stop, die, stand still, start again."""

from __future__ import annotations

import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import psutil

from tests.support.servers.ports import ReservedPort

GUARD = Path(__file__).with_name("guard.py")
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
PAUSE_SECONDS = 10.0
LOG_TAIL_LINES = 40

Setting: TypeAlias = "str | int | bool"


class BinaryMissing(Exception):
    """A server's program is not installed."""


class ServerNotReady(Exception):
    """A server did not start, or did not answer in time."""


class Server(ABC):
    """One server process with its port and its data directory; restarting keeps both.

    ``settings`` are the server's own settings by name, with ``_`` for ``-``; they win over the defaults.
    ``watch`` is the process with whose end the server ends.
    """

    kind: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    discard_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, directory: Path, *, watch: int | None = None, **settings: Setting) -> None:
        self.directory = directory
        self.log_path = directory / "server.log"
        self.settings = settings
        self.shared = False
        self._watch = watch or os.getpid()
        self._reserved: ReservedPort | None = ReservedPort()
        self.port = self._reserved.number
        self.pid = self._guard_pid = 0
        self._server_fd = self._guard_fd = -1
        self._paused = False

    @classmethod
    def attach(cls, record: dict[str, Any]) -> Server:
        """The server that another process of the run started and described with :meth:`share`."""
        server = cls.__new__(cls)
        server.directory = Path(record["directory"])
        server.log_path = server.directory / "server.log"
        server.settings = record["settings"]
        server.shared = True
        server._watch = record["watch"]
        server._reserved = None
        server.port = record["port"]
        server._server_fd = server._guard_fd = -1
        server._paused = False
        server._hold(record["server"], record["guard"])
        return server

    def share(self) -> dict[str, Any]:
        """Forbid stopping and pausing from now on, and return what :meth:`attach` needs, as JSON can hold it."""
        self.shared = True
        return {
            "directory": str(self.directory),
            "settings": self.settings,
            "watch": self._watch,
            "port": self.port,
            "server": self.pid,
            "guard": self._guard_pid,
        }

    # What a kind of server says about itself

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the server answers, as jobrunner's configuration takes it."""

    @abstractmethod
    def create_database(self) -> str:
        """Make an empty database and return its URL."""

    @abstractmethod
    def drop_database(self, url: str) -> None:
        """Drop what :meth:`create_database` made, whoever is still connected to it."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line that starts the server in the foreground."""

    @abstractmethod
    def prepare(self) -> None:
        """Fill the empty directory with what the server needs for its first start."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server answers a client; must return or raise within a few seconds."""

    # Its life

    def start(self) -> None:
        """Start it and return once it answers; raises :class:`ServerNotReady` with the end of its log."""
        if not self.directory.exists():
            self.directory.mkdir(parents=True)
            self.prepare()
        self._hold(**self._start_guarded())
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return once the server answers; raises :class:`ServerNotReady` when it ends or does not answer in time."""
        deadline = time.monotonic() + seconds
        while not self.answers():
            if not self.running:
                self._close_fds()
                raise ServerNotReady(self._with_log("ended while it was starting"))
            if time.monotonic() > deadline:
                raise ServerNotReady(self._with_log(f"did not answer within {seconds:.0f} s"))
            select.select([self._server_fd], [], [], 0.02)

    @property
    def running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self._server_fd >= 0 and not select.select([self._server_fd], [], [], 0)[0]

    def stop(self) -> None:
        """End it in an orderly way, keeping its data; stopping twice is fine."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it and every process of it as a power cut would (what the kernel has, it keeps)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same port with the same data, stopping it first if it runs."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze all its processes: connections stay open, nothing answers."""
        self._refuse_if_shared()
        self._paused = True
        self._signal_all(signal.SIGSTOP)
        deadline = time.monotonic() + PAUSE_SECONDS
        while not self._stands_still():  # a signal is on its way for a moment, and a thread may still answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.kind} was not paused within {PAUSE_SECONDS:.0f} s")
            time.sleep(0.005)

    def _stands_still(self) -> bool:
        """Whether every thread of all its processes is stopped."""
        with suppress(psutil.NoSuchProcess, FileNotFoundError):  # one of them may end meanwhile: look again
            main = psutil.Process(self.pid)
            processes = [main, *main.children(recursive=True)]
            tasks = [task for each in processes for task in Path(f"/proc/{each.pid}/task").glob("*/stat")]
            return all(task.read_text().rpartition(")")[2].split()[0] in "TtZX" for task in tasks)
        return False

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        self._paused = False
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End it, remove its directory, and give its port back; closing twice is fine."""
        self._end(self.discard_signal)
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._reserved is not None:
            self._reserved.release()

    # Steps

    def _start_guarded(self) -> dict[str, int]:
        spec = {
            "command": self.command(),
            "directory": str(self.directory),
            "environment": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            "identity": self.identity(),
            "log": str(self.log_path),
            "end_signal": self.discard_signal.value,
            "watch": self._watch,
        }
        # -I -S: the guard needs the standard library only, and starts in half the time.
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(GUARD), json.dumps(spec)],
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
        )
        if not done.stdout:
            raise ServerNotReady(f"{self.kind} could not be started:\n{done.stderr}")
        ids: dict[str, int] = json.loads(done.stdout)
        return ids

    def _hold(self, server: int, guard: int) -> None:
        self.pid, self._guard_pid = server, guard
        try:
            self._guard_fd = os.pidfd_open(guard)
            self._server_fd = os.pidfd_open(server)
        except ProcessLookupError:
            self._close_fds()
            raise ServerNotReady(self._with_log("ended as soon as it was started")) from None

    def identity(self) -> dict[str, Any]:
        """As whom the server runs: arguments for :class:`subprocess.Popen`."""
        return {}

    def _end(self, how: signal.Signals) -> None:
        self._refuse_if_shared()
        if self.running:
            if self._paused:
                self.resume()
            signal.pidfd_send_signal(self._server_fd, how)
        if self._guard_fd >= 0:
            # The guard is the last to go: when it is gone, so is every process of the server.
            if not select.select([self._guard_fd], [], [], STOP_SECONDS)[0]:
                raise ServerNotReady(self._with_log(f"did not end within {STOP_SECONDS:.0f} s of {how.name}"))
            self._close_fds()

    def _signal_all(self, what: signal.Signals) -> None:
        """Its main process first, so that none is made between looking and pausing."""
        with suppress(psutil.NoSuchProcess):  # it may end meanwhile, and so may any of its children
            main = psutil.Process(self.pid)
            main.send_signal(what)
            for child in main.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(what)

    def _close_fds(self) -> None:
        for fd in (self._server_fd, self._guard_fd):
            if fd >= 0:
                os.close(fd)
        self._server_fd = self._guard_fd = -1

    def _refuse_if_shared(self) -> None:
        if self.shared:
            raise RuntimeError(
                f"this {self.kind} is shared with other tests: start one with private_{self.kind}()"
            )

    def _with_log(self, what: str) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return "\n".join(
            [f"{self.kind} on port {self.port} {what}; the end of its log:", *lines[-LOG_TAIL_LINES:]]
        )


def find_binary(name: str, *places: Path) -> str:
    """The path of a program on PATH, where servers are installed, or in ``places``; raises :class:`BinaryMissing`."""
    path = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", *map(str, places)]
    )
    found = shutil.which(name, path=path)
    if found is None:
        raise BinaryMissing(f"{name} is not installed")
    return found


def unprivileged_user(*preferred: str) -> pwd.struct_passwd:
    """The first of these users, or nobody, that this machine has."""
    for name in (*preferred, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"none of the users {preferred} exists here, nor does nobody")
