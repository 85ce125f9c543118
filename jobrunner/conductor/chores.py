"""What a supervisor does besides: in threads of its own, so that a server that hangs never holds up the supervising.

Handing back what a dead worker held comes first, and leaving a job whose process was ended by force; then what jobs in
processes of their own use, the node's report, jobs that leave the node that they prefer, and the reconciler.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobrunner import __version__, times
from jobrunner.boards.board import Board
from jobrunner.conductor.availability import Gauge, Taken, reluctance
from jobrunner.conductor.failover import Failover, move
from jobrunner.conductor.handing_back import give_back
from jobrunner.conductor.node import node_report
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.pruner import PRUNER_LEASE, Pruner
from jobrunner.conductor.reconciler import LEASE_NAME, Reconciler
from jobrunner.config import RetentionSection
from jobrunner.errors import BoardUnavailable, JobrunnerError, StoreUnavailable, WrongBoard
from jobrunner.persistence.database import Database
from jobrunner.persistence.nodes import freest_other, give_lease, node_stopped, report_node
from jobrunner.persistence.settling import Settlement, followed_up
from jobrunner.persistence.store import Store, board_entry
from jobrunner.persistence.unowned import UsageNote, hand_back_of, note_usage, settle_for

log = logging.getLogger(__name__)

REPORT_S = 2.0
QUIET_REPORT_S = 4.0
"""A node that does nothing reports less often; others count it as gone, or its name as free, after more than that."""
FREE_CHANGE = 0.1
"""A node that became so much freer, or less free, reports at once."""
RECONCILE_S = 5.0
RECONCILE_MIN_S = 0.5
FAILOVER_S = 2.0
USAGE_S = 10.0
"""So often is written what running jobs use."""
GATHER_S = 0.1
"""So long the last figures of ended jobs wait for others, to be written together."""
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
    isolated: int = 0
    """Jobs in processes of their own; what follows is theirs, all together."""
    isolated_percent: float = 0.0
    isolated_memory: int = 0
    used_s: float = field(default=0.0, compare=False)
    """Seconds of processors that the workers have used; what changes all the time is no news."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dead:
    """A worker that ended: whom its jobs are to be handed back for."""

    owner: str
    on_purpose: bool
    job_id: str | None = None
    settlement: Settlement | None = None
    """How the job, which was alone with it, is left, unless it left it itself."""
    then: Callable[[], None] = lambda: None
    usage: UsageNote | None = None
    """What the job has used, which was alone with it; written before anybody else can begin it."""


