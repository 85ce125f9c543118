"""Job types for processes of their own: they crash, hog, hang and leave children behind."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from typing import Any

from flows.probe.evidence import Step, leave, wait_for
from taskflow.patterns import linear_flow
from taskflow.task import Task

from jobrunner import job
from jobrunner.conductor.worker.aftermath import Aftermath

HANG_S = 60.0
SLOW_S = 3.0


class Segfault(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str) -> None:
        leave(evidence, job=job_id, atom=self.name, what="start")
        ctypes.string_at(0)


@job(isolation="process")
def segfault(evidence: str) -> Any:
    """Crashes the interpreter."""
    return linear_flow.Flow("segfault").add(Segfault("crash"))


class Hog(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str, mib: int) -> None:
        leave(evidence, job=job_id, atom=self.name, what="start")
        held = [bytearray(b"x" * (1 << 20)) for _ in range(mib)]
        time.sleep(HANG_S)
        leave(evidence, job=job_id, atom=self.name, what="end", held=len(held))


@job(memory="150MB")
def hog(evidence: str, mib: int = 200) -> Any:
    """Uses much memory."""
    return linear_flow.Flow("hog").add(Step("before", evidence), Hog("hog"))


class Hang(Task):  # type: ignore[misc]
    """Starts children, one of them in a process group of its own, and then heeds nothing; unless somebody undoes it."""

    def execute(self, job_id: str, evidence: str, children: int) -> None:
        started = [subprocess.Popen(["sleep", "90"]) for _ in range(children)]
        if children:
            started.append(subprocess.Popen(["sleep", "90"], preexec_fn=os.setpgrp))
        for child in started:
            leave(evidence, job=job_id, atom=str(child.pid), what="child")
        leave(evidence, job=job_id, atom=self.name, what="start")
        time.sleep(HANG_S)

    def revert(self, job_id: str, evidence: str, *args: Any, **kwargs: Any) -> None:
        leave(evidence, job=job_id, atom=self.name, what="revert")


@job(isolation="process", grace="1s")
def hang(evidence: str, children: int = 0) -> Any:
    """Heeds no request to stop."""
    return linear_flow.Flow("hang").add(Step("before", evidence), Hang("hang"))


ESCAPES = {
    "setsid": ["setsid", "sleep", "90"],
    "forks twice": ["sh", "-c", "(sleep 91 & sleep 92 &) "],
    "forks twice, setsid": ["sh", "-c", "(setsid sleep 93 &)"],
    "without environment": ["env", "-i", "/usr/bin/setsid", "/bin/sh", "-c", "/bin/sleep 94 & exit"],
    "heeds no SIGTERM": ["setsid", "sh", "-c", "trap '' TERM; sleep 95; sleep 96"],
}


class Escape(Task):  # type: ignore[misc]
    """Starts commands that leave its session, in all ways that there are; then waits."""

    def execute(self, job_id: str, evidence: str, gate: str) -> None:
        for argv in ESCAPES.values():
            subprocess.Popen(argv)
        if evidence:
            leave(evidence, job=job_id, atom=self.name, what="start")
        if gate:
            wait_for(gate)
        else:
            time.sleep(HANG_S)


@job(isolation="process", grace="0.5s")
def escape(evidence: str, gate: str = "") -> Any:
    """Leaves commands behind that made themselves independent."""
    return linear_flow.Flow("escape").add(Escape("escape"))


class SlowToLeave(Task):  # type: ignore[misc]
    """Starts a command that leaves its session, and fails; and its process takes long to leave, as when SQL is slow.

    In the second attempt it tells which commands of the first live beside it.
    """

    def execute(self, job_id: str, evidence: str, gate: str, commands: str) -> None:
        living = _living(commands)
        for pid in living:
            leave(evidence, job=job_id, atom=pid, what="beside")
        leave(evidence, job=job_id, atom=self.name, what="start")
        if os.path.exists(commands):
            return
        wait_for(gate)
        command = subprocess.Popen(["sleep", "97"], start_new_session=True)
        with open(commands, "w") as file:
            file.write(f"{command.pid}\n")
        stop = Aftermath.stop

        def slow(aftermath: Aftermath) -> None:
            time.sleep(SLOW_S)
            stop(aftermath)

        Aftermath.stop = slow  # type: ignore[method-assign]
        raise ValueError("it fails the first time")


def _living(commands: str) -> list[str]:
    if not os.path.exists(commands):
        return []
    with open(commands) as file:
        return [pid for pid in file.read().split() if _lives(pid)]


def _lives(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@job(isolation="process")
def slow_to_leave(evidence: str, gate: str, commands: str) -> Any:
    """Fails the first time, and leaves a command behind."""
    return linear_flow.Flow("slow_to_leave").add(SlowToLeave("leaves"))


class WaitForChild(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str) -> None:
        leave(evidence, job=job_id, atom=self.name, what="start")
        subprocess.run(["sleep", "60"], check=True)

    def revert(self, job_id: str, evidence: str, *args: Any, **kwargs: Any) -> None:
        leave(evidence, job=job_id, atom=self.name, what="revert")


@job(isolation="process", grace="20s")
def waits_for_child(evidence: str) -> Any:
    """Waits for another program."""
    return linear_flow.Flow("waits_for_child").add(WaitForChild("wait"))


class StuckRevert(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str, gate: str) -> None:
        leave(evidence, job=job_id, atom=self.name, what="start")
        wait_for(gate, heed=True)

    def revert(self, job_id: str, evidence: str, *args: Any, **kwargs: Any) -> None:
        leave(evidence, job=job_id, atom=self.name, what="revert")
        time.sleep(HANG_S)


@job(isolation="process", grace="1s")
def stuck_revert(evidence: str, gate: str) -> Any:
    """Its undoing does not end."""
    return linear_flow.Flow("stuck_revert").add(StuckRevert("stuck"))


class Burn(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str, seconds: float, gate: str) -> None:
        if evidence:
            leave(evidence, job=job_id, atom=self.name, what="start")
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        if gate:
            wait_for(gate)


@job(isolation="process")
def burn(evidence: str, seconds: float = 1.0, gate: str = "") -> Any:
    """Uses a processor for so long."""
    return linear_flow.Flow("burn").add(Burn("burn"))


class WhoAmI(Task):  # type: ignore[misc]
    default_provides = "me"

    def execute(self) -> dict[str, Any]:
        can_return = True
        try:
            os.setuid(0)
        except PermissionError:
            can_return = False
        with open("/proc/self/status") as status:
            lines = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
        return {
            "ids": [*os.getresuid(), *os.getresgid()],
            "groups": sorted(os.getgroups()),
            "home": os.environ.get("HOME"),
            "user": os.environ.get("USER"),
            "can_return": can_return,
            "no_new_privs": lines.get("NoNewPrivs"),
            "pid": os.getpid(),
            "session": os.getsid(0),
            "loaded_as": LOADED_AS,
        }


LOADED_AS = os.geteuid()
"""Who imported this module."""


@job(isolation="process")
def who_am_i() -> Any:
    """As whom it runs."""
    return linear_flow.Flow("who_am_i").add(WhoAmI("ask"))
