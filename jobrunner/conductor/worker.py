"""A worker process: claims jobs and runs them in threads. Here is its life; its parts tell the rest.

    claiming.py       which jobs it claims, and when
    setting_off.py    what becomes of claimed jobs: begun together, then each
    running.py            run in a thread here, or
    own_processes.py      left to a process of its own, where own_job.py takes it over
    orders.py         what the supervisor tells it; pulse.py: what it tells the supervisor
    known_types.py    which job types it has

The main thread claims; each job has a thread of a pool; one thread listens to the supervisor, one gives a pulse and
watches the leases, one writes the journal. Costs of claiming n jobs: one round trip to the board, one transaction that
raises n epochs, and one round trip that takes the last ones off the board.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent import futures

from jobrunner.boards.board import Board
from jobrunner.conductor.aftermath import Aftermath, Step
from jobrunner.conductor.candidates import Scout
from jobrunner.conductor.channel import Channel
from jobrunner.conductor.claiming import Claiming
from jobrunner.conductor.ended import EndedJobs
from jobrunner.conductor.giving_way import GivingWay
from jobrunner.conductor.known_types import KnownTypes
from jobrunner.conductor.leases import HeldJobs
from jobrunner.conductor.misfits import Misfits
from jobrunner.conductor.orders import Orders
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.own_job import OwnJob
from jobrunner.conductor.own_processes import OwnProcesses
from jobrunner.conductor.passing_on import PassingOn
from jobrunner.conductor.pulse import Pulse
from jobrunner.conductor.run import RunParts
from jobrunner.conductor.running import Running
from jobrunner.conductor.setting_off import SettingOff
from jobrunner.conductor.waker import Waker
from jobrunner.config import Config
from jobrunner.errors import BoardUnavailable, StoreUnavailable
from jobrunner.jobs.following import follow
from jobrunner.model import Job
from jobrunner.persistence.database import Database
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.link import Link
from jobrunner.persistence.store import Store
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
    ) -> None:
        self.config = config
        self.channel = channel
        self.owner = owner
        self.once = once
        self.alone = alone
        self.lease = config.conductor.lease
        self.held = HeldJobs(self.lease)
        self.ended = EndedJobs(owner, channel)
        self._open_own_board = open_board
        self._board: Board | None = None
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._outage = Outage(log, "claiming jobs")
        self._database = database
        self._link = Link(database)
        self._writer = Writer(database, patience=config.persistence.patience)
        self._aftermath = Aftermath(is_prompt=_is_waited_for)
        self._passing = PassingOn(self._link)
        self._giving_way = GivingWay(config.conductor.give_way)
        self._types = KnownTypes(load_registry, config.node_name, channel)
        self._misfits = Misfits(
            database, lambda: self._types.registry, fits=self._types.fits, found=self._wake
        )
        most = 1 if alone else config.conductor.jobs
        pool = futures.ThreadPoolExecutor(most, thread_name_prefix="job")
        self._running = self._make_running(pool)
        own_processes = self._make_own_processes(pool)
        self._setting_off = self._make_setting_off(own_processes)
        self._own_job = OwnJob(self._setting_off, owner=owner, lease=self.lease)
        self._orders = Orders(
            channel,
            most=config.conductor.jobs,
            slots=most if slots is None else min(most, slots),
            drained=drained,
            stopping=self._stopping,
            held=self.held,
            giving_way=self._giving_way,
            own_processes=own_processes,
            own_job=self._own_job,
            reload=lambda: self._types.reload(self._have_loaded_again),
            wake=self._wake,
        )

    # -- life

    def run(self) -> int:
        """Work until told to stop (or, with ``once``, until there is nothing left to claim); the exit code."""
        self._writer.start()
        self._types.tell()
        self._orders.start()
        Pulse(self.channel, self.held).start()
        board = self._open_board()
        if board is not None:
            self._aftermath.start(self._steps(board))
            claiming = self._make_claiming(board)
            if self.alone:
                self._own_job.take_over(board)
            else:
                self._work(board, claiming)
            self._drain(board, claiming)
        self._writer.stop()
        self._link.close()
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
        self._misfits.look_soon()
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
        self.ended.tell(board)
        self._pass_on(claiming)
        self._aftermath.go()
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
        busy = len(self.held) or len(self.ended) or self._passing or self._aftermath.is_busy
        return not busy

    def _drain(self, board: Board, claiming: Claiming) -> None:
        """Let running jobs come to their ends or atom borders, and tell the board of all of them."""
        while not self.held.wait_below(1, WAIT_S):
            pass
        try:
            self.ended.tell(board)
            board.release_owner(self.owner)
        except BoardUnavailable as error:
            log.warning("%s What was held is free when its lease ends.", error.message)
        try:
            self._pass_on(claiming)
        except Exception:
            log.exception("who waits for what jobs held here was not called; the leader does that")
        self._aftermath.stop()
        board.close()

    def _wake(self) -> None:
        """End the main thread's wait: there is something to see."""
        self._woken.set()
        if self._board is not None:
            self._board.wake()

    def _have_loaded_again(self) -> None:
        if not self.alone:
            self._misfits.look_soon()
        self._wake()

    # -- parts

    def _make_running(self, pool: futures.Executor) -> Running:
        parts = RunParts(
            writer=self._writer,
            registry=lambda: self._types.registry,
            owner=self.owner,
            node=self.config.node_name,
            output_limit=self.config.output.limit_bytes,
        )
        return Running(
            parts,
            pool,
            channel=self.channel,
            held=self.held,
            ended=self.ended,
            aftermath=self._aftermath,
            passing=self._passing,
            stopping=self._stopping,
            alone=self.alone,
            wake=self._wake,
        )

    def _make_own_processes(self, pool: futures.Executor) -> OwnProcesses:
        return OwnProcesses(
            self._database,
            channel=self.channel,
            held=self.held,
            ended=self.ended,
            outage=self._outage,
            pool=pool,
            run_as=self.config.conductor.run_as,
            note_left=self._running.note_left,
            wake=self._wake,
        )

    def _make_setting_off(self, own_processes: OwnProcesses) -> SettingOff:
        return SettingOff(
            self._link,
            owner=self.owner,
            node=self.config.node_name,
            alone=self.alone,
            channel=self.channel,
            held=self.held,
            ended=self.ended,
            passing=self._passing,
            running=self._running,
            own_processes=own_processes,
        )

    def _make_claiming(self, board: Board) -> Claiming:
        return Claiming(
            board,
            owner=self.owner,
            lease=self.lease,
            types=self._types,
            held=self.held,
            slots=lambda: self._orders.slots,
            scout=self._make_scout(board),
            misfits=self._misfits,
            giving_way=self._giving_way,
            passing=self._passing,
            start=self._setting_off.start,
        )

    def _make_scout(self, board: Board) -> Scout:
        return Scout(
            board,
            Store(self._database),
            lambda: self._types.registry,
            fits=self._types.fits,
            room=lambda: self._orders.slots - len(self.held),
            wake=board.wake,
            timeout=self.config.conductor.capability_timeout,
        )


def _is_waited_for(job: Job) -> bool:
    """Whether others are likely to wait for the job's end; for those of which that is not known, it may take longer."""
    return job.jobset_id is not None or Waker.concerns(job)