class Chores:
    """The chores of one conductor.

    :param open_board: makes the board; tried again until it works
    :param fatal: called with what makes going on useless
    :param give_way: is told how reluctantly to claim, each time when that is known anew; None: nobody asks
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
        usage: Callable[[], list[UsageNote]],
        fatal: Callable[[JobrunnerError], None],
        give_way: Callable[[float], None] | None = None,
        labels: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._node = node
        self._identity = identity
        self._open_board = open_board
        self._retention = retention
        self._figures = figures
        self._usage = usage
        self._last_usage: queue.SimpleQueue[UsageNote] = queue.SimpleQueue()
        self._usage_wanted = threading.Event()
        self._fatal = fatal
        self._give_way = give_way
        self._gauge = Gauge()
        self._reluctance = 0.0
        self._freest_other: float | None = None
        self._labels = labels
        self._started_ms = times.now_ms()
        self._every_s = min(RECONCILE_S, max(RECONCILE_MIN_S, lease / 2))
        self._leadership_s = 3 * self._every_s
        self._failover_s = min(FAILOVER_S, self._every_s)
        self._reconciler: Reconciler | None = None
        self._board: Board | None = None
        self._reported: tuple[Figures, float, float] | None = None
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
            ("usage", self._write_usage),
            ("report", lambda: self._regularly(REPORT_S, "reporting the node", self._report_news)),
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
        self._dead.put(None)
        self._usage_wanted.set()
        deadline = time.monotonic() + GOODBYE_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        goodbye = threading.Thread(target=self._say_goodbye, name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(timeout=max(1.0, deadline - time.monotonic()))

    def hand_back(self, owner: str, *, on_purpose: bool) -> None:
        """Soon hand back all that a dead worker held; one that was ended on purpose did not die with its jobs."""
        self._dead.put(_Dead(owner=owner, on_purpose=on_purpose))

    def settle(
        self, owner: str, job_id: str, settlement: Settlement, then: Callable[[], None] = lambda: None
    ) -> None:
        """Soon leave the job of an owner that is ended by force, unless that did so itself; then ``then`` is called."""
        self._dead.put(_Dead(owner=owner, on_purpose=True, job_id=job_id, settlement=settlement, then=then))

    def usage_first(self, note: UsageNote) -> None:
        """Soon write what a job has used whose process died; before what is said next of that process is done."""
        self._dead.put(_Dead(owner=note.owner, on_purpose=True, usage=note))

    def last_usage(self, note: UsageNote) -> None:
        """Soon write what a job has used that has ended."""
        self._last_usage.put(note)
        self._usage_wanted.set()

    def _hand_back_dead(self) -> None:
        while (dead := self._dead.get()) is not None:
            try:
                self._release(dead)
            except JobrunnerError as error:
                if dead.usage is not None:
                    self.last_usage(dead.usage)
                    continue
                log.warning("%s The jobs of %s are free when their leases end.", error.message, dead.owner)
            except Exception:
                log.exception("the jobs of %s could not be handed back", dead.owner)
            finally:
                dead.then()

    def _release(self, dead: _Dead) -> None:
        if dead.usage is not None:
            note_usage(self._database, [dead.usage])
            return
        left: Settlement | None = None
        handed_back: list[str] = []
        if dead.job_id is not None and dead.settlement is not None:
            wanted = dead.settlement
            left = settle_for(self._database, dead.job_id, dead.owner, lambda job: followed_up(job, wanted))
            if left is not None:
                log.warning("job %s was ended by force: %s", dead.job_id, left.state)
            if left is not None and left.is_off_board and self._board is not None:
                self._board.consume(dead.owner, [dead.job_id])
        elif dead.on_purpose:
            try:
                handed_back = hand_back_of(self._database, [dead.owner])
            except StoreUnavailable as error:
                log.warning("%s The jobs of %s are handed back all the same.", error.message, dead.owner)
        if self._board is None:
            return
        number = give_back(self._database, self._board, dead.owner, handed_back=handed_back)
        if number:
            log.warning("handed back %d jobs of %s", number, dead.owner)
        if dead.job_id is not None and left is not None and left.placement is not None:
            self._move(self._board, dead.job_id)

    def _move(self, board: Board, job_id: str) -> None:
        """Let the next attempt of a job wait on the board for the node that it prefers."""
        job = Store(self._database).get(job_id)
        if not job.state.is_terminal:
            move(board, [board_entry(job)], holder=f"{self._identity}/moving", lease=self._leadership_s)

    def _write_usage(self) -> None:
        """Write what jobs use: of those that run now and then, of those that ended soon; all together."""
        outage = Outage(log, "keeping what jobs use")
        left: list[UsageNote] = []
        while not self._ending.is_set():
            ended = self._usage_wanted.wait(USAGE_S)
            self._ending.wait(GATHER_S)
            self._usage_wanted.clear()
            while not self._last_usage.empty():
                left.append(self._last_usage.get())
            try:
                note_usage(self._database, left if ended else [*self._usage(), *left])
                left.clear()
                outage.is_over()
            except JobrunnerError as error:
                outage.goes_on(error)
            except Exception:
                log.exception("what jobs use could not be kept")
                left.clear()

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
        taken = self._gauge.look(running=figures.running, slots=figures.slots, used_s=figures.used_s)
        told = (figures, taken.free, self._reluctance)
        if self._is_news(told) or time.monotonic() - self._reported_at >= QUIET_REPORT_S - REPORT_S / 2:
            self._report(figures, taken)
            self._reported, self._reported_at = told, time.monotonic()
        elif self._freest_other is None:
            return
        self._compare(taken.free)

    def _is_news(self, told: tuple[Figures, float, float]) -> bool:
        """Whether a report would tell something else than the last one, or how free the node is rather differently."""
        if self._reported is None or told[0] != self._reported[0]:
            return True
        return any(
            abs(new - old) > FREE_CHANGE for new, old in zip(told[1:], self._reported[1:], strict=True)
        )

    def _compare(self, free: float) -> None:
        """Give way to other nodes as far as they are freer; while there is none, that is asked with reports only."""
        if self._give_way is not None:
            self._freest_other = freest_other(self._database, self._node)
            self._reluctance = reluctance(free, self._freest_other)
            self._give_way(self._reluctance)

    def _report(self, figures: Figures, taken: Taken) -> None:
        report = node_report(
            processes=figures.processes,
            slots=figures.slots,
            running=figures.running,
            ended=figures.ended,
            types=figures.types,
            isolated={
                "running": figures.isolated,
                "percent": figures.isolated_percent,
                "memory": figures.isolated_memory,
            },
            version=__version__,
            rivals=self._rivals(),
            taken=taken,
            gives_way=self._reluctance,
            labels=self._labels,
        )
        other = report_node(
            self._database,
            self._node,
            self._identity,
            started_ms=self._started_ms,
            report=report,
            free=taken.free,
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
