"""Job types for chains: one that provides what it was given, and one that tells what it knows of its set."""

from __future__ import annotations

from typing import Any

from flows.probe.evidence import leave, wait_for
from taskflow.patterns import linear_flow
from taskflow.task import Task

from jobrunner import job, members


class Give(Task):  # type: ignore[misc]
    def execute(self, job_id: str, evidence: str, number: int, gate: str, fails: bool) -> int:
        leave(evidence, job=job_id, atom=self.name, what="start")
        if gate:
            wait_for(gate, heed=True)
        if fails:
            raise ValueError("it fails")
        return number + 1


@job
def give(evidence: str, number: int = 0, gate: str = "", fails: bool = False) -> Any:
    """Provides a number that is one more than the given one."""
    return linear_flow.Flow("give").add(Give("give", provides="number_more"))


class Look(Task):  # type: ignore[misc]
    def execute(self) -> list[Any]:
        return [[one.place, one.type, one.state.value, one.is_self, one.result] for one in members()]


@job
def look_around() -> Any:
    """Provides what it learns of the members of its set."""
    return linear_flow.Flow("look_around").add(Look("look", provides="seen"))


@job(engine="parallel", max_workers=2)
def look_around_in_a_pool() -> Any:
    """The same in a thread of a pool."""
    return linear_flow.Flow("look_around_in_a_pool").add(Look("look", provides="seen"))
