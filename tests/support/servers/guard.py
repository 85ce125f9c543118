"""The process between a test run and a server: it ends the server when the run is gone.

Run as a program with one JSON object as its argument; prints the ids of itself and of the server as JSON and detaches.
It lives exactly as long as the server. It is its server's subreaper, so a server's orphans (PostgreSQL's backends
after their postmaster was killed) come to it and are killed as well. Should the guard itself be killed, the kernel
kills the server.

A pidfd on the run rather than a pipe or ``PR_SET_PDEATHSIG`` alone: a shared server is started by one xdist worker
and must live as long as the controller, and the kernel's signal is tied to the thread that forked, not to a process.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 10.0

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    spec = json.loads(sys.argv[1])
    watched = os.pidfd_open(spec["watch"])
    if os.fork():
        os._exit(0)
    os.setsid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    server = start(spec)
    print(json.dumps({"guard": os.getpid(), "server": server.pid}), flush=True)
    detach(spec["log"])
    guard(server, watched, spec)


def start(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the server, as another user where the specification names one; errors go to whoever started the guard."""
    with open(spec["log"], "ab") as log:
        return subprocess.Popen(
            spec["command"],
            cwd=spec["directory"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # Runs after the change of user, which would clear the signal.
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            **spec["identity"],
        )


def detach(log: str) -> None:
    """Let go of the pipes of whoever started the guard, who waits for their end."""
    null, out = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)


def guard(server: subprocess.Popen[bytes], watched: int, spec: dict[str, Any]) -> None:
    """Wait until the server or the run ends; in the latter case end the server and remove its directory."""
    died = os.pidfd_open(server.pid)
    select.select([watched, died], [], [])
    run_is_gone = bool(select.select([watched], [], [], 0)[0])
    if run_is_gone:
        server.send_signal(spec["end_signal"])
        for paused in (*children_of(server.pid), server.pid):
            with suppress(ProcessLookupError):  # it left by itself
                os.kill(paused, signal.SIGCONT)
        if not select.select([died], [], [], GRACE_SECONDS)[0]:
            server.kill()
    print(f"guard: the server ended with status {server.wait()}", flush=True)
    kill_orphans()
    if run_is_gone:
        remove(spec["directory"])


def kill_orphans() -> None:
    """Kill and reap what the server left running."""
    while children := children_of(os.getpid()):
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [int(child) for child in children.read().split()]
    except FileNotFoundError:
        return []


def remove(directory: str) -> None:
    """Remove the server's directory, and the run's around it when this was the last in it."""
    shutil.rmtree(directory, ignore_errors=True)
    run = os.path.dirname(directory)
    if not [name for name in os.listdir(run) if os.path.isdir(os.path.join(run, name))]:
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    main()
