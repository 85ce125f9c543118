"""Job types that do harm: to the process that runs them, or to whoever has to keep what they return."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from flows.chaos.leaving import leave
from flows.chaos.steady import Step
from taskflow.patterns import linear_flow
from taskflow.task import Task

from jobrunner import job

LARGE_BYTES = 20 * 1024 * 1024
DEEP = 100_000


class Poison(Task):  # type: ignore[misc]
    """Does what its name says."""

    def __init__(self, name: str, evidence: str, how: str) -> None:
        super().__init__(name, rebind={"job_id": "job_id"}, auto_extract=False)
        self._evidence, self._how = evidence, how

    def execute(self, job_id: str) -> Any:
        leave(self._evidence, job=job_id, atom=self.name, what="start", after=["clean"], got={})
        return getattr(self, f"_{self._how}")()

    def revert(self, job_id: str, *args: Any, **kwargs: Any) -> None:
        leave(self._evidence, job=job_id, atom=self.name, what="revert")

    def _exit(self) -> None:
        os._exit(3)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _sysexit(self) -> None:
        sys.exit(4)

    def _large(self) -> str:
        return "x" * LARGE_BYTES

    def _odd(self) -> object:
        return object()

    def _deep(self) -> list[Any]:
        nested: list[Any] = []
        for _ in range(DEEP):
            nested = [nested]
        return nested


@job
def chaos_poison(evidence: str, how: str = "exit") -> Any:
    """A clean atom, and one that does harm."""
    return linear_flow.Flow("poison").add(
        Step("clean", evidence, seconds=0.05), Poison("poison", evidence, how)
    )
