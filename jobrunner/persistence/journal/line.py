"""The line before the writer: who waits for a commit, and whose changes are old enough to be written anyway."""

from __future__ import annotations

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

    def begin(self) -> None:
        """Take flows in."""
        with self._condition:
            self._ended = False

    def end(self) -> None:
        """Take nobody in any more; who is in the line still gets a turn. Ending twice is fine."""
        with self._condition:
            self._ended = True
            self._condition.notify()

    def open(self, flow: FlowJournal) -> None:
        """Look after a flow: what it records gets its turn even if nobody waits for it."""
        with self._condition:
            self._require_begun()
            self._open.add(flow)
            if len(self._open) == 1:
                self._condition.notify()

    def close(self, flow: FlowJournal) -> None:
        """Look after a flow no more."""
        with self._condition:
            self._open.discard(flow)

    def join(self, flow: FlowJournal, tell: Callable[[], None]) -> None:
        """Give the flow a turn at once; ``tell`` is called when it has had it."""
        with self._condition:
            self._require_begun()
            self._urgent.setdefault(flow, []).append(tell)
            self._condition.notify()

    def next(self) -> Turn | None:
        """Block until it is somebody's turn; None when the line has ended and nothing is left."""
        with self._condition:
            while not self._urgent:
                now = time.monotonic()
                dirty = self._dirty()
                due = [flow for flow, since in dirty if self._ended or since + self._lazy <= now]
                if due:
                    return Turn(flows=due[: self._most])
                if self._ended:
                    return None
                self._condition.wait(self._pause(dirty, now))
            return self._urgent_turn()

    def _dirty(self) -> list[tuple[FlowJournal, float]]:
        marked = ((flow, flow.dirty_since) for flow in self._open)
        return [(flow, since) for flow, since in marked if since is not None]

    def _pause(self, dirty: list[tuple[FlowJournal, float]], now: float) -> float | None:
        """Recording does not wake the writer, which would cost more than looking; so look when something may be due."""
        if not self._open:
            return None
        return min((since for _, since in dirty), default=now) + self._lazy - now

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
