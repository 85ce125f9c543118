"""What a supervisor does besides: in threads of its own, so that a server that hangs never holds up the supervising.

Handing back what a dead worker held comes first, and leaving a job whose process was ended by force (dead_workers.py);
then what jobs in processes of their own use (usage_notes.py), the node's report (reporting.py), jobs that leave the
node that they prefer, the reconciler, and removing finished jobs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from jobrunner.boards.board import Board
from jobrunner.conductor.isolation.usage_notes import UsageNotes
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.reconciling.failover import Failover
from jobrunner.conductor.reconciling.reconciler import LEASE_NAME, Reconciler
from jobrunner.conductor.supervisor.dead_workers import DeadWorkers
from jobrunner.conductor.supervisor.pruner import PRUNER_LEASE, Pruner
from jobrunner.conductor.supervisor.reporting import REPORT_S, Figures, Reporter
from jobrunner.config import RetentionSection
from jobrunner.errors import BoardUnavailable, JobrunnerError, StoreUnavailable, WrongBoard
from jobrunner.persistence.nodes import give_lease, node_stopped
from jobrunner.persistence.ownership.unowned import UsageNote
from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

RECONCILE_S = 5.0
RECONCILE_MIN_S = 0.5
FAILOVER_S = 2.0
GOODBYE_S = 5.0
"""What is left to be said at the end may take so long, whatever the servers do."""


class Chores:
    """The chores of one conductor. ``dead`` and ``usage`` are told what there is to do.

    :param open_board: makes the board; tried again until it works
    :param running_usage: what the jobs in processes of their own have used so far
    :param fatal: called with what makes going on useless
    :param give_way: see Reporter
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
        running_usage: Callable[[], list[UsageNote]],
        fatal: Callable[[JobrunnerError], None],
        give_way: Callable[[float], None] | None = None,
        labels: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._node = node
        self._identity = identity
        self._open_board = open_board
        self._retention = retention
        self._fatal = fatal
        self._every_s = min(RECONCILE_S, max(RECONCILE_MIN_S, lease / 2))
        self._leadership_s = 3 * self._every_s
        self._failover_s = min(FAILOVER_S, self._every_s)
        self._reconciler: Reconciler | None = None
        self._board: Board | None = None
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self.usage = UsageNotes(database, running_usage)
        self.dead = DeadWorkers(
            database,
            lambda: self._board,
            usage_later=self.usage.ended,
            mover=(f"{identity}/moving", self._leadership_s),
        )
        self._reporter = Reporter(
            database, node=node, identity=identity, figures=figures, give_way=give_way, labels=labels
        )

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
            ("handing back", self.dead.work),
            ("usage", self.usage.work),
            ("report", lambda: self._regularly(REPORT_S, "reporting the node", self._reporter.look)),
            (
                "failover",
                lambda: self._regularly(self._failover_s, "letting jobs go to other nodes", self._fail_over),
            ),
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
        self.dead.end()
        self.usage.end()
        deadline = time.monotonic() + GOODBYE_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        goodbye = threading.Thread(target=self._say_goodbye, name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(timeout=max(1.0, deadline - time.monotonic()))

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

    def _reconcile(self) -> None:
        self.connect()
        assert self._board is not None
        if self._reconciler is None:
            self._reconciler = Reconciler(
                self._database, self._board, holder=self._identity, lease=self._leadership_s
            )
        self._reconciler.run_if_leader()

    def _fail_over(self) -> None:
        if self._board is not None:
            holder = f"{self._identity}/failover"
            Failover(self._database, self._board, holder=holder, lease=self._leadership_s).look()

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
