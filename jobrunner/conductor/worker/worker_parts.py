"""The parts of a worker, made and joined here: each knows those below it, and calls back to the worker to wake it.

Making them does no I/O but for loading plugins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures

from jobrunner.boards.board import Board
from jobrunner.conductor.channel import Channel
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.reconciling.waker import Waker
from jobrunner.conductor.run import RunParts
from jobrunner.conductor.turns.baton import Baton
from jobrunner.conductor.turns.job_threads import JobThreads
from jobrunner.conductor.turns.own_core import core_for
from jobrunner.conductor.worker.aftermath import Aftermath
from jobrunner.conductor.worker.candidates import Scout
from jobrunner.conductor.worker.claiming import Claiming
from jobrunner.conductor.worker.ended import EndedJobs
from jobrunner.conductor.worker.giving_way import GivingWay
from jobrunner.conductor.worker.known_types import KnownTypes
from jobrunner.conductor.worker.leases import HeldJobs
from jobrunner.conductor.worker.misfits import Misfits
from jobrunner.conductor.worker.orders import Orders
from jobrunner.conductor.worker.own_job import OwnJob
from jobrunner.conductor.worker.own_processes import OwnProcesses
from jobrunner.conductor.worker.passing_on import PassingOn
from jobrunner.conductor.worker.running import Running
from jobrunner.conductor.worker.setting_off import SettingOff
from jobrunner.config import Config
from jobrunner.model import Job
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.link import Link
from jobrunner.persistence.store import Store
from jobrunner.plugins.registry import Registry


class WorkerParts:
    """What one worker is made of; for the arguments that are not told of here see Worker.

    :param stopping: set when the worker is to end
    :param wake: ends the wait of the thread that claims
    """

    def __init__(
        self,
        config: Config,
        channel: Channel,
        database: Database,
        *,
        load_registry: Callable[[bool], Registry],
        owner: str,
        alone: bool,
        drained: bool,
        slots: int | None,
        place: int | None,
        stopping: threading.Event,
        outage: Outage,
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._channel = channel
        self._database = database
        self._owner = owner
        self._alone = alone
        self._stopping = stopping
        self._wake = wake
        self.held = HeldJobs(config.conductor.lease)
        self.core = core_for(place, wanted=config.conductor.cpu_affinity)
        self.ended = EndedJobs(owner, channel)
        self.link = Link(database)
        self.writer = Writer(database, patience=config.persistence.patience, at_turn=self.core.stay)
        self.aftermath = Aftermath(is_prompt=_is_waited_for)
        self.passing = PassingOn(self.link)
        self.types = KnownTypes(load_registry, config.node_name, channel)
        self.misfits = Misfits(database, lambda: self.types.registry, fits=self.types.fits, found=wake)
        self._giving_way = GivingWay(config.conductor.give_way)
        most = 1 if alone else config.conductor.jobs
        pool = JobThreads(most, thread_name_prefix="job")
        self.running = self._make_running(pool)
        self.own_processes = self._make_own_processes(pool, outage)
        self.setting_off = self._make_setting_off(self.own_processes)
        self.own_job = OwnJob(self.setting_off, owner=owner, lease=config.conductor.lease)
        self.orders = Orders(
            channel,
            most=config.conductor.jobs,
            slots=most if slots is None else min(most, slots),
            drained=drained,
            stopping=stopping,
            held=self.held,
            giving_way=self._giving_way,
            own_processes=self.own_processes,
            own_job=self.own_job,
            reload=lambda: self.types.reload(self._have_loaded_again),
            wake=wake,
        )

    def _make_running(self, pool: futures.Executor) -> Running:
        parts = RunParts(
            writer=self.writer,
            registry=lambda: self.types.registry,
            owner=self._owner,
            node=self._config.node_name,
            baton=Baton(self.core),
            output_limit=self._config.output.limit_bytes,
        )
        return Running(
            parts,
            pool,
            channel=self._channel,
            held=self.held,
            ended=self.ended,
            aftermath=self.aftermath,
            passing=self.passing,
            stopping=self._stopping,
            alone=self._alone,
            wake=self._wake,
        )

    def _make_own_processes(self, pool: futures.Executor, outage: Outage) -> OwnProcesses:
        return OwnProcesses(
            self._database,
            channel=self._channel,
            held=self.held,
            ended=self.ended,
            outage=outage,
            pool=pool,
            run_as=self._config.conductor.run_as,
            note_left=self.running.note_left,
            wake=self._wake,
        )

    def _make_setting_off(self, own_processes: OwnProcesses) -> SettingOff:
        return SettingOff(
            self.link,
            owner=self._owner,
            node=self._config.node_name,
            alone=self._alone,
            channel=self._channel,
            held=self.held,
            ended=self.ended,
            passing=self.passing,
            running=self.running,
            own_processes=own_processes,
        )

    def _have_loaded_again(self) -> None:
        if not self._alone:
            self.misfits.look_soon()
        self._wake()

    def claiming(self, board: Board) -> Claiming:
        """What claims from this board; its scout is not started."""
        return Claiming(
            board,
            owner=self._owner,
            lease=self._config.conductor.lease,
            types=self.types,
            held=self.held,
            slots=lambda: self.orders.slots,
            scout=self._scout(board),
            misfits=self.misfits,
            giving_way=self._giving_way,
            passing=self.passing,
            start=self.setting_off.start,
        )

    def _scout(self, board: Board) -> Scout:
        return Scout(
            board,
            Store(self._database),
            lambda: self.types.registry,
            fits=self.types.fits,
            room=lambda: self.orders.slots - len(self.held),
            wake=board.wake,
            timeout=self._config.conductor.capability_timeout,
        )


def _is_waited_for(job: Job) -> bool:
    """Whether others are likely to wait for the job's end; for those of which that is not known, it may take longer."""
    return job.jobset_id is not None or Waker.concerns(job)
