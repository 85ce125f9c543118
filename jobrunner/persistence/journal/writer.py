"""The writer: commits many flows' changes together, one transaction after the other.

While one transaction is under way, further flows come to their barriers and wait; the next transaction takes them all.
So the more there is to write, the more of it shares a commit, and nobody waits for company. A flow that comes to its
barrier while there is nothing else to write does it itself: waking a thread, and being woken by it, takes as long as a
quarter of a commit.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator

from sqlalchemy.exc import SQLAlchemyError

from jobrunner.errors import LeaseLost, NotStorable
from jobrunner.persistence.encoding import RESULT_LIMIT_BYTES
from jobrunner.persistence.journal.flow import Changes, FlowJournal
from jobrunner.persistence.journal.line import Line, Turn
from jobrunner.persistence.journal.statements import Batch, may_trust, write_batch, write_trusting
from jobrunner.persistence.pipelines.pipeline import NotHeld
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.faults import is_away, is_passing, is_refused
from jobrunner.persistence.server.link import Link

log = logging.getLogger(__name__)

LAZY_S = 0.2
"""What no barrier asks for is written after this time."""
BATCH_FLOWS = 500
BATCH_CHARACTERS = 8 * 1024 * 1024
"""Flows in one transaction at most, and about how much text, unless one flow has more: bounds the time of locks."""
RETRY_FIRST_S = 0.01
RETRY_MAX_S = 1.0
LOG_EVERY_S = 30.0


class Writer:
    """Commits flows' changes in groups, each group in one transaction.

    :param patience: seconds for which an outage of the database is waited out before a flow fails with it
    :param at_turn: called by the writer's thread before it writes
    """

    def __init__(
        self,
        database: Database,
        *,
        patience: float = 300.0,
        at_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = database
        self.patience = patience
        self._at_turn = at_turn
        self._line = Line(lazy=LAZY_S, most=BATCH_FLOWS)
        self._link = Link(database)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; starting twice is fine."""
        with self._lock:
            if self._thread is None:
                self._line.begin()
                self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Write everything that is pending, then end the thread. Stopping twice is fine."""
        with self._lock:
            self._line.end()
            if self._thread is not None:
                self._thread.join()
            self._thread = None

    def open(self, flow: FlowJournal, *, soon: bool = False) -> None:
        """Look after a flow: what it records is written in time even without barriers.

        :param soon: it is about to come to its first barrier
        """
        self._line.open(flow, soon=soon)

    def close(self, flow: FlowJournal) -> None:
        """Forget a flow; what it recorded after its last barrier may be lost."""
        self._line.close(flow)

    def flush(self, *flows: FlowJournal) -> None:
        """Block until what the flows recorded so far is committed, or has failed for good: see ``flow.error``."""
        if len(flows) == 1 and (turn := self._line.take_turn(flows[0])) is not None:
            self._do(turn)
            return
        gates = [self._gate(flow) for flow in flows]
        for gate in gates:
            gate.acquire()

    def _gate(self, flow: FlowJournal) -> threading.Lock:
        """A lock that is free once the flow has had its turn: the cheapest thing that a thread can wait for."""
        gate = threading.Lock()
        gate.acquire()
        self._line.join(flow, gate.release)
        return gate

    def flush_then(self, flow: FlowJournal, tell: Callable[[], None]) -> None:
        """As :meth:`flush`, without blocking: ``tell`` is called by the writer's thread, and must not block it."""
        self._line.join(flow, tell)

    def result_limit(self) -> int:
        """The largest result of an atom, in bytes: with all of it escaped its row still fits a packet of the server's.

        A larger statement would look like a broken connection, and be tried again and again.
        """
        packet = self._link.packet_bytes
        return RESULT_LIMIT_BYTES if packet is None else min(RESULT_LIMIT_BYTES, packet // 16 * 7)

    def _run(self) -> None:
        while (turn := self._line.next()) is not None:
            self._at_turn()
            self._do(turn)
        self._link.close()

    def _do(self, turn: Turn) -> None:
        """Write what a turn is for, and end it; never raises."""
        try:
            self._write(turn.flows)
        except BaseException as error:  # the edge of the thread: nobody may wait for ever
            log.exception("the journal's writer failed; the flows of this turn fail")
            for flow in turn.flows:
                flow.fail(error)
        finally:
            for flow in turn.flows:
                flow.written()
            self._line.end_turn()
            for tell in turn.waiting:
                _tell(tell)

    def _write(self, flows: list[FlowJournal]) -> None:
        taken = [(flow, flow.take()) for flow in flows]
        for batch in _divided([(flow, changes) for flow, changes in taken if changes]):
            self._commit(batch, time.monotonic() + self.patience)

    def _commit(self, batch: Batch, deadline: float) -> None:
        """Write a batch, however often it takes; what cannot be written fails its own flow only."""
        pause = RETRY_FIRST_S
        said = 0.0
        while batch := [(flow, changes) for flow, changes in batch if flow.error is None]:
            try:
                self._transaction(batch)
                break
            except Exception as error:  # noqa: BLE001 (whatever it is, it is the flow's, and harms no other)
                if not _may_pass(error):
                    self._one_by_one(batch, deadline, error)
                    return
                if time.monotonic() + pause > deadline:
                    self._fail(batch, error)
                    return
                if pause == RETRY_MAX_S and time.monotonic() - said > LOG_EVERY_S:
                    said = time.monotonic()
                    log.warning("%s. Trying again for %.0f s.", self._words(error), deadline - said)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (spreads retries, protects nothing)
            pause = min(pause * 2, RETRY_MAX_S)
        if said:
            log.warning("The database %s takes writes again.", self.database.name)

    def _transaction(self, batch: Batch) -> None:
        if self.database.dialect == "mysql" and may_trust(batch) and self._wrote_trusting(batch):
            return
        with self._link.transaction() as pipeline:
            lost = write_batch(pipeline, batch)
        for flow in lost:
            flow.fail(LeaseLost())

    def _wrote_trusting(self, batch: Batch) -> bool:
        """Write in one round trip; False if a job was lost, or is settled already: then look which."""
        try:
            with self._link.transaction() as pipeline:
                write_trusting(pipeline, batch)
        except NotHeld:
            return False
        return True

    def _one_by_one(self, batch: Batch, deadline: float, error: BaseException) -> None:
        if len(batch) == 1:
            self._fail_alone(batch[0][0], error)
            return
        for flow, changes in batch:
            self._commit([(flow, changes)], deadline)

    def _fail_alone(self, flow: FlowJournal, error: BaseException) -> None:
        explained = self._explained(error)
        if isinstance(explained, NotStorable):
            log.error("the journal of flow %s cannot be written: %s", flow.flow_id, explained.sentence)
        else:
            log.error("the journal of flow %s cannot be written", flow.flow_id, exc_info=error)
        flow.fail(explained)

    def _fail(self, batch: Batch, error: BaseException) -> None:
        explained = self._explained(error)
        for flow, _ in batch:
            flow.fail(explained)

    def _words(self, error: BaseException) -> str:
        return str(self._explained(error)).rstrip(".")

    def _explained(self, error: BaseException) -> BaseException:
        """What the flows and people are told of an error."""
        return self.database.explain(error) if isinstance(error, SQLAlchemyError) else error


def _may_pass(error: BaseException) -> bool:
    """Whether it is the server's, not the batch's: also an account that is let in no more, until its password fits."""
    return is_passing(error) or is_away(error) or is_refused(error)


def _tell(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception:
        log.exception("somebody could not be told that the journal was written")


def _divided(batch: list[tuple[FlowJournal, Changes]]) -> Iterator[Batch]:
    if len(batch) == 1:
        yield batch
        return
    part: list[tuple[FlowJournal, Changes]] = []
    size = 0
    for flow, changes in batch:
        if part and size + changes.size > BATCH_CHARACTERS:
            yield part
            part, size = [], 0
        part.append((flow, changes))
        size += changes.size
    if part:
        yield part
