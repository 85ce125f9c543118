"""Job types that leave evidence: each atom writes what happened, and when, to a file of its own, durably.

The system under test has no part in that: a line is on disk before the atom goes on. ``gate`` is a file; an atom that
holds waits until it is there.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from taskflow import retry
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.task import Task

from jobrunner import job, register_capability, stopping

HOLD_S = 60.0


def leave(path: str, **what: Any) -> None:
    """Append a line of evidence, on disk when this returns."""
    line = json.dumps({**what, "pid": os.getpid(), "at": time.monotonic()}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def wait_for(gate: str, *, heed: bool = False) -> None:
    """Wait for a file to appear; with ``heed`` stop early if the job is asked to."""
    deadline = time.monotonic() + HOLD_S
    while not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{gate} did not appear")
        if heed and stopping.wait_for_stop(0.01):
            raise stopping.Stopped
        if not heed:
            time.sleep(0.01)


class Step(Task):  # type: ignore[misc]
    """Leaves evidence of its start, its end and its revert.

    :param hold: waits for the gate between start and end
    """

    def __init__(
        self,
        name: str,
        evidence: str,
        *,
        gate: str = "",
        heed: bool = False,
        fails: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._evidence, self._gate, self._heed, self._fails = evidence, gate, heed, fails

    def execute(self, job_id: str) -> str:
        leave(self._evidence, job=job_id, atom=self.name, what="start")
        print(f"{self.name} of {job_id}")
        if self._gate:
            wait_for(self._gate, heed=self._heed)
        if self._fails:
            raise ValueError(f"{self.name} fails")
        leave(self._evidence, job=job_id, atom=self.name, what="end")
        return self.name

    def revert(self, job_id: str, *args: Any, **kwargs: Any) -> None:
        leave(self._evidence, job=job_id, atom=self.name, what="revert")


@job
def steps(evidence: str, count: int = 3, hold: int = 0, gate: str = "", heed: bool = False) -> Any:
    """Some atoms one after the other, of which number ``hold`` waits for the gate."""
    tasks = [
        Step(f"step{number}", evidence, gate=gate if number == hold else "", heed=heed)
        for number in range(1, count + 1)
    ]
    return linear_flow.Flow("steps").add(*tasks)


@job
def quick(evidence: str) -> Any:
    """One atom."""
    return linear_flow.Flow("quick").add(Step("only", evidence))


class Busy(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str, seconds: float) -> None:
        leave(evidence, job=job_id, atom=self.name, what="start")
        time.sleep(seconds)
        leave(evidence, job=job_id, atom=self.name, what="end")


@job
def busy(evidence: str, seconds: float = 0.02) -> Any:
    """One atom that takes some time."""
    return linear_flow.Flow("busy").add(Busy("busy"))


@job(max_running=2)
def two_at_once(evidence: str, seconds: float = 0.1) -> Any:
    """One atom that takes some time; two run at once."""
    return linear_flow.Flow("two_at_once").add(Busy("busy"))


@job(rate="3/1s")
def three_a_second(evidence: str, seconds: float = 0.01) -> Any:
    """One atom; three start in a second."""
    return linear_flow.Flow("three_a_second").add(Busy("busy"))


@job(unique=("name",))
def one_a_name(evidence: str, name: str, note: str = "", gate: str = "") -> Any:
    """One atom that waits for the gate; one a name is open."""
    return linear_flow.Flow("one_a_name").add(Step("only", evidence, gate=gate))


@job
def failing(evidence: str) -> Any:
    """The second of two atoms fails."""
    return linear_flow.Flow("failing").add(Step("good", evidence), Step("bad", evidence, fails=True))


class Unsteady(Step):
    """Fails the first times that it is started in its job, whatever the attempt; then it waits for the gate."""

    def __init__(self, name: str, evidence: str, *, fails: int, **options: Any) -> None:
        super().__init__(name, evidence, **options)
        self._times = fails

    def execute(self, job_id: str) -> str:
        lines = [json.loads(line) for line in Path(self._evidence).read_text().splitlines()]
        ours = [line for line in lines if line["job"] == job_id and line["atom"] == self.name]
        self._fails = sum(line["what"] == "start" for line in ours) < self._times
        gate, self._gate = self._gate, "" if self._fails else self._gate
        try:
            return super().execute(job_id)
        finally:
            self._gate = gate


@job
def unsteady(evidence: str, fails: int = 2, gate: str = "") -> Any:
    """The second of two atoms fails so many times before it does what it should."""
    return linear_flow.Flow("unsteady").add(
        Step("good", evidence), Unsteady("shaky", evidence, fails=fails, gate=gate)
    )


@job(engine="parallel", max_workers=4)
def side_by_side(evidence: str, gate: str = "") -> Any:
    """Four atoms at once, with a retry around them."""
    flow = unordered_flow.Flow("side_by_side", retry=retry.Times(2, "tries"))
    return flow.add(*[Step(f"side{number}", evidence, gate=gate) for number in range(4)])


class Deadly(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str, how: str) -> None:
        leave(evidence, job=job_id, atom=self.name, what="start")
        print("about to die", flush=True)
        if how == "exit":
            os._exit(3)
        if how == "exit as if it were done":
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)


@job
def deadly(evidence: str, how: str = "exit") -> Any:
    """Takes the process that runs it with it."""
    return linear_flow.Flow("deadly").add(Deadly("die"))


class Greedy(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str) -> None:
        leave(evidence, job=job_id, atom=self.name, what="start")
        # Backtracks for about a minute, and keeps the interpreter to itself meanwhile: no other thread runs.
        re.match(r"(a+)+$", "a" * 29 + "b")


@job
def greedy(evidence: str) -> Any:
    """Lets no other thread of its process run."""
    return linear_flow.Flow("greedy").add(Greedy("greedy"))


class Exits(Task):  # type: ignore[misc]
    def execute(self) -> None:
        sys.exit(4)


@job
def exits() -> Any:
    """Calls sys.exit."""
    return linear_flow.Flow("exits").add(Exits("exit"))


class Talk(Task):  # type: ignore[misc]
    def __init__(self, name: str, word: str, lines: int, gate: str) -> None:
        super().__init__(name)
        self._word, self._lines, self._gate = word, lines, gate

    def execute(self, job_id: str) -> None:
        log = logging.getLogger(f"talk.{self._word}")
        for number in range(self._lines):
            print(f"out {self._word} {self.name} {number}")
            print(f"err {self._word} {self.name} {number}", file=sys.stderr)
            log.info("log %s %s %d", self._word, self.name, number)
        sys.stdout.write(f"no newline {self._word}")
        if self._gate:
            wait_for(self._gate)


@job
def talk(word: str, lines: int = 10, gate: str = "") -> Any:
    """Two atoms that print and log."""
    return linear_flow.Flow("talk").add(Talk("first", word, lines, ""), Talk("second", word, lines, gate))


class OddWords(Task):  # type: ignore[misc]
    def execute(self) -> None:
        print("é 漢 \U0001f600")
        print("nul \0 end")
        print("lone \ud800 surrogate")
        print("x" * 300_000)


@job
def odd_words() -> Any:
    """Prints what databases dislike."""
    return linear_flow.Flow("odd_words").add(OddWords("say"))


class Flood(Task):  # type: ignore[misc]
    def execute(self, lines: int, width: int) -> float:
        began = time.monotonic()
        for number in range(lines):
            print(f"{number:08d} " + "x" * (width - 10))
        return time.monotonic() - began


@job
def flood(lines: int, width: int = 60) -> Any:
    """Prints a lot."""
    return linear_flow.Flow("flood").add(Flood("flood", provides="seconds"))


class Count(Task):  # type: ignore[misc]
    def execute(self) -> dict[str, int]:
        with open("/proc/self/status") as status:
            memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return {
            "pid": os.getpid(),
            "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "memory_kb": memory,
        }


@job
def count() -> Any:
    """What the process that runs it uses."""
    return linear_flow.Flow("count").add(Count("count", provides="usage"))


class ForkAndDie(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str, gate: str) -> None:
        if Path(gate).exists():
            leave(evidence, job=job_id, atom=self.name, what="end")
            return
        if os.fork() == 0:
            Path(gate).touch()
            time.sleep(20)  # a child that outlives its parent, with all that it inherited
            os._exit(0)
        wait_for(gate)
        os.kill(os.getpid(), signal.SIGKILL)


@job
def leaves_a_child(evidence: str, gate: str) -> Any:
    """Dies at its first run and leaves a child behind."""
    return linear_flow.Flow("leaves_a_child").add(ForkAndDie("fork"))


@register_capability
def gate_is_open(asked: Any) -> bool:
    return Path(str(asked.parameters["gate"])).exists()


@register_capability
def answers_late(asked: Any) -> bool:
    """Answers only when the gate is open."""
    wait_for(str(asked.parameters["gate"]))
    return True


@job(capabilities={"gate_is_open"})
def behind_a_gate(evidence: str, gate: str) -> Any:
    """May run once its gate is there."""
    return linear_flow.Flow("behind_a_gate").add(Step("only", evidence))


@job(capabilities={"answers_late"})
def judged_slowly(evidence: str, gate: str) -> Any:
    """Its capability takes as long as the gate is closed."""
    return linear_flow.Flow("judged_slowly").add(Step("only", evidence))
