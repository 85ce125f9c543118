"""The machines of a run: each a conductor in processes of its own, that can die, stand still and come back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from jobrunner.errors import EXIT_UNAVAILABLE
from tests.chaos.systems import Servers, System

PR_SET_PDEATHSIG = 1
STOP_S = 15.0
TAIL_LINES = 30
ALONE = "alone"
"""The place of all workers that run one job each, and of those that wait for one."""

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Death:
    """Owners that died, or stood still, at a moment.

    :param owner: how the identity of each begins
    :param slot: the worker's place in its conductor; None for all of them
    :param pid: of a worker that was alone, and shares its place with others
    :param until_us: when those that only stood still went on
    """

    owner: str
    at_us: int
    slot: str | None = None
    pid: int | None = None
    until_us: int | None = None

    def killed(self, owner: str) -> bool:
        """Whether this owner is one of them."""
        place = owner.rpartition("/")[2].partition(".")[0]
        return owner.startswith(self.owner) and self.slot in (None, place)


class Machine:
    """One conductor; started, killed and paused by one thread only, with which it also ends."""

    def __init__(
        self, name: str, system: System, servers: Servers, directory: Path, *, lease: float, workers: int
    ) -> None:
        self.name = name
        self.workers_wanted = workers
        self.directory = directory
        self.paused = False
        self.down = True
        self.leaving = False
        self.starts = 0
        self.exit_codes: list[int] = []
        """Of those that were asked to leave, and left."""
        self._system = system
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            **system.environment(servers, node=name, lease=lease, workers=workers),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._logs: list[Path] = []
        self._left: list[psutil.Process] = []

    # Looking

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self._logs[-1]

    def is_ready(self) -> bool:
        """Whether all its workers took up work since it was started."""
        if self.down or not self._logs:
            return False
        return self._says_ready() >= self.workers_wanted

    def _says_ready(self) -> int:
        return self._system.ready(self.log_path.read_text(errors="replace"))

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Its living processes: ``supervisor``, ``worker``, and ``other`` (its fork server, and guardians)."""
        found: dict[str, list[psutil.Process]] = {"supervisor": [], "worker": [], "other": []}
        if self._process is None or self._process.poll() is not None:
            return found
        supervisor = psutil.Process(self._process.pid)
        found["supervisor"].append(supervisor)
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in supervisor.children(recursive=True):
                if _lives(process):
                    found["other" if _slot(process) is None else "worker"].append(process)
        return found

    def below(self) -> list[psutil.Process]:
        """All its living processes but the supervisor."""
        found = self.processes()
        return [*found["other"], *found["worker"]]

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self._logs)

    def tail(self) -> str:
        lines = self.logs().splitlines()[-TAIL_LINES:]
        return "\n".join([f"--- the end of the log of {self.name}:", *lines])

    # Its life

    def start(self) -> None:
        """Start its conductor anew; what is left of the one before is ended first."""
        self.end()
        path = self.directory / f"{self.name}.{len(self._logs)}.log"
        self._logs.append(path)
        with path.open("wb") as log:
            self._process = subprocess.Popen(
                self._system.command(),
                env=self._environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_with_its_starter,
            )
        self.starts += 1
        self.down = self.paused = False

    def gave_up(self) -> bool:
        """Whether its conductor ended though nobody wanted it to."""
        return not self.down and self._process is not None and self._process.poll() is not None

    def how_it_ended(self) -> str | None:
        """In words; None for one that found no database when it was started, and said so by its exit code."""
        assert self._process is not None
        code = self._process.poll()
        if code == EXIT_UNAVAILABLE and not self._says_ready():
            return None
        return f"{self.name} ended with {code}\n{self.tail()}"

    def leave(self) -> None:
        """SIGTERM: it is to hand back what it has, and to leave by itself."""
        assert self._process is not None
        self._left += self.below()
        self.down = self.leaving = True
        self._process.terminate()

    def has_left(self) -> bool:
        """Whether it has ended; its exit code is kept."""
        code = None if self._process is None else self._process.poll()
        if self.leaving and code is not None:
            self.leaving = False
            # One that was still starting has nothing to hand back, and no handler for the signal yet.
            early = code == -signal.SIGTERM and not self._says_ready()
            self.exit_codes.append(0 if early else code)
        return not self.leaving

    def stop(self) -> None:
        """SIGTERM, and wait until it has left."""
        if self.down or self._process is None:
            return
        self.leave()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self.has_left()
        self.end()

    def end(self) -> None:
        """Be sure that nothing of it is left. Ending twice is fine."""
        if self._process is None:
            return
        self._left += self.below()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        _each(self._left, psutil.Process.kill)
        self._left.clear()
        self.down, self.paused, self.leaving = True, False, False

    # Faults

    def kill_worker(self, choose: Callable[[list[psutil.Process]], psutil.Process]) -> Death | None:
        """SIGKILL for one worker; None if there is none."""
        found = self._choose_worker(choose)
        if found is None:
            return None
        worker, slot = found
        death = self._death(slot=slot, pid=worker.pid if slot == ALONE else None)
        _each([worker], psutil.Process.kill)
        return death

    def pause_worker(
        self, choose: Callable[[list[psutil.Process]], psutil.Process]
    ) -> tuple[psutil.Process, Death] | None:
        """SIGSTOP for one worker, which stays so; None if there is none."""
        found = self._choose_worker(choose)
        if found is None:
            return None
        worker, slot = found
        self._left.append(worker)
        death = self._death(slot=slot)
        _each([worker], psutil.Process.suspend)
        return worker, death

    def kill_supervisor(self) -> Death:
        """SIGKILL for the supervisor alone: its workers are to notice."""
        assert self._process is not None
        self._left += self.below()
        death = self._death()
        self._process.kill()
        self._process.wait()
        self.down = True
        return death

    def kill_all(self) -> Death:
        """SIGKILL for all of it at once, as when the machine dies."""
        self.pause()
        death = self._death()
        self.end()
        return death

    def kill_fork_server(self) -> Death | None:
        """SIGKILL for what its workers come from, and go with; None if there is none."""
        found = [child for process in self.processes()["supervisor"] for child in _children(process)]
        if not found:
            return None
        death = self._death()
        _each(found, psutil.Process.kill)
        return death

    def pause(self, *, supervisor_only: bool = False) -> Death:
        """SIGSTOP for all of it, or for its supervisor alone."""
        death = self._death()
        _each(self.processes()["supervisor"], psutil.Process.suspend)
        if not supervisor_only:
            _each(self.processes()["other"], psutil.Process.suspend)  # so that no worker is made meanwhile
            _each(self.below(), psutil.Process.suspend)
        self.paused = True
        return death

    def resume(self) -> None:
        """SIGCONT for all of it. Resuming twice is fine."""
        _each([*self.below(), *self.processes()["supervisor"]], psutil.Process.resume)
        self.paused = False

    def _death(self, slot: str | None = None, pid: int | None = None) -> Death:
        return Death(owner=f"{self.name}:{self.pid}:", slot=slot, pid=pid, at_us=now_us())

    def _choose_worker(
        self, choose: Callable[[list[psutil.Process]], psutil.Process]
    ) -> tuple[psutil.Process, str] | None:
        found = [process for process in self.processes()["worker"] if not _is_spare(process)]
        workers = sorted(found, key=lambda process: process.pid)
        if not workers:
            return None
        worker = choose(workers)
        slot = _slot(worker)
        return None if slot is None else (worker, slot)


def _with_its_starter() -> None:
    """A conductor ends with the thread that started it, and leaves no core behind."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _slot(process: psutil.Process) -> str | None:
    """The place of a worker in its conductor, by its name in the process list; None for what is no worker."""
    try:
        with open(f"/proc/{process.pid}/comm") as comm:
            name, _, slot = comm.read().strip().partition(" ")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return slot if name == "jobrunner" and slot else None


def _is_spare(process: psutil.Process) -> bool:
    """Whether it waits for a job of its own, as far as can be seen: it has started nothing."""
    return _slot(process) == ALONE and not _children(process)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children())
    except psutil.NoSuchProcess:
        return []


def _each(processes: list[psutil.Process], what: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            what(process)


def now_us() -> int:
    """Microseconds since the epoch, as evidence and SQL's history tell them."""
    return time.time_ns() // 1000
