"""The supervisor: starts the workers, keeps their leases, and does no work of its own.

It reaps a dead worker and hands its jobs back at once, kills one that stopped answering for longer than a lease, and
starts others in their places. A job with which several workers died gets a process of its own, so that it can do no
harm to others.

First SIGTERM or SIGINT: claim no more, suspend flows at the next atom border, hand them back, exit 0. A second one, or
the grace period running out: leave at once; the leases are released. SIGHUP: load plugins again.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Any

from jobrunner.boards.board import Board
from jobrunner.conductor.broken_plugins import BrokenPlugins
from jobrunner.conductor.channel import Message
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.directory import here
from jobrunner.conductor.isolation.accounts import Account
from jobrunner.conductor.supervisor.apart import Apart
from jobrunner.conductor.supervisor.chores import Chores
from jobrunner.conductor.supervisor.crew import Crew
from jobrunner.conductor.supervisor.footprint import keep_small
from jobrunner.conductor.supervisor.forks import ForkServer
from jobrunner.conductor.supervisor.keeper import Claims, LeaseKeeper
from jobrunner.conductor.supervisor.limited import ConfiguredLimits
from jobrunner.conductor.supervisor.lone import SPARES
from jobrunner.conductor.supervisor.process import LoneJob, WorkerProcess, how_it_ended, start_worker
from jobrunner.conductor.supervisor.reporting import Figures
from jobrunner.conductor.supervisor.restarts import Restarts
from jobrunner.conductor.supervisor.wakeup import Wakeup
from jobrunner.config import Config
from jobrunner.errors import BoardUnavailable, JobrunnerError, StoreUnavailable, WrongBoard
from jobrunner.model import CancelMode
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.wishes import Wishes, wishes

log = logging.getLogger(__name__)

TICK_S = 0.5
STALL_S = 2.0
"""If the supervisor itself stood still for so long, its workers' silence means nothing."""
START_S = 60.0
"""A worker that imports its plugins has so long for it."""
SILENCE_MIN_S = 2.0


