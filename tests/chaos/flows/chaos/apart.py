"""A job type whose tasks start commands that nobody waits for; it is to be run in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from typing import Any

from flows.chaos.leaving import whose
from flows.chaos.steady import Step, in_a_row
from taskflow.patterns import linear_flow

from jobrunner import job

LIVES_S = 30.0
"""Should nobody end it, a command ends by itself after so long."""
BEAT_S = 0.02
COMMAND = """
import os, sys, time
beats, whose, lives, pause = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
descriptor = os.open(beats, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
os.write(descriptor, whose.encode() + b"\\n")
ends = time.monotonic() + lives
while time.monotonic() < ends:
    os.write(descriptor, b"%d\\n" % (time.time_ns() // 1000))
    time.sleep(pause)
"""
"""Says whose it is, and then again and again what time it is."""


class Starts(Step):
    """Starts a command in a session of its own, and leaves it to itself."""

    def execute(self, job_id: str, tries: int = 0, **tokens: str) -> str:
        said = json.dumps({"job": job_id, **whose()})
        path = f"{self._evidence}/{uuid.uuid4().hex}.beats"
        options = [path, said, str(LIVES_S), str(BEAT_S)]
        command = [sys.executable, "-I", "-S", "-c", COMMAND, *options]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._wait_for(path)
        return super().execute(job_id, tries, **tokens)

    def _wait_for(self, path: str) -> None:
        """For a moment: else what is killed at once would never have said anything."""
        ends = time.monotonic() + self._seconds
        while not os.path.exists(path) and time.monotonic() < ends:
            time.sleep(BEAT_S)


@job
def chaos_apart(evidence: str, steps: int = 3, seconds: float = 0.3) -> Any:
    """Atoms one after the other, each of which leaves a command running."""
    return in_a_row("apart", Starts, evidence, steps=steps, seconds=seconds)


@job(unique=("customer",))
def chaos_only(evidence: str, customer: str = "", seconds: float = 0.4) -> Any:
    """Two atoms, of a job of which there is one for each customer at a time."""
    return linear_flow.Flow("only").add(
        Step("first", evidence, seconds=seconds),
        Step("last", evidence, after=("first",), seconds=seconds),
    )
