"""Flows made by chance, the same for the same seed."""

from __future__ import annotations

import random
from typing import Any

from taskflow import retry
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

from tests.support.runs import Calls, Note

_KINDS = (linear_flow.Flow, unordered_flow.Flow, graph_flow.Flow)


class RandomFlow:
    """A nest of flows with up to four things in each.

    :param in_a_row: only linear flows, some of whose tasks fail, or cannot be reverted, the first times; else flows of
        all kinds, whose tasks all succeed, with links that let through what comes after them or do not
    """

    def __init__(self, seed: int, *, in_a_row: bool, depth: int = 3) -> None:
        self._random = random.Random(seed)
        self._in_a_row = in_a_row
        self._count = 0
        self.calls: Calls = []
        """What was executed and reverted, in this order."""
        self.flow = self._flow(depth)

    def factory(self) -> Any:
        """The flow, for who wants a factory."""
        return self.flow

    def _flow(self, depth: int) -> Any:
        kind = linear_flow.Flow if self._in_a_row else self._random.choice(_KINDS)
        again = retry.Times(self._random.randint(1, 3), name=self._name()) if self._chance(0.4) else None
        flow = kind(self._name(), retry=again)
        parts = []
        for _ in range(self._random.randint(0, 4)):
            part = self._flow(depth - 1) if depth and self._chance(0.4) else self._task()
            flow.add(part)
            parts.append(part)
        if isinstance(flow, graph_flow.Flow):
            self._link(flow, parts)
        return flow

    def _link(self, flow: Any, parts: list[Any]) -> None:
        for at, before in enumerate(parts):
            for after in parts[at + 1 :]:
                if self._chance(0.3):
                    decides = self._chance(0.5)
                    lets = self._chance(0.7)
                    flow.link(before, after, decider=(lambda history, lets=lets: lets) if decides else None)

    def _task(self) -> Note:
        name = self._name()
        does = self._fails_at_first() if self._in_a_row and self._chance(0.25) else None
        undoes = self._fails_at_first() if self._in_a_row and self._chance(0.05) else None
        return Note(name, self.calls, does=does, undoes=undoes, provides=f"of-{name}")

    def _fails_at_first(self) -> Any:
        left = [self._random.randint(1, 3)]

        def do() -> str:
            left[0] -= 1
            if left[0] >= 0:
                raise ValueError("not yet")
            return "at last"

        return do

    def _name(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _chance(self, share: float) -> bool:
        return self._random.random() < share
