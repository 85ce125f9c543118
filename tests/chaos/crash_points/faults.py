"""Where and how an owner is struck: its writes are counted, and one of them is its last, or loses its answer."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import psycopg
import pymysql
from sqlalchemy.exc import OperationalError

from jobrunner.persistence.journal.flow import Changes, FlowJournal
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.server.database import Database

Group = Sequence[tuple[FlowJournal, Changes]]
"""What the writer puts into one transaction."""

PATIENCE_S = 20.0
WRITE_WAIT_S = 20.0

CONNECTION_LOST: dict[str, Callable[[], Exception]] = {
    "sqlite": lambda: sqlite3.OperationalError("disk I/O error"),
    "mysql": lambda: pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query"),
    "postgresql": lambda: psycopg.OperationalError("server closed the connection unexpectedly"),
}
"""What the drivers say when the connection breaks, by dialect."""


class How(str, enum.Enum):
    """What happens at the chosen write."""

    BEFORE = "before"  # killed right before it
    AFTER = "after"  # killed right after its commit
    LOST = "answer lost"  # committed, but what the owner hears is that the connection broke


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of one owner.

    :param write: which of its writes; the claim is the first
    """

    write: int
    how: How

    def __str__(self) -> str:
        if self.how is How.LOST:
            return f"the answer to write {self.write} lost"
        return f"killed {self.how.value} write {self.write}"


class Writes:
    """Counts an owner's writes, and strikes at one of them.

    :param strikes: called just before the process is killed
    """

    def __init__(self, dialect: str, fault: Fault | None, strikes: Callable[[], None]) -> None:
        self.struck = False
        self._dialect = dialect
        self._fault = fault
        self._strikes = strikes
        self._begun = self._finished = 0
        self._changed = threading.Condition()

    @property
    def count(self) -> int:
        return self._begun

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Around each write."""
        with self._changed:
            self._begun += 1
        number = self._begun
        how = self._fault.how if self._fault is not None and self._fault.write == number else None
        if how is How.BEFORE:
            self._die()
        yield
        if how is How.AFTER:
            self._die()
        if how is How.LOST:
            self.struck = True
            raise OperationalError("COMMIT", None, CONNECTION_LOST[self._dialect]())
        with self._changed:
            self._finished = number
            self._changed.notify_all()

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Return from the block once a write that began after it was entered has been committed."""
        with self._changed:
            wanted = self._begun + 1
        yield
        deadline = time.monotonic() + WRITE_WAIT_S
        with self._changed:
            while self._finished < wanted:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"write {wanted} was not committed within {WRITE_WAIT_S:g} s")

    def _die(self) -> NoReturn:
        self._strikes()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("outlived SIGKILL")


class FaultyWriter(Writer):
    """The journal's writer, struck at one of its transactions."""

    def __init__(self, database: Database, writes: Writes) -> None:
        super().__init__(database, patience=PATIENCE_S)
        self.writes = writes

    def _transaction(self, batch: Group) -> None:
        with self.writes.one():
            super()._transaction(batch)


class EagerWriter(FaultyWriter):
    """Writes each change as soon as it is recorded.

    The real one does so with any change that happens to be the last when earlier ones are old enough to be written.
    """

    def open(self, flow: FlowJournal, *, soon: bool = False) -> None:
        super().open(flow, soon=soon)
        for name in ("record_flow", "record_atom"):
            setattr(flow, name, self._written_at_once(flow, getattr(flow, name)))

    def _written_at_once(self, flow: FlowJournal, record: Callable[..., Any]) -> Callable[..., Any]:
        def record_and_write(*args: Any, **options: Any) -> Any:
            answer = record(*args, **options)
            if flow.has_pending():
                self.flush(flow)
            return answer

        return record_and_write


_writes: Writes | None = None
"""Those of this process, for tasks that wait for one."""


def count_here(writes: Writes) -> None:
    """These are the writes of this process."""
    global _writes
    _writes = writes


def next_write() -> contextlib.AbstractContextManager[None]:
    """See :meth:`Writes.following`; for tasks, of this process's owner."""
    assert _writes is not None
    return _writes.following()
