"""``jobrunner run`` in a process of its own, as its users run it."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

import psutil

from bench.place import Place
from bench.rows import cores
from jobrunner.jobs import look
from jobrunner.jobs.post import post
from jobrunner.model import JobState, Posting

START_S = 60.0
STOP_S = 45.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class ConductorFailed(Exception):
    """A conductor ended, or did not do what it was asked for in time."""


class Conductor:
    """One conductor with its own node name.

    :param processes: worker processes; None for jobrunner's default, one a core
    :param settings: variables of its environment besides the place's
    """

    def __init__(
        self,
        place: Place,
        *,
        processes: int | None = 1,
        lease: float | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self._environment = {**place.environment, **(settings or {})}
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self.log = place.directory / f"{self.name}.log"
        self.processes = cores() if processes is None else processes
        flags = [] if processes is None else ["--processes", str(processes)]
        flags += [] if lease is None else ["--lease", f"{lease:g}s"]
        self._command = [sys.executable, "-m", "jobrunner", "run", "--name", self.name, *flags]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Conductor:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.place.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Should the run be killed, its conductors go as well, and their workers with them.
                preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ConductorFailed(self.with_log(f"did not stop within {STOP_S:g} s")) from None

    @property
    def supervisor(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """The worker processes there are now: the children of its fork server."""
        return [worker for server in self.supervisor.children() for worker in server.children()]

    def wait_ready(self) -> None:
        """Return once all workers are there and a job that only this node may run has been run."""
        deadline = time.monotonic() + START_S
        while len(self.workers()) < self.processes:
            self.require_alive()
            if time.monotonic() > deadline:
                raise ConductorFailed(self.with_log(f"has no {self.processes} workers after {START_S:g} s"))
            time.sleep(0.05)
        with self.place.context() as context:
            posted = post(context, Posting(type="bench_noop", node=self.name))
            (job,) = look.wait(context, [posted.job_id], timeout=START_S)
        if job.state is not JobState.SUCCEEDED:
            raise ConductorFailed(self.with_log(f"could not run a job: {job.error}"))

    def kill(self) -> None:
        """Kill the supervisor and all its workers, as a power cut would."""
        everybody = [self.supervisor, *self.workers()]
        for process in everybody:
            with suppress(psutil.NoSuchProcess):  # a worker whose supervisor is gone leaves by itself
                process.kill()
        assert self._process is not None
        self._process.wait()

    def require_alive(self) -> None:
        """Raise ConductorFailed if it has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise ConductorFailed(self.with_log(f"ended with status {self._process.returncode}"))

    def with_log(self, what: str) -> str:
        """``what``, and the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"the conductor {what}; the end of its log:", *lines])
