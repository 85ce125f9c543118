"""Which nodes of a compiled flow have everything before them behind them: remembered, not searched for each atom.

TaskFlow walks through all that comes before an atom to find whether it may run, and through all that comes after one
that ended to find what may: a flow costs the square of its length, and the cube where wide layers follow one another.

Invariants:

- A node is passed if it is done itself and every node before it is passed. That is what TaskFlow asks of all that comes
  before an atom which is to run (and, the other way round, of all that comes after one which is to be reverted).
- What is remembered is true: whoever changes an atom so that it is not done any more says so before the next question.
- Each edge is looked at once, and once more for each time that an atom is not done any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Neighbours = Callable[[Any], Iterable[Any]]


class Frontier:
    """How far a flow has come in one direction.

    :param before: the nodes directly before one
    :param after: the nodes directly after one
    :param is_done: whether a node is done, whatever is before it
    """

    def __init__(self, before: Neighbours, after: Neighbours, is_done: Callable[[Any], bool]) -> None:
        self._before = before
        self._after = after
        self._is_done = is_done
        self._passed: set[Any] = set()
        self._left: dict[Any, list[Any]] = {}
        """The nodes before a node that were not passed when somebody looked last; only the last is looked at."""

    def __bool__(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._passed or self._left)

    def is_reached(self, node: Any) -> bool:
        """Whether everything before the node is passed."""
        return all(self.is_passed(other) for other in self._ahead(node))

    def is_passed(self, node: Any) -> bool:
        """Whether the node and everything before it is done; without recursion, for flows can be deep."""
        path = [node]
        while path:
            if path[-1] in self._passed:
                path.pop()
            elif not self._is_done(path[-1]):
                return False
            elif (missing := self._missing(path[-1])) is not None:
                path.append(missing)
            else:
                self._passed.add(path.pop())
        return True

    def from_here(self, node: Any, *, through: Callable[[Any], bool]) -> Iterator[Any]:
        """The nodes after this one up to the first that are not passed, breadth first.

        Behind one that is not passed nothing is reached. Whether it is, is asked after it was given: what was done with
        it may have passed it. So a node is given again if it is come upon again before it is passed.

        :param through: whether to look behind such a node at all
        """
        line, gone_through = list(self._after(node)), set()
        for found in line:  # it grows meanwhile
            if found in gone_through:
                continue
            yield found
            if self.is_passed(found):
                gone_through.add(found)
                if through(found):
                    line.extend(self._after(found))

    def take_back(self, node: Any) -> None:
        """The node is not done any more."""
        line = [node]
        while line:
            found = line.pop()
            if found in self._passed:
                self._passed.discard(found)
                for other in self._after(found):
                    self._left.pop(other, None)
                    line.append(other)

    def _ahead(self, node: Any) -> Iterator[Any]:
        while (missing := self._missing(node)) is not None:
            yield missing

    def _missing(self, node: Any) -> Any:
        """A node directly before this one that is not passed as far as is known, or None."""
        left = self._left.get(node)
        if left is None:
            left = self._left[node] = list(self._before(node))
        while left and left[-1] in self._passed:
            left.pop()
        return left[-1] if left else None
