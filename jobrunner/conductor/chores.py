"""What a supervisor does besides: in threads of its own, so that a server that hangs never holds up the supervising.

Handing back what a dead worker held comes first; then the node's report, and the reconciler.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobrunner import __version__
from jobrunner.boards.board import Board
from jobrunner.conductor.node import node_report
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.pruner import PRUNER_LEASE, Pruner
from jobrunner.conductor.reconciler import LEASE_NAME, Reconciler
from jobrunner.config import RetentionSection
from jobrunner.errors import BoardUnavailable, JobrunnerError, StoreUnavailable, WrongBoard
from jobrunner.persistence.database import Database
from jobrunner.persistence.nodes import give_lease, node_stopped, report_node
from jobrunner.persistence.unowned import hand_back_of

log = logging.getLogger(__name__)

REPORT_S = 2.0
QUIET_REPORT_S = 4.0
"""A node that does nothing reports less often; others count it as gone, or its name as free, after more than that."""
RECONCILE_S = 5.0
RECONCILE_MIN_S = 0.5
GOODBYE_S = 5.0
"""What is left to be said at the end may take so long, whatever the servers do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What the supervisor knows of its workers now."""

    processes: int
    slots: int
    running: int
    ended: int
    types: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dead:
    """A worker that ended: whom its jobs are to be handed back for."""

    owner: str
    on_purpose: bool


class Chores:
    """The chores of one conductor.

    :param open_board: makes the board; tried again until it works
    :param fatal: called with what makes going on useless
    """

    def __init__(
        self,
        database: Database,
        *,
        node: str,
        identity: str,
        lease: float,
        open_board: Callable[[], Board],
        retention: RetentionSection,
        figures: Callable[[], Figures],
        fatal: Callable[[JobrunnerError], None],
        labels: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._node = node
        self._identity = identity
        self._open_board = open_board
        self._retention = retention
        self._figures = figures
        self._fatal = fatal
        self._labels = labels
        self._started_ms = time.time_ns() // 1_000_000
        self._every_s = min(RECONCILE_S, max(RECONCILE_MIN_S, lease / 2))
        self._leadership_s = 3 * self._every_s
        self._reconciler: Reconciler | None = None
        self._board: Board | None = None
        self._reported: Figures | None = None
        self._reported_at = 0.0
        self._others: dict[str, tuple[int, float]] = {}
        self._dead: queue.SimpleQueue[_Dead | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def board(self) -> Board | None:
        """The board, once it could be reached."""
        return self._board

    def connect(self) -> None:
        """Open the board; raises BoardUnavailable or WrongBoard."""
        if self._board is None:
            self._board = self._open_board()

    def start(self) -> None:
        """Start the threads."""
        for name, work in (
            ("handing back", self._hand_back_dead),
            ("report", lambda: self._regularly(REPORT_S, "reporting the node", self._report_news)),
            (
                "reconcile",
                lambda: self._regularly(self._every_s, "comparing board and store", self._reconcile),
            ),
            *self._pruning(),
        ):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pruning(self) -> list[tuple[str, Callable[[], None]]]:
        """The thread that removes finished jobs, if any are ever to be removed."""
        if not self._retention.is_limited:
            return []
        every = self._retention.every
        pruner = Pruner(self._database, self._retention, holder=self._identity, ending=self._ending)
        return [("prune", lambda: self._regularly(every, "removing finished jobs", pruner.run_if_leader))]

    def stop(self) -> None:
        """Hand back what is left, say goodbye and end; within a few seconds, whatever the servers do."""
        self._ending.set()
        self._dead.put(None)
        deadline = time.monotonic() + GOODBYE_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        goodbye = threading.Thread(target=self._say_goodbye, name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(timeout=max(1.0, deadline - time.monotonic()))

    def hand_back(self, owner: str, *, on_purpose: bool) -> None:
        """Soon hand back all that a dead worker held; one that was ended on purpose did not die with its jobs."""
        self._dead.put(_Dead(owner=owner, on_purpose=on_purpose))

    def _hand_back_dead(self) -> None:
        while (dead := self._dead.get()) is not None:
            try:
                self._release(dead)
            except JobrunnerError as error:
                log.warning("%s The jobs of %s are free when their leases end.", error.message, dead.owner)
            except Exception:
                log.exception("the jobs of %s could not be handed back", dead.owner)

    def _release(self, dead: _Dead) -> None:
        if dead.on_purpose:
            try:
                hand_back_of(self._database, [dead.owner])
            except StoreUnavailable as error:
                log.warning("%s The jobs of %s are handed back all the same.", error.message, dead.owner)
        if self._board is None:
            return
        ids = self._board.release_owner(dead.owner)
        if ids:
            log.warning("handed back %d jobs of %s", len(ids), dead.owner)

    def _regularly(self, seconds: float, doing: str, work: Callable[[], Any]) -> None:
        outage = Outage(log, doing)
        while True:
            try:
                work()
                outage.is_over()
            except WrongBoard as error:
                self._fatal(error)
                return
            except JobrunnerError as error:
                outage.goes_on(error)
            except Exception:
                log.exception("%s failed; it is tried again", doing)
            if self._ending.wait(seconds):
                return

    def _report_news(self) -> None:
        figures = self._figures()
        if figures == self._reported and time.monotonic() - self._reported_at < QUIET_REPORT_S - REPORT_S / 2:
            return
        self._report(figures)
        self._reported, self._reported_at = figures, time.monotonic()

    def _report(self, figures: Figures) -> None:
        report = node_report(
            processes=figures.processes,
            slots=figures.slots,
            running=figures.running,
            ended=figures.ended,
            types=figures.types,
            version=__version__,
            rivals=self._rivals(),
            labels=self._labels,
        )
        other = report_node(
            self._database, self._node, self._identity, started_ms=self._started_ms, report=report
        )
        if other is not None:
            self._seen(other)

    def _seen(self, other: str) -> None:
        """Another conductor reported under this name. Once may be what a dead one left; twice, and it lives."""
        times = self._others.get(other, (0, 0.0))[0] + 1
        self._others[other] = (times, time.monotonic())
        if times == 2:
            log.warning(
                "another conductor runs under the node name %s: %s. Give each its own (conductor.name, or --name).",
                self._node,
                other,
            )

    def _rivals(self) -> list[str]:
        """Other living conductors that report under this node's name."""
        recently = time.monotonic() - 3 * QUIET_REPORT_S
        return [other for other, (times, seen) in self._others.items() if times > 1 and seen > recently]

    def _reconcile(self) -> None:
        self.connect()
        assert self._board is not None
        if self._reconciler is None:
            self._reconciler = Reconciler(
                self._database, self._board, holder=self._identity, lease=self._leadership_s
            )
        self._reconciler.run_if_leader()

    def _say_goodbye(self) -> None:
        try:
            for name in (LEASE_NAME, *([PRUNER_LEASE] if self._retention.is_limited else [])):
                give_lease(self._database, name, self._identity)
            node_stopped(self._database, self._node, self._identity)
        except StoreUnavailable as error:
            log.warning("%s", error.message)
        try:
            if self._board is not None:
                self._board.close()
        except BoardUnavailable as error:
            log.warning("%s", error.message)
        self._database.close()
