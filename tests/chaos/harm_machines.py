"""Faults of machines and their processes: they die, stand still, leave, and come back."""

from __future__ import annotations

import time
from dataclasses import replace

import psutil

from tests.chaos.faults import Fault, NothingToBreak
from tests.chaos.machines import STOP_S, now_us


class KillWorker(Fault):
    """SIGKILL for a worker."""

    name = "kill a worker"
    weight = 16
    lasts = (0.0, 0.0)

    def start(self) -> str:
        death = self.machine.kill_worker(self.rng.choice)
        if death is None:
            raise NothingToBreak(f"{self.machine.name} has no worker")
        self.world.deaths.append(death)
        return f"worker {death.slot} of {self.machine.name}"


class KillForkServer(Fault):
    """SIGKILL for what the workers come from: they go with it."""

    name = "kill the fork server"
    takes_away = True
    lasts = (0.0, 0.0)

    def start(self) -> str:
        death = self.machine.kill_fork_server()
        if death is None:
            raise NothingToBreak(f"{self.machine.name} has no fork server")
        self.world.deaths.append(death)
        return self.machine.name


class ComesBack(Fault):
    """A machine whose conductor is started again, as an init system does."""

    takes_away = True
    lasts = (0.2, 3.0)

    def heal(self) -> None:
        machine = self.machine
        if machine.down:
            machine.start()


class KillSupervisor(ComesBack):
    """SIGKILL for the supervisor alone."""

    name = "kill a supervisor"
    weight = 8

    def start(self) -> str:
        self.world.deaths.append(self.machine.kill_supervisor())
        return self.machine.name


class KillMachine(ComesBack):
    """SIGKILL for all of a conductor at once."""

    name = "kill a machine"
    weight = 14

    def start(self) -> str:
        self.world.deaths.append(self.machine.kill_all())
        return self.machine.name


class StopMachine(ComesBack):
    """SIGTERM, and another conductor in its place when it has left; one that does not leave is killed."""

    name = "restart a conductor"

    def start(self) -> str:
        self._patience_ends = time.monotonic() + STOP_S
        self.machine.leave()
        return self.machine.name

    def may_end(self) -> bool:
        return self.machine.has_left() or time.monotonic() > self._patience_ends

    def heal(self) -> None:
        machine = self.machine
        if machine.leaving and not machine.has_left():
            self.world.deaths.append(machine.kill_all())
        super().heal()


class StandsStill(Fault):
    """SIGSTOP for longer than a lease, then SIGCONT: what was thought dead is not."""

    lasts = (1.5, 4.0)
    leases = True
    takes_away = True
    stands_still = True
    supervisor_only = False
    _pid = 0

    def start(self) -> str:
        self._pid = self.machine.pid
        self._death = self.machine.pause(supervisor_only=self.supervisor_only)
        if not self.supervisor_only:
            self.world.deaths.append(self._death)
        return self.machine.name

    def heal(self) -> None:
        machine = self.machine
        if not machine.down and machine.pid == self._pid:
            machine.resume()
        if self._death in self.world.deaths:
            self.world.deaths.remove(self._death)
            self.world.deaths.append(replace(self._death, until_us=now_us()))


class PauseMachine(StandsStill):
    """All of a conductor stands still."""

    name = "pause a machine"
    weight = 14


class PauseSupervisor(StandsStill):
    """Only the supervisor stands still: nobody keeps its workers' leases."""

    name = "pause a supervisor"
    weight = 8
    supervisor_only = True


class PauseWorker(Fault):
    """A worker stands still: its supervisor ends it, or it goes on before that."""

    name = "pause a worker"
    weight = 8
    lasts = (1.5, 4.0)
    leases = True
    _worker: psutil.Process | None = None

    def start(self) -> str:
        found = self.machine.pause_worker(self.rng.choice)
        if found is None:
            raise NothingToBreak(f"{self.machine.name} has no worker")
        self._worker, death = found
        return f"worker {death.slot} of {self.machine.name}"

    def heal(self) -> None:
        if self._worker is not None and self._worker.is_running():
            try:
                self._worker.resume()
            except psutil.NoSuchProcess:  # its supervisor has ended it
                return


KINDS: tuple[type[Fault], ...] = (
    KillWorker,
    KillForkServer,
    KillSupervisor,
    KillMachine,
    StopMachine,
    PauseMachine,
    PauseSupervisor,
    PauseWorker,
)
