"""The flows that stock TaskFlow runs: the same atoms as jobrunner's."""

from __future__ import annotations

from taskflow import task
from taskflow.patterns import linear_flow

from bench.stamps import stamp


class Nothing(task.Task):
    """An atom that does nothing."""

    def execute(self) -> None:
        """Do it."""


class Stamped(task.Task):
    """An atom that tells when it started."""

    def __init__(self, name: str, stamps: str) -> None:
        super().__init__(name)
        self._stamps = stamps

    def execute(self) -> None:
        stamp(self._stamps, self.name)


def noop(atoms: int) -> linear_flow.Flow:
    """A flow of atoms that do nothing."""
    return linear_flow.Flow("noop").add(*(Nothing(f"nothing-{number}") for number in range(atoms)))


def stamped(stamps: str) -> linear_flow.Flow:
    """A flow of one atom that tells when it started."""
    return linear_flow.Flow("stamped").add(Stamped("stamped", stamps))
