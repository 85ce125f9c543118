"""A measured figure, and whether it reached its goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bench.rows import Kind, Row


class Verdict(str, Enum):
    """How a figure came out."""

    REACHED = "reached"
    MISSED = "MISSED"
    FAILED = "FAILED"  # it could not be measured
    LEFT_OUT = "bench-full"  # takes too long for this run
    TOLD = ""  # has no goal


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a measurement found: the value, stock TaskFlow's if it is compared with that, and how it came about."""

    value: float
    stock: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A row of the table, filled in; without ``measured`` there is the reason in ``error``, or it was left out."""

    row: Row
    measured: Measured | None = None
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        """How many times stock TaskFlow's value it is."""
        if self.measured is None or not self.measured.stock:
            return None
        return self.measured.value / self.measured.stock

    @property
    def of_goal(self) -> float | None:
        """How far it went: 1 is the goal, 2 twice as good."""
        goal = self.row.goal
        if self.measured is None or goal is None:
            return None
        if self.row.kind is Kind.TIMES_STOCK:
            return None if self.ratio is None else self.ratio / goal
        return goal / max(self.measured.value, goal / 1000)

    @property
    def verdict(self) -> Verdict:
        if self.error is not None:
            return Verdict.FAILED
        if self.measured is None:
            return Verdict.LEFT_OUT
        if self.row.kind is Kind.TOLD:
            return Verdict.TOLD
        if self.of_goal is None:
            return Verdict.FAILED
        return Verdict.REACHED if self.of_goal >= 1 else Verdict.MISSED

    def to_json(self) -> dict[str, Any]:
        measured = self.measured
        return {
            "key": self.row.key,
            "title": self.row.title,
            "unit": self.row.unit,
            "kind": self.row.kind.value,
            "goal": self.row.goal,
            "value": None if measured is None else measured.value,
            "stock": None if measured is None else measured.stock,
            "ratio": self.ratio,
            "of_goal": self.of_goal,
            "verdict": self.verdict.value,
            "error": self.error,
            "detail": {} if measured is None else dict(measured.detail),
        }