class Supervisor:
    """One conductor's supervisor.

    :param open_board: makes the board; raises BoardUnavailable or WrongBoard
    """

    def __init__(
        self, config: Config, database: Database, *, open_board: Callable[[], Board], once: bool
    ) -> None:
        self.config = config
        self.once = once
        self.node = config.node_name
        self.identity = f"{self.node}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._slots = sum(config.jobs_of(number) for number in range(config.processes))
        self._claims = Claims()
        self._selector = selectors.DefaultSelector()
        self._forks = ForkServer(config.model_dump(mode="json"), node=self.node)
        self._crew = Crew(config)
        self._directory = here()
        self._stops = 0
        self._reload = False
        self._leave_at: float | None = None
        self._restarts = Restarts()
        self._broken_plugins = BrokenPlugins()
        self._database = database
        self._configured = ConfiguredLimits(config, database)
        self._looked = boottime()
        self._used_s = 0.0
        self._code = 0
        self._fatal: JobrunnerError | None = None
        self._chores = Chores(
            database,
            node=self.node,
            identity=self.identity,
            lease=config.conductor.lease,
            open_board=open_board,
            retention=config.retention,
            figures=self._figures,
            running_usage=lambda: self._apart.usage(),
            fatal=self._fail,
            give_way=self._crew.give_way if config.conductor.give_way else None,
            labels=config.conductor.labels,
        )
        self._apart = Apart(
            config,
            self._chores.dead,
            self._chores.usage,
            self._claims,
            slots=self._slots,
            spares=0 if once else SPARES,
            workers=lambda: list(self._crew),
            start=lambda account: self._start(None, account=account),
            tell=self._tell,
            kill=self._forks.kill,
        )
        self._keeper = LeaseKeeper(
            lambda: self._chores.board,
            database,
            self._claims,
            lease=config.conductor.lease,
            tell=self._tell,
            node=self.node,
            heed=self._heed,
        )

    # -- life

    def run(self) -> int:
        """Supervise until stopped; the exit code. Raises what made going on useless."""
        self._forks.start()  # what it imports takes longer than all that follows
        try:
            return self._run()
        finally:
            self._forks.end()

    def _run(self) -> int:
        self._connect()
        keep_small()
        self._learn_what_is_wished()
        with Wakeup(self._on_signal) as wakeup:
            self._selector.register(wakeup, selectors.EVENT_READ, None)
            self._selector.register(self._forks, selectors.EVENT_READ, self._forks)
            try:
                self._keeper.start()
                self._chores.start()
                self._apart.start()
                for slot in range(self.config.processes):
                    self._start(slot)
                log.info("conductor %s runs with %d workers", self.identity, self.config.processes)
                self._loop(wakeup)
            finally:
                self._apart.stop()
                self._kill_all()
                self._chores.stop()
                self._keeper.stop()
                self._selector.close()
        if self._fatal is not None:
            raise self._fatal
        return self._code

    def _connect(self) -> None:
        try:
            self._chores.connect()
        except WrongBoard:
            raise
        except BoardUnavailable as error:
            if self.once:
                raise
            log.warning("%s Starting all the same; it is tried again until it is there.", error.sentence)

    def _learn_what_is_wished(self) -> None:
        """Before there are workers: none may claim a job that should have waited."""
        try:
            self._configured.tell()
            wished = wishes(self._database, [], node=self.node)
            self._crew.drain(wished.drained)
            self._crew.limit_to(wished.limit)
        except StoreUnavailable as error:
            log.warning(
                "%s Whether the node is drained or limited will be known when it is back.", error.sentence
            )

    def _loop(self, wakeup: Wakeup) -> None:
        while self._crew or self._restarts or self._apart:
            for key, _ in self._selector.select(timeout=self._until_next()):
                if key.data is None:
                    wakeup.clear()
                elif key.data is self._forks:
                    self._read_forks()
                else:
                    self._read(key.data)
            self._act_on_signals()
            self._reap_ended()
            self._start_due()
            self._apart.start_due(leaving=self._leave_at is not None)
            self._kill_silent()

    def _until_next(self) -> float:
        """Seconds until there is something to do without being told."""
        due = self._restarts.until_next(boottime())
        return TICK_S if due is None else min(TICK_S, due)

    # -- signals

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        elif number != signal.SIGCHLD:
            self._stops += 1

    def _fail(self, error: JobrunnerError) -> None:
        self._fatal = error
        self._stops += 1

    def _act_on_signals(self) -> None:
        if self._reload:
            self._reload = False
            log.info("loading plugins again")
            self._crew.tell("reload")
        if self._stops and self._leave_at is None:
            grace = self.config.conductor.grace
            log.info(
                "stopping: no more claims; running flows are suspended at their next atom, within %g s", grace
            )
            self._leave_at = boottime() + grace
            self._restarts.clear()
            self._crew.tell("stop")
        if self._leave_at is not None and (self._stops > 1 or boottime() > self._leave_at):
            if self._crew:
                log.warning("leaving at once; what still runs goes back to the board")
            self._kill_all()

    # -- workers

    def _start(self, slot: int | None, *, account: Account | None = None) -> WorkerProcess:
        setup = {
            **self._crew.setup(slot),
            "once": self.once,
            "directory": self._directory,
            "log_level": logging.getLevelName(logging.getLogger().getEffectiveLevel()),
        }
        if not self._forks.is_running:
            self._forks.start()
            self._selector.register(self._forks, selectors.EVENT_READ, self._forks)
        worker = start_worker(self._forks, self.identity, slot, setup, node=self.node, account=account)
        self._crew.join(worker, setup)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        return worker

    def _start_due(self) -> None:
        """Start workers in the places of dead ones."""
        now = boottime()
        for slot in self._restarts.take_due(now):
            try:
                self._start(slot)
            except OSError as error:
                log.error("no worker could be started, which is tried again: %s", error)
                self._restarts.could_not_start(slot, now=now)

    def _read(self, worker: WorkerProcess) -> None:
        if self._crew.get(worker.owner) is not worker:
            return  # it could not be forked, as was read a moment ago: its line was readable since it had ended
        received = worker.channel.receive()
        if received is None:
            # It closed its line: it has ended, or is of no use any more.
            self._selector.unregister(worker.channel)
            worker.hung_up = True
            self._forks.kill(worker.owner)
            return
        worker.heard = boottime()
        for message in received:
            self._take(worker, message)

    def _take(self, worker: WorkerProcess, message: Message) -> None:
        kind = message["kind"]
        if kind == "claimed":
            if worker.lone is not None:
                worker.taken = True
                self._claims.passed_on(worker.lone.job_id, worker.lone.holder)
            self._claims.add(worker.owner, message["ids"])
        elif kind == "done":
            self._claims.remove(worker.owner, message["ids"])
        elif kind == "isolate":
            self._apart.add(LoneJob.from_message(message, worker.owner))
        elif kind == "begun":
            self._apart.began(worker, message)
        elif kind == "ready":
            worker.ready = True
            worker.types, worker.isolates = message["types"], message["isolates"]
            self._broken_plugins.tell(message["problems"])
        elif kind == "pulse":
            worker.running = message["running"]
            worker.ended = message["ended"]
            self._used_s += max(0.0, message["used_s"] - worker.used_s)
            worker.used_s = message["used_s"]
            if worker.lone is not None and message["asked"]:
                self._apart.watch.asked(worker.owner, heeded=bool(message["heeded"]))

    def _read_forks(self) -> None:
        received = self._forks.receive()
        if received is None:
            self._fork_server_ended()
            return
        for message in received:
            worker = self._crew.get(message.get("owner", ""))
            if worker is None:
                continue
            if message["kind"] == "ended":
                worker.code, worker.cpu, worker.peak = message["code"], message["cpu"], message["peak"]
                if message["left"]:
                    log.error("%d processes of %s could not be ended", message["left"], worker.owner)
            elif message["kind"] == "not_started":
                self._was_not_started(worker, message["error"])

    def _fork_server_ended(self, *, hangs: bool = False) -> None:
        """Its workers end with it. Another is started for their successors."""
        self._selector.unregister(self._forks)
        code = self._forks.end(at_once=hangs)
        log.error("the fork server ended (%s), and all workers with it", how_it_ended(code))
        for worker in self._crew:
            if worker.code is None:
                worker.code = code if code > 0 else -signal.SIGKILL

    def _was_not_started(self, worker: WorkerProcess, error: str) -> None:
        """There was no room for another process."""
        log.error("a worker could not be forked, which is tried again: %s", error)
        self._forget(worker)
        if worker.lone is not None:
            self._apart.give_back(worker.lone)
        elif worker.slot is not None:
            self._restarts.could_not_start(worker.slot, now=boottime())
        else:
            self._apart.spare_failed()

    def _reap_ended(self) -> None:
        for worker in self._crew:
            if worker.code is not None:
                self._reap(worker, worker.code)

    def _reap(self, worker: WorkerProcess, code: int) -> None:
        """A worker has ended: hand its jobs back at once, and start another in its place unless it ended in peace."""
        self._hear_out(worker)
        left_nothing = code == 0 and not self._claims.any_of(worker.owner)
        self._forget(worker)
        self._hand_back(worker, code, left_nothing=left_nothing)
        if worker.ended_on_purpose or (
            left_nothing and (self.once or self._leave_at is not None or worker.alone)
        ):
            return
        if self.once and not worker.ready and not worker.alone:
            self._code = code if code > 0 else 1  # it could not even start: others would not either
            return
        log.error("worker %s ended (%s); its jobs are handed back", worker.owner, how_it_ended(code))
        if worker.slot is not None and self._leave_at is None:
            now = boottime()
            self._restarts.died(worker.slot, now=now, lived=now - worker.started)

    def _hear_out(self, worker: WorkerProcess) -> None:
        """Read what a worker said last: the fork server's word of its end may have been quicker."""
        while any(key.data is worker for key, _ in self._selector.select(timeout=0)):
            self._read(worker)

    def _hand_back(self, worker: WorkerProcess, code: int, *, left_nothing: bool) -> None:
        then = None if worker.lone is None else self._apart.ended(worker, worker.lone, code)
        if worker.alone and worker.lone is None and not worker.ready:
            self._apart.spare_failed()
        if then is not None and left_nothing:
            then()
            then = None
        self._chores.dead.hand_back(worker.owner, on_purpose=worker.ended_on_purpose, then=then)

    def _forget(self, worker: WorkerProcess) -> None:
        if worker.channel in self._selector.get_map():
            self._selector.unregister(worker.channel)
        worker.channel.close()
        self._crew.leave(worker)
        self._claims.drop(worker.owner)

    def _kill_silent(self) -> None:
        """A worker that has not given a pulse for longer than a lease hangs: its jobs are somebody else's by now."""
        now = boottime()
        stalled, self._looked = now - self._looked > STALL_S, now
        if stalled:
            self._forks.excuse(now)
        elif self._forks.hangs(now):
            log.error("the fork server does not answer and is killed")
            self._fork_server_ended(hangs=True)
            return
        lease = max(self.config.conductor.lease, SILENCE_MIN_S)
        for worker in self._crew:
            if stalled:
                worker.heard = now
            silent = worker.silence(now, lease=lease, start=START_S) > 0
            # A job that is alone may keep the interpreter for itself: the watch sees to its limits, from outside.
            hangs = worker.channel.broken or (silent and not worker.is_watched)
            if hangs and not worker.hung_up:
                log.error(
                    "worker %s has not answered for %.1f s and is killed", worker.owner, now - worker.heard
                )
                self._forks.kill(worker.owner)
                worker.heard = now

    def _kill_all(self) -> None:
        """End all workers now, on purpose: their jobs go back, and none of them counts as deadly."""
        if self._forks.is_running:
            self._selector.unregister(self._forks)
            self._forks.end()
        for worker in self._crew:
            worker.ended_on_purpose = True
            self._reap(worker, -signal.SIGKILL)
        self._restarts.clear()
        self._apart.clear()

    # -- for the threads

    def _tell(self, owner: str, kind: str, **content: Any) -> None:
        worker = self._crew.get(owner)
        if worker is None:
            return
        worker.channel.send(kind, **content)
        if worker.lone is not None and kind == "cancel":
            self._apart.watch.cancel(owner, CancelMode(content["mode"]))
        elif worker.lone is not None and kind == "lost":
            self._apart.watch.lost(owner)

    def _heed(self, wished: Wishes) -> None:
        self._configured.tell()
        self._crew.drain(wished.drained)
        self._crew.limit_to(wished.limit)

    def _figures(self) -> Figures:
        workers = list(self._crew)
        return Figures(
            processes=sum(not worker.alone for worker in workers),
            slots=self._crew.slots,
            running=sum(len(worker.running) for worker in workers),
            ended=self._apart.ended_here + sum(worker.ended for worker in workers if not worker.alone),
            types=sorted({name for worker in workers for name in worker.types}),
            used_s=self._used_s,
            **self._apart.figures(),
        )
