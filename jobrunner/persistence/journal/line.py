"""The line before the writer: who waits for a commit, and whose changes are old enough to be written anyway.

One turn is under way at a time: the writer's, or that of a flow which found nobody there and writes by itself.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jobrunner.persistence.journal.flow import FlowJournal


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The flows of the next transactions, and whom to tell when they are written."""

    flows: list[FlowJournal] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)


class Line:
    """The flows that have something to write. Safe for several threads.

    :param lazy: seconds after which changes are written that nobody waits for
    :param most: flows in one turn at most
    """

    def __init__(self, *, lazy: float, most: int) -> None:
        self._lazy = lazy
        self._most = most
        self._condition = threading.Condition()
        self._urgent: dict[FlowJournal, list[Callable[[], None]]] = {}
        self._open: set[FlowJournal] = set()
        self._ended = True
        self._taken = False
        self._sleeps = False
        self._looks_again = False

    def begin(self) -> None:
        """Take flows in."""
        with self._condition:
            self._ended = False

    def end(self) -> None:
        """Take nobody in any more; who is in the line still gets a turn. Ending twice is fine."""
        with self._condition:
            self._ended = True
            self._rouse()

    def open(self, flow: FlowJournal, *, soon: bool = False) -> None:
        """Look after a flow: what it records gets its turn even if nobody waits for it.

        :param soon: it is about to come to a barrier; nobody has to be woken before, to look after it
        """
        with self._condition:
            self._require_begun()
            self._open.add(flow)
            if not soon:
                self._rouse()

    def close(self, flow: FlowJournal) -> None:
        """Look after a flow no more."""
        with self._condition:
            self._open.discard(flow)

    def join(self, flow: FlowJournal, tell: Callable[[], None]) -> None:
        """Give the flow a turn at once; ``tell`` is called when it has had it."""
        with self._condition:
            self._require_begun()
            self._urgent.setdefault(flow, []).append(tell)
            self._rouse()

    def next(self) -> Turn | None:
        """Block until it is somebody's turn; None when the line has ended and nothing is left. For the writer.

        Nobody else has a turn until :meth:`end_turn`.
        """
        with self._condition:
            while True:
                turn = None if self._taken else self._due_turn()
                if turn is not None:
                    self._taken = True
                    return turn
                if self._ended and not self._taken:
                    return None
                pause = self._pause()
                self._sleeps, self._looks_again = True, pause is not None
                self._condition.wait(pause)
                self._sleeps = False

    def take_turn(self, flow: FlowJournal) -> Turn | None:
        """Give the flow its turn here and now, until :meth:`end_turn`; None if others have theirs or wait for them."""
        with self._condition:
            self._require_begun()
            if self._taken or self._urgent:
                return None
            self._taken = True
            self._urgent[flow] = []
            return self._urgent_turn()

    def end_turn(self) -> None:
        """What the turn was for is done."""
        with self._condition:
            self._taken = False
            self._rouse()

    def _rouse(self) -> None:
        """Wake the writer if it sleeps, and there is something to do for it, or to look after."""
        waited_for = self._urgent or self._ended or (self._open and not self._looks_again)
        if self._sleeps and not self._taken and waited_for:
            self._condition.notify()

    def _due_turn(self) -> Turn | None:
        """The flows for which somebody waits, and those that changed a while ago; None if there are none."""
        if self._urgent:
            return self._urgent_turn()
        due_by = math.inf if self._ended else time.monotonic() - self._lazy
        due = [flow for flow, since in self._dirty() if since <= due_by]
        return Turn(flows=due[: self._most]) if due else None

    def _dirty(self) -> list[tuple[FlowJournal, float]]:
        marked = ((flow, flow.dirty_since) for flow in self._open)
        return [(flow, since) for flow, since in marked if since is not None]

    def _pause(self) -> float | None:
        """Recording does not wake the writer, which would cost more than looking; so look when something may be due."""
        if self._taken or not self._open:
            return None
        now = time.monotonic()
        return min((since for _, since in self._dirty()), default=now) + self._lazy - now

    def _urgent_turn(self) -> Turn:
        chosen = list(self._urgent)[: self._most]
        waiting = [tell for flow in chosen for tell in self._urgent.pop(flow)]
        overdue = time.monotonic() - self._lazy
        taken = set(chosen)
        chosen += [flow for flow, since in self._dirty() if since <= overdue and flow not in taken]
        del chosen[self._most :]
        return Turn(flows=chosen, waiting=waiting)

    def _require_begun(self) -> None:
        if self._ended:
            raise RuntimeError("the journal's writer is not running")
