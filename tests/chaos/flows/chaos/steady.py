"""Job types that behave: each says by its name how it is to end. They only leave evidence, and take their time."""

from __future__ import annotations

import time
import uuid
from typing import Any

from flows.chaos.leaving import leave
from taskflow import retry
from taskflow.patterns import graph_flow, linear_flow
from taskflow.task import Task

from jobrunner import job

SLICE_S = 0.05


class Step(Task):  # type: ignore[misc]
    """Takes tokens from the atoms before it, gives one of its own, and can be undone.

    :param after: the atoms whose tokens it takes
    :param seconds: between its start and its end
    :param fails_until: fails while the retry around it counts less than this; with 0 never, with -1 always
    """

    def __init__(
        self,
        name: str,
        evidence: str,
        *,
        after: tuple[str, ...] = (),
        seconds: float = 0.1,
        fails_until: int = 0,
        tells: bool = False,
    ) -> None:
        needs = {"job_id": "job_id", **{f"token_{other}": f"token_{other}" for other in after}}
        if fails_until > 0:
            needs["tries"] = "tries"
        super().__init__(name, provides=f"token_{name}", rebind=needs, auto_extract=False)
        self._evidence, self._after, self._seconds = evidence, after, seconds
        self._fails_until, self._tells = fails_until, tells

    def execute(self, job_id: str, tries: int = 0, **tokens: str) -> str:
        got = {other: tokens[f"token_{other}"] for other in self._after}
        said = {"job": job_id, "atom": self.name}
        leave(self._evidence, **said, what="start", after=list(self._after), got=got)
        self._spend_time()
        if self._fails_until < 0 or tries < self._fails_until:
            raise ValueError(f"{self.name} fails, as it is meant to")
        gave = uuid.uuid4().hex
        leave(self._evidence, **said, what="end", gave=gave)
        return gave

    def _spend_time(self) -> None:
        ends = time.monotonic() + self._seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))
            if self._tells:
                self.update_progress(min(1.0, 1 - left / self._seconds))

    def revert(self, job_id: str, *args: Any, **kwargs: Any) -> None:
        leave(self._evidence, job=job_id, atom=self.name, what="revert")


def in_a_row(name: str, kind: type[Step], evidence: str, *, steps: int, seconds: float) -> Any:
    """A flow of so many atoms of a kind, each after the one before it."""
    flow = linear_flow.Flow(name)
    for number in range(steps):
        after = (f"step{number - 1}",) if number else ()
        flow.add(kind(f"step{number}", evidence, after=after, seconds=seconds))
    return flow


@job
def chaos_line(evidence: str, steps: int = 4, seconds: float = 0.2) -> Any:
    """Atoms one after the other."""
    return in_a_row("line", Step, evidence, steps=steps, seconds=seconds)


@job(engine="parallel", max_workers=4)
def chaos_fan(evidence: str, width: int = 4, seconds: float = 0.5) -> Any:
    """One atom, several at once after it, and one after all of them."""
    flow = graph_flow.Flow("fan").add(Step("spread", evidence, seconds=seconds / 5))
    sides = tuple(f"side{number}" for number in range(width))
    flow.add(*[Step(side, evidence, after=("spread",), seconds=seconds) for side in sides])
    return flow.add(Step("gather", evidence, after=sides, seconds=seconds / 5))


@job
def chaos_retry(evidence: str, seconds: float = 0.2) -> Any:
    """The second of three atoms fails twice; each time both are undone and done again."""
    again = retry.Times(4, "again", provides="tries")
    return linear_flow.Flow("retry", retry=again).add(
        Step("first", evidence, seconds=seconds),
        Step("second", evidence, after=("first",), seconds=seconds, fails_until=3),
        Step("third", evidence, after=("second",), seconds=seconds),
    )


@job
def chaos_undone(evidence: str, seconds: float = 0.2) -> Any:
    """The last of three atoms fails, and all are undone."""
    return linear_flow.Flow("undone").add(
        Step("first", evidence, seconds=seconds),
        Step("second", evidence, after=("first",), seconds=seconds),
        Step("last", evidence, after=("second",), seconds=seconds, fails_until=-1),
    )


@job
def chaos_progress(evidence: str, seconds: float = 1.0) -> Any:
    """Two atoms, of which the second tells how far it is."""
    return linear_flow.Flow("progress").add(
        Step("quiet", evidence, seconds=seconds / 4),
        Step("telling", evidence, after=("quiet",), seconds=seconds, tells=True),
    )


@job
def chaos_long(evidence: str, seconds: float = 5.0) -> Any:
    """An atom that takes longer than several leases, between two short ones."""
    return linear_flow.Flow("long").add(
        Step("before", evidence),
        Step("long", evidence, after=("before",), seconds=seconds),
        Step("behind", evidence, after=("long",)),
    )


@job
def chaos_victim(evidence: str, seconds: float = 1.0) -> Any:
    """Atoms one after the other, of a job whose rows are going to be corrupted."""
    return chaos_line(evidence, steps=6, seconds=seconds)
