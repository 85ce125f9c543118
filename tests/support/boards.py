"""Board entries for tests, and waiting for a state with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from jobrunner.boards.board import Board, News
from jobrunner.model import BoardEntry, JobClass, Priority, new_job_id

PLAIN = JobClass(type="plain")
OTHER = JobClass(type="other")
ALICE, BOB = "alice:1:aaaa", "bob:2:bbbb"
LONG = 60.0
"""A lease in seconds that does not end within a test."""


def entry(
    job_id: str | None = None,
    job_class: JobClass = PLAIN,
    *,
    age: float = 0.0,
    delay: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> BoardEntry:
    """An entry that was posted ``age`` seconds ago, to be claimed ``delay`` seconds from now."""
    now_ms = time.time_ns() // 1_000_000
    return BoardEntry(
        job_id=job_id or new_job_id(),
        job_class=job_class,
        priority=priority,
        posted_ms=now_ms - round(age * 1000),
        available_ms=0 if delay is None else now_ms + round(delay * 1000),
    )


def until(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Return as soon as the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s"
        threading.Event().wait(0.01)


class Waiter(AbstractContextManager["Waiter"]):
    """A thread that blocks in ``board.wait``, once it has heard of what there was before; tells what that returned."""

    def __init__(self, board: Board, *classes: JobClass, timeout: float = 20.0) -> None:
        self.answer: News | BaseException | None = None
        self.ended_at = 0.0
        self._board, self._classes, self._timeout = board, classes, timeout
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Waiter:
        self._thread.start()
        assert self._settled.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_waiting:
            self._board.wake()
        self._thread.join(self._timeout + 20)
        assert not self._thread.is_alive()

    @property
    def is_waiting(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> News:
        """Wait for its end; what ``wait`` returned, or raised."""
        self._thread.join(self._timeout + 20)
        if isinstance(self.answer, BaseException):
            raise self.answer
        assert self.answer is not None, "still waiting"
        return self.answer

    def _run(self) -> None:
        try:
            self._board.wait(self._classes, timeout=0)  # may be ended by an earlier wake
            until(lambda: not self._board.wait(self._classes, timeout=0.05))
            self._settled.set()
            self.answer = self._board.wait(self._classes, timeout=self._timeout)
        except BaseException as error:  # noqa: BLE001 - told by join
            self.answer = error
            self._settled.set()
        self.ended_at = time.monotonic()
