"""A worker process: claims jobs and runs them in threads. Here is its life; its parts tell the rest.

    claiming.py       which jobs it claims, and when
    setting_off.py    what becomes of claimed jobs: begun together, then each
    running.py            run in a thread here, or
    own_processes.py      left to a process of its own, where own_job.py takes it over
    orders.py         what the supervisor tells it; pulse.py: what it tells the supervisor
    known_types.py    which job types it has
    worker_parts.py   how these are joined

The main thread claims; each job has a thread of a pool; one thread listens to the supervisor, one gives a pulse and
watches the leases, one writes the journal. Costs of claiming n jobs: one round trip to the board, one transaction that
raises n epochs, and one round trip that takes the last ones off the board.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from jobrunner.boards.board import Board
from jobrunner.conductor.channel import Channel
from jobrunner.conductor.isolation.guardian import end_all_but_this
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.reconciling.waker import Waker
from jobrunner.conductor.worker.aftermath import Step
from jobrunner.conductor.worker.claiming import Claiming
from jobrunner.conductor.worker.pulse import Pulse
from jobrunner.conductor.worker.worker_parts import WorkerParts
from jobrunner.config import Config
from jobrunner.errors import BoardUnavailable, StoreUnavailable
from jobrunner.jobs.following import follow
from jobrunner.model import Job
from jobrunner.persistence.server.database import Database
from jobrunner.plugins.registry import Registry

log = logging.getLogger(__name__)

WAIT_S = 2.0
"""How long an idle worker blocks for work at most."""
DRAIN_WAIT_S = 0.25
"""And while it only drains the board."""
AWAY_S = 1.0
"""Pause before the board or the database is tried again."""


class Worker:
    """One worker process.

    :param open_board: makes the board; raises BoardUnavailable or WrongBoard
    :param load_registry: finds the plugins; with True, all of them anew
    :param owner: the identity under which it claims: the conductor's and its own
    :param alone: for a worker that runs one job, which the supervisor names, and nothing else
    :param drained: whether it claims nothing until it is told that it may
    :param slots: how many jobs it runs at once until it is told otherwise; None: as many as are configured
    :param place: its number in the conductor; None for one that is alone
    """

    def __init__(
        self,
        config: Config,
        channel: Channel,
        database: Database,
        *,
        open_board: Callable[[], Board],
        load_registry: Callable[[bool], Registry],
        owner: str,
        once: bool = False,
        alone: bool = False,
        drained: bool = False,
        slots: int | None = None,
        place: int | None = None,
    ) -> None:
        self.channel = channel
        self.owner = owner
        self.once = once
        self.alone = alone
        self._database = database
        self._open_own_board = open_board
        self._board: Board | None = None
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._outage = Outage(log, "claiming jobs")
        self.parts = WorkerParts(
            config,
            channel,
            database,
            load_registry=load_registry,
            owner=owner,
            alone=alone,
            drained=drained,
            slots=slots,
            place=place,
            stopping=self._stopping,
            outage=self._outage,
            wake=self._wake,
        )
        self.held = self.parts.held
        self.ended = self.parts.ended
        self._orders = self.parts.orders

    def run(self) -> int:
        """Work until told to stop (or, with ``once``, until there is nothing left to claim); the exit code."""
        self.parts.writer.start()
        self.parts.types.tell()
        self._orders.start()
        Pulse(self.channel, self.held, self.parts.core).start()
        board = self._open_board()
        if board is not None:
            self.parts.aftermath.start(self._steps(board))
            claiming = self.parts.claiming(board)
            if self.alone:
                self.parts.own_job.take_over(board)
            else:
                self._work(board, claiming)
            self._drain(board, claiming)
        self.parts.writer.stop()
        self.parts.link.close()
        self._database.close()
        return 0

    def _open_board(self) -> Board | None:
        """The board, as soon as it can be reached; None if the worker is stopped before."""
        while not self._stopping.is_set():
            try:
                self._board = self._open_own_board()
                self._outage.is_over()
                return self._board
            except (BoardUnavailable, StoreUnavailable) as error:
                self._outage.goes_on(error)
                self._stopping.wait(AWAY_S)
        return None

    def _steps(self, board: Board) -> list[Step]:
        """What is done after jobs were left."""
        waker = Waker(self._database, board)
        return [waker, lambda left: self._follow(board, left)]

    def _follow(self, board: Board, left: Sequence[Job]) -> None:
        """Let those go on that come after jobs which have ended."""
        follow(self._database, lambda: board, [job.id for job in left])

    def _work(self, board: Board, claiming: Claiming) -> None:
        claiming.scout.start()
        self.parts.misfits.look_soon()
        log.info("worker %s takes jobs", self.owner)
        while not self._stopping.is_set():
            try:
                if not self._step(board, claiming):
                    break
                self._outage.is_over()
            except (BoardUnavailable, StoreUnavailable) as error:
                self._outage.goes_on(error)
                self._stopping.wait(AWAY_S)
            except Exception:
                log.exception("claiming jobs failed; it is tried again")
                self._stopping.wait(AWAY_S)
        claiming.scout.stop()

    def _step(self, board: Board, claiming: Claiming) -> bool:
        """Tell the board what ended, then claim, or wait; False if there is nothing left to do."""
        self.parts.core.stay()
        self.ended.tell(board)
        self._pass_on(claiming)
        self.parts.aftermath.go()
        if self._orders.drained or not self._orders.slots:
            return self._rest()
        if not claiming.wait_for_room() or claiming.claim():
            return True
        if self.once and claiming.scout.nothing_left() and self._is_idle() and not claiming.any_waits():
            return False
        claiming.wait(DRAIN_WAIT_S if self.once else WAIT_S)
        return True

    def _pass_on(self, claiming: Claiming) -> None:
        claiming.pass_on(takes=not (self._orders.drained or self.alone or self._stopping.is_set()))

    def _rest(self) -> bool:
        """Claim nothing: the node is drained, or has no slot for this worker. False if nothing is left to wait for."""
        if self.once and self._is_idle():
            return False
        self._woken.wait(WAIT_S)
        self._woken.clear()
        return True

    def _is_idle(self) -> bool:
        elsewhere = self.parts.own_processes.suspects
        busy = len(self.held) or len(self.ended) or self.parts.passing or self.parts.aftermath.is_busy
        return not (busy or elsewhere)

    def _drain(self, board: Board, claiming: Claiming) -> None:
        """Let running jobs come to their ends or atom borders, and tell the board of all of them."""
        while not self.held.wait_below(1, WAIT_S):
            pass
        if self.alone:
            end_all_but_this()
        try:
            self.ended.tell(board)
            board.release_owner(self.owner)
        except BoardUnavailable as error:
            log.warning("%s What was held is free when its lease ends.", error.sentence)
        try:
            self._pass_on(claiming)
        except Exception:
            log.exception("who waits for what jobs held here was not called; the leader does that")
        self.parts.aftermath.stop()
        board.close()

    def _wake(self) -> None:
        """End the main thread's wait: there is something to see."""
        self._woken.set()
        if self._board is not None:
            self._board.wake()
