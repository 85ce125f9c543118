"""The demo's conductors as processes: started, killed, and ended whatever happens."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

KILLED_S = 10.0
"""How long a process may take to be gone after SIGKILL."""
WORKERS_S = 2.0
"""How long workers may take to notice that their supervisor is gone."""
POLL_S = 0.01


def start_conductor(name: str, log: Path, environment: Mapping[str, str]) -> Conductor:
    """Start ``jobrunner run`` under this name, with one worker."""
    command = [sys.executable, "-m", "jobrunner", "run", "--name", name, "--processes", "1"]
    with log.open("wb") as out:
        # A session of its own: Ctrl-C is for the demo, which ends its conductors itself.
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Conductor(name=name, process=process, log=log)


@dataclass
class Conductor:
    """A conductor of the demo: its supervisor's process and, once they were looked at, its workers'."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    identity: str = ""
    workers: list[psutil.Process] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def find_workers(self) -> None:
        """Remember the worker processes; while the supervisor lives they are its children."""
        try:
            self.workers = psutil.Process(self.pid).children(recursive=True) or self.workers
        except psutil.NoSuchProcess:
            return

    def kill(self) -> int:
        """SIGKILL the supervisor, and it alone; what the system says of its end."""
        self.find_workers()
        self.process.kill()
        return self.process.wait()

    def workers_left(self, seconds: float) -> int:
        """How many workers are still there after ``seconds`` at most."""
        return len(_wait_for_end(self.workers, seconds))

    def ask_to_stop(self) -> None:
        self.find_workers()
        if self.is_alive:
            self.process.terminate()

    def end(self, seconds: float) -> None:
        """See to it that nothing of it is left; what does not end in ``seconds`` is killed."""
        self.find_workers()
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for worker in _wait_for_end(self.workers, min(seconds, WORKERS_S)):
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        _wait_for_end(self.workers, KILLED_S)


def _wait_for_end(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after ``seconds`` at most.

    They are nobody's children any more, and a container's first process may never reap them: a zombie has ended.
    """
    deadline = time.monotonic() + seconds
    while True:
        alive = [process for process in processes if _runs(process)]
        if not alive or time.monotonic() >= deadline:
            return alive
        time.sleep(POLL_S)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
