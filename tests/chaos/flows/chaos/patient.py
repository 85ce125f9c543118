"""Job types with more of a life: attempts that fail, and waits for a time and for signals."""

from __future__ import annotations

import uuid
from typing import Any

from flows.chaos.leaving import leave, whose
from flows.chaos.steady import Step
from taskflow.patterns import linear_flow
from taskflow.task import Task

from jobrunner import job, waits

SIGNAL = "go"


class Flaky(Step):
    """Fails in each attempt of its job before this one; with 0 in all of them."""

    def __init__(self, name: str, evidence: str, *, until: int, **options: Any) -> None:
        super().__init__(name, evidence, **options)
        self._until = until

    def _spend_time(self) -> None:
        super()._spend_time()
        attempt = whose()["attempt"]
        if not self._until or attempt < self._until:
            raise ValueError(f"{self.name} fails in attempt {attempt}, as it is meant to")


class Patient(Task):  # type: ignore[misc]
    """Waits for so many seconds, or for a signal if there are none; what came with that is told, and given on.

    :param after: the atom whose token it takes
    """

    def __init__(self, name: str, evidence: str, *, after: str, seconds: float = 0.0) -> None:
        needs = {"job_id": "job_id", "token": f"token_{after}"}
        super().__init__(name, provides=f"token_{name}", rebind=needs, auto_extract=False)
        self._evidence, self._after, self._seconds = evidence, after, seconds

    def execute(self, job_id: str, token: str) -> str:
        said = {"job": job_id, "atom": self.name}
        leave(self._evidence, **said, what="start", after=[self._after], got={self._after: token})
        took = None
        if self._seconds:
            waits.sleep(self._seconds)
        else:
            took = waits.wait_for_signal(SIGNAL)
        gave = uuid.uuid4().hex
        leave(self._evidence, **said, what="end", gave=gave, took=took)
        return gave

    def revert(self, job_id: str, *args: Any, **kwargs: Any) -> None:
        leave(self._evidence, job=job_id, atom=self.name, what="revert")


@job
def chaos_flaky(evidence: str, until: int = 0, seconds: float = 0.1) -> Any:
    """The second of three atoms fails in each attempt before one, or in all of them."""
    return linear_flow.Flow("flaky").add(
        Step("first", evidence, seconds=seconds),
        Flaky("flaky", evidence, after=("first",), seconds=seconds, until=until),
        Step("last", evidence, after=("flaky",), seconds=seconds),
    )


@job
def chaos_nap(evidence: str, naps: float = 1.0, seconds: float = 0.1) -> Any:
    """Two atoms that do something, and between them one that waits for a time."""
    return linear_flow.Flow("nap").add(
        Step("before", evidence, seconds=seconds),
        Patient("nap", evidence, after="before", seconds=naps),
        Step("behind", evidence, after=("nap",), seconds=seconds),
    )


@job
def chaos_signals(evidence: str, seconds: float = 0.3) -> Any:
    """Takes two signals of one name."""
    return linear_flow.Flow("signals").add(
        Step("before", evidence, seconds=seconds),
        Patient("one", evidence, after="before"),
        Step("between", evidence, after=("one",), seconds=seconds),
        Patient("two", evidence, after="between"),
        Step("behind", evidence, after=("two",), seconds=seconds / 3),
    )
