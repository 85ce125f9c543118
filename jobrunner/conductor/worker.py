"""A worker process: claims jobs and runs them in threads.

The main thread claims; each job has a thread of a pool; one thread listens to the supervisor, one gives a pulse and
watches the leases, one writes the journal. Costs of claiming n jobs: one round trip to the board, one transaction that
raises n epochs, and one round trip that takes the last ones off the board.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from jobrunner.boards.board import Board
from jobrunner.conductor.accounts import account_for
from jobrunner.conductor.aftermath import Aftermath, Step
from jobrunner.conductor.candidates import Scout
from jobrunner.conductor.channel import ORPHANED, Channel, Message
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.ended import EndedJobs
from jobrunner.conductor.giving_way import GivingWay
from jobrunner.conductor.leases import Held, HeldJobs
from jobrunner.conductor.misfits import Misfits
from jobrunner.conductor.outage import Outage
from jobrunner.conductor.passing_on import PassingOn
from jobrunner.conductor.run import RETRY_ELSEWHERE_S, Outcome, RunParts, not_settled, run_job_then
from jobrunner.conductor.usage import used_before
from jobrunner.conductor.waker import Waker
from jobrunner.config import Config
from jobrunner.errors import BoardUnavailable, NotAllowedHere, StoreUnavailable
from jobrunner.jobs.following import follow
from jobrunner.model import CancelMode, Job, JobClass, JobState
from jobrunner.persistence.beginning import TagLimits, begin
from jobrunner.persistence.database import Database
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.link import Link
from jobrunner.persistence.ownership import hand_back
from jobrunner.persistence.settling import Settlement
from jobrunner.persistence.store import Store
from jobrunner.persistence.unowned import note_waiting
from jobrunner.plugins.registry import Registry

log = logging.getLogger(__name__)

WAIT_S = 2.0
"""How long an idle worker blocks for work at most."""
DRAIN_WAIT_S = 0.25
"""And while it only drains the board."""
GATHER_S = 0.03
"""So long a worker waits for more free slots before it claims, when jobs queue up."""
PULSE_S = 0.25
QUIET_PULSE_S = 0.9
"""With no news a pulse is given less often; the supervisor takes a worker to hang after 2 s at the earliest."""
AWAY_S = 1.0
"""Pause before the board or the database is tried again."""
CORRUPT_S = 60.0
"""A job whose row cannot be read is offered again after this time: somebody may have mended it."""
ANY_CLASS_LIMIT = 64
"""With more job types than this a worker asks the board which classes there are before it claims."""
NOBODY = "00000000-0000-0000-0000-000000000000"
"""No job has this id."""
SUSPECT_DEATHS = 2
"""A job with which so many owners died runs in a process of its own, so that it takes no others with it."""


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
        self.node = config.node_name
        self.lease = config.conductor.lease
        most = 1 if alone else config.conductor.jobs
        self.slots = most if slots is None else min(most, slots)
        self.held = HeldJobs(self.lease)
        self.ended = EndedJobs(owner, channel)
        self._stopping = threading.Event()
        self._drained = drained
        self._woken = threading.Event()
        self._backlog = False
        self._news = False
        self._giving_way = GivingWay(config.conductor.give_way)
        self._outage = Outage(log, "claiming jobs")
        self._load_registry = load_registry
        self._open_own_board = open_board
        self._registry = load_registry(False)
        self._classes: frozenset[JobClass] = frozenset()
        self._database = database
        self._link = Link(database)
        self._tags = TagLimits()
        self._passing = PassingOn(self._link)
        self._writer = Writer(self._database, patience=config.persistence.patience)
        self._parts = RunParts(
            writer=self._writer,
            registry=lambda: self._registry,
            owner=owner,
            node=self.node,
            output_limit=config.output.limit_bytes,
        )
        self._pool = futures.ThreadPoolExecutor(most, thread_name_prefix="job")
        self._board: Board | None = None
        self._aftermath = Aftermath(())
        self._misfits = Misfits(database, lambda: self._registry, fits=self._fits, found=lambda: self._wake())
        self._own_job: SimpleQueue[tuple[str, str] | None] = SimpleQueue()

    # -- life

    def run(self) -> int:
        """Work until told to stop (or, with ``once``, until there is nothing left to claim); the exit code."""
        self._writer.start()
        self._take_types()
        threading.Thread(target=self._listen, name="control", daemon=True).start()
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        board = self._open_board()
        if board is not None:
            self._aftermath = Aftermath(self._steps(board), is_prompt=_is_waited_for)
            self._aftermath.start()
            if self.alone:
                self._run_own_job(board)
            else:
                self._work(board)
            self._drain(board)
        self._writer.stop()
        self._link.close()
        self._database.close()
        return 0

    def _steps(self, board: Board) -> list[Step]:
        """What is done after jobs were left."""
        waker = Waker(self._database, board)
        return [waker, lambda left: self._follow(board, left)]

    def _follow(self, board: Board, left: Sequence[Job]) -> None:
        """Let those go on that come after jobs which have ended."""
        follow(self._database, lambda: board, [job.id for job in left])

    def _work(self, board: Board) -> None:
        scout = Scout(
            board,
            Store(self._database),
            lambda: self._registry,
            fits=self._fits,
            room=lambda: self.slots - len(self.held),
            wake=board.wake,
            timeout=self.config.conductor.capability_timeout,
        )
        scout.start()
        self._misfits.look_soon()
        log.info("worker %s takes jobs", self.owner)
        while not self._stopping.is_set():
            try:
                if not self._step(board, scout):
                    break
                self._outage.is_over()
            except (BoardUnavailable, StoreUnavailable) as error:
                self._outage.goes_on(error)
                self._stopping.wait(AWAY_S)
            except Exception:
                log.exception("claiming jobs failed; it is tried again")
                self._stopping.wait(AWAY_S)
        scout.stop()

    def _step(self, board: Board, scout: Scout) -> bool:
        """Tell the board what ended, then claim, or wait; False if there is nothing left to do."""
        self.ended.tell(board)
        self._pass_on(board)
        self._aftermath.go()
        if self._drained or not self.slots:
            return self._rest()
        if not self._wait_for_room() or self._claim(board, scout):
            return True
        if self._news:
            scout.look()
        if self.once and scout.nothing_left() and self._is_idle() and not self._any_waits(board):
            return False
        # For all that may come, not for what the board has now: news of a class that was there before are none.
        classes = self._classes | scout.classes
        self._news = board.wait(classes, timeout=self._patience(board, scout))
        return True

    def _patience(self, board: Board, scout: Scout) -> float:
        """Seconds for which to wait for news at most."""
        longest = DRAIN_WAIT_S if self.once else WAIT_S
        pause = self._pause(board)
        if not pause:
            return longest
        return min(longest, self._giving_way.patience(board), scout.until_approved(pause))

    def _rest(self) -> bool:
        """Claim nothing: the node is drained, or has no slot for this worker. False if nothing is left to wait for."""
        if self.once and self._is_idle():
            return False
        self._woken.wait(WAIT_S)
        self._woken.clear()
        return True

    def _pass_on(self, board: Board) -> None:
        """Run those whose turn it is to have what jobs left here of semaphores; others are called for the rest."""
        if not self._passing:
            return
        takes = not (self._drained or self.alone or self._stopping.is_set())
        classes, claimed_at = self._classes if takes else (), boottime()
        limit = self.slots - len(self.held)
        ids = self._passing.take_over(board, self.owner, classes, limit=limit, lease=self.lease)
        if ids:
            self._start(ids, claimed_at + self.lease)

    def _wait_for_room(self) -> bool:
        """Wait for a free slot; while more jobs wait than there are slots, a moment longer, for several of them.

        False if there is none, or something else is to be done first. A claim costs a transaction whatever its size, so
        short jobs are claimed by the handful.
        """
        if not self.held.wait_below(self.slots, WAIT_S):
            return False
        if self._backlog:
            self.held.wait_below(self.slots - self.slots // 2 + 1, GATHER_S)
        return not self._passing

    def _any_waits(self, board: Board) -> bool:
        return bool(board.peek(self._plain_classes(board), limit=1))

    def _is_idle(self) -> bool:
        busy = len(self.held) or len(self.ended) or self._passing or self._aftermath.is_busy
        return not busy

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

    def _take_types(self) -> None:
        types = sorted(self._registry.job_types)
        nodes = (None, self.node)
        self._classes = frozenset(JobClass(type=name, node=node) for name in types for node in nodes)
        isolates = any(job_type.wants_spares for job_type in self._registry.job_types.values())
        self.channel.send("ready", types=types, problems=len(self._registry.problems), isolates=isolates)

    def _drain(self, board: Board) -> None:
        """Let running jobs come to their ends or atom borders, and tell the board of all of them."""
        while not self.held.wait_below(1, WAIT_S):
            pass
        try:
            self.ended.tell(board)
            board.release_owner(self.owner)
        except BoardUnavailable as error:
            log.warning("%s What was held is free when its lease ends.", error.message)
        try:
            self._pass_on(board)
        except Exception:
            log.exception("who waits for what jobs held here was not called; the leader does that")
        self._aftermath.stop()
        board.close()

    # -- claim

    def _claim(self, board: Board, scout: Scout) -> bool:
        """Claim as many jobs as there are free slots, and start them; whether there were any."""
        free = self.slots - len(self.held)
        claimed_at = boottime()
        approved = scout.take_approved(free, aged=self._pause(board))
        ids = board.claim_these(self.owner, approved, lease=self.lease)
        ids += board.claim_these(
            self.owner, self._misfits.take(free - len(ids)), lease=self.lease, early=True
        )
        if not ids:
            ids = self._claim_plain(board, free)
            self._backlog = len(ids) == free
        if ids:
            self._start(ids, claimed_at + self.lease)
            scout.glance()
        return bool(ids)

    def _claim_plain(self, board: Board, limit: int) -> list[str]:
        """Claim jobs that ask for no capabilities; if a freer node is there, what that leaves."""
        classes = self._plain_classes(board)
        if self._pause(board):
            return self._giving_way.claim(board, self.owner, classes, limit=limit, lease=self.lease)
        self._giving_way.forget()
        return board.claim(self.owner, classes, limit=limit, lease=self.lease)

    def _pause(self, board: Board) -> float:
        """For how many seconds a job is left to freer nodes; while jobs queue up, not at all."""
        return 0.0 if self._backlog else self._giving_way.pause(board)

    def _run_own_job(self, board: Board) -> None:
        """Take a job over from the worker that claimed it; if that has lost it meanwhile, it is somebody else's."""
        if self._own_job.empty():
            self._rehearse(board)
        named = self._own_job.get()
        if named is None:
            return
        job_id, holder = named
        claimed_at = boottime()
        ids = board.pass_on(holder, self.owner, [job_id], lease=self.lease)
        if ids:
            self._start(ids, claimed_at + self.lease)

    def _rehearse(self, board: Board) -> None:
        """Make a spare's first statements ones that find nothing: they are made, connected and cached then."""
        with contextlib.suppress(BoardUnavailable, StoreUnavailable):  # it will be said when there is a job
            board.pass_on(self.owner, self.owner, [NOBODY], lease=self.lease)
            begin(self._link, [NOBODY], owner=self.owner, node=self.node, tags=self._tags)

    def _plain_classes(self, board: Board) -> list[JobClass]:
        """The classes that can be claimed from: those that name capabilities are the scout's."""
        if len(self._classes) <= ANY_CLASS_LIMIT:
            return list(self._classes)
        return [cls for cls in board.classes() if self._fits(cls) and not cls.capabilities]

    def _fits(self, cls: JobClass) -> bool:
        return cls.type in self._registry.job_types and cls.node in (None, self.node)

    def _start(self, ids: list[str], until: float) -> None:
        """Raise the epochs of claimed jobs and run those that are to be run."""
        ids = self._not_held(ids, until)
        if not ids:
            return
        self.held.claimed(ids, until)
        self.channel.send("claimed", ids=ids)
        try:
            begun = begin(
                self._link,
                ids,
                owner=self.owner,
                node=self.node,
                tags=self._tags,
                threads_only=not self.alone,
            )
        except BaseException:
            self.held.not_begun(ids)
            self.ended.goes_back(ids, delay=AWAY_S)
            raise
        gone = [*begun.finished, *begun.parked, *begun.unknown]
        self.ended.finished(gone)
        self.ended.goes_back(begun.corrupt, delay=CORRUPT_S)
        for job_id, seconds in begun.early.items():
            self.ended.goes_back([job_id], delay=seconds)
        for refused in begun.refused:
            self.ended.goes_back([refused.job.id], delay=refused.delay)
            # Once the board has it again: what ended meanwhile saw nobody waiting.
            self._passing.note(refused.job, left=False)
        not_now = [*begun.corrupt, *begun.early, *(refused.job.id for refused in begun.refused)]
        self.held.not_begun([*gone, *not_now])
        for job in begun.set_aside:
            self._note_left(job)
        if begun.corrupt:
            log.error("the rows of these jobs cannot be read: %s", ", ".join(begun.corrupt))
        suspects = [job for job in begun.started if job.deaths >= SUSPECT_DEATHS and not self.alone]
        for job in begun.started:
            self._passing.note_begun(job)
        for job in begun.started:
            if job not in suspects:
                self._set_off(job, lambda job: self._run(job, fresh=job.id in begun.fresh))
        for job in suspects:
            self._set_off(job, self._isolate)
        for job in begun.apart:
            self._set_off(job, self._leave_to_own_process)

    def _set_off(self, job: Job, start: Callable[[Job], None]) -> None:
        """Start a job that was claimed; what fails harms no other that was claimed with it."""
        try:
            start(job)
        except Exception as error:  # noqa: BLE001 - the edge of a job
            self._could_not_set_off(job, error)

    def _could_not_set_off(self, job: Job, error: Exception) -> None:
        held = self.held.get(job.id)
        if held is not None:
            self.held.remove(held)
        self.held.not_begun([job.id])
        self.held.back(job.id)
        if job.owner == self.owner:  # it was begun
            left = not_settled(self._database, job, error)
            if left.finished:
                self.ended.finished([job.id])
            else:
                self.ended.job_goes_back(job, delay=left.delay)
        else:
            log.error("job %s could not be left to a process of its own", job.id, exc_info=error)
            self.ended.goes_back([job.id], delay=RETRY_ELSEWHERE_S)

    def _not_held(self, ids: list[str], until: float) -> list[str]:
        """Those of the claimed jobs that do not run here already: the board may have lost what it knew of a claim.

        One that runs goes on under its epoch. One whose lease was lost ends first: two runs of a job in one process
        would get in each other's way.
        """
        held = {job_id: self.held.get(job_id) for job_id in ids}
        self.held.kept([job_id for job_id, found in held.items() if found is not None], until)
        ending = [
            job_id
            for job_id, found in held.items()
            if (found is not None and found.stop.reason == "lost") or self.held.is_apart(job_id)
        ]
        self.ended.goes_back(ending, delay=AWAY_S)
        return [job_id for job_id in ids if held[job_id] is None and job_id not in ending]

    def _leave_to_own_process(self, job: Job) -> None:
        """Have the supervisor see to a process for a job that was not begun; its claim is passed on there."""
        limits = job.policies.run
        assert limits is not None
        try:
            if limits.user is not None:
                account_for(limits.user, limits.group, allowed=self.config.conductor.run_as)
        except NotAllowedHere as error:
            self.held.not_begun([job.id])
            self._say_why_not(job, error.message)
            return
        self.held.goes_apart(job)
        self.channel.send("isolate", id=job.id, limits=limits.to_json(), timeout=job.timeout)

    def _say_why_not(self, job: Job, why: str) -> None:
        """A job goes back that this node cannot run; it says so while it waits for another."""
        log.warning("job %s is not for this node: %s", job.id, why)
        try:
            note_waiting(self._database, [job.id], f"Waiting for a node that may run it. {why}")
        except StoreUnavailable as error:
            self._outage.goes_on(error)
        self.ended.goes_back([job.id], delay=RETRY_ELSEWHERE_S)
        self._wake()

    def _isolate(self, job: Job) -> None:
        """Leave a job to a process of its own, which takes it over from here."""
        self.held.not_begun([job.id])
        note = f"It runs in a process of its own, since {job.deaths} processes that ran it died."
        try:
            suspended = Settlement(state=JobState.SUSPENDED, note=note)
            hand_back(self._database, job, suspended, keeps_permits=True)
        except Exception:
            log.exception("job %s could not be left to a process of its own, so it goes back", job.id)
            self.ended.goes_back([job.id], delay=AWAY_S)
            return
        log.warning("job %s: %s", job.id, note)
        self.channel.send("isolate", id=job.id, limits=None, timeout=job.timeout)

    # -- run

    def _run(self, job: Job, *, fresh: bool) -> None:
        held = self.held.add(job)
        if self.alone:
            held.stop.forceful = job.policies.run is not None and job.policies.run.own_process
            self._say_begun(held)
        if self._stopping.is_set():
            held.stop.set("suspend")
        self._pool.submit(self._run_held, held, fresh)

    def _say_begun(self, held: Held) -> None:
        """Tell the supervisor, which watches over a job that is alone."""
        job = held.job
        undoes = job.cancel is not None or held.stop.is_set()
        self.channel.send(
            "begun",
            id=job.id,
            guardian=os.getppid(),
            epoch=job.epoch,
            attempt=job.attempt,
            age=held.before,
            undoes=undoes,
            used=used_before(job),
        )

    def _run_held(self, held: Held, fresh: bool) -> None:
        run_job_then(
            self._parts, held.job, held.stop, fresh=fresh, tell=lambda outcome: self._end(held, outcome)
        )

    def _end(self, held: Held, outcome: Outcome) -> None:
        job, then = held.job, None
        if outcome.awaits is not None:
            # What its signal would put on the board until then is taken off it there: look after that once more.
            then = functools.partial(self._aftermath.note, replace(job, awaits=outcome.awaits))
        if outcome.finished:
            self.ended.finished([job.id], then=then)
        else:
            self.ended.job_goes_back(job, delay=outcome.delay, prefers=outcome.prefers, then=then)
        self.held.remove(held, hurry=self._note_left(job))
        self._wake()

    def _note_left(self, job: Job) -> bool:
        """A job was left: note what follows from that; whether others may wait for what it held."""
        self._aftermath.note(job)
        return self._passing.note(job)

    # -- the supervisor's side

    def _listen(self) -> None:
        handlers: dict[str, Callable[[Message], None]] = {
            "kept": lambda message: self.held.kept(message["ids"], message["until"]),
            "lost": lambda message: self.held.stop(message["ids"], "lost"),
            "cancel": self._on_cancel,
            "hold": lambda message: self.held.stop([message["id"]], "hold"),
            "drain": lambda message: self._drain_node(message["drained"]),
            "slots": lambda message: self._limit_to(message["number"]),
            "give_way": self._on_give_way,
            "stop": lambda message: self._stop(),
            "reload": lambda message: self._reload(),
            "take": lambda message: self._own_job.put((message["id"], message["holder"])),
            "returned": self._on_returned,
            "left": self._on_left,
        }
        for message in self.channel.messages():
            try:
                handlers[message["kind"]](message)
            except Exception:
                log.exception("the supervisor's message %r could not be heeded", message["kind"])
        log.error("the supervisor is gone; this worker ends")
        os._exit(ORPHANED)  # nobody keeps the leases any more: nothing may go on, not even a task that hangs

    def _on_cancel(self, message: Message) -> None:
        held = self.held.get(message["id"])
        if held is not None:
            held.stop.cancel_mode = CancelMode(message["mode"])
            held.stop.set("cancel")

    def _drain_node(self, drained: bool) -> None:
        self._drained = drained

    def _limit_to(self, slots: int) -> None:
        """Run so many jobs at once from now on; those that run are left alone."""
        self.slots = min(slots, self.config.conductor.jobs)
        self.held.hurry()
        self._wake()

    def _on_returned(self, message: Message) -> None:
        """A job's own process did not come to take it over."""
        job = self.held.back(message["id"])
        if job is not None and message["why"] is not None:
            # The thread that listens to the supervisor waits for no server.
            self._pool.submit(self._say_why_not, job, message["why"])
        else:
            self.ended.goes_back([message["id"]], delay=message["delay"])
        self._wake()

    def _on_left(self, message: Message) -> None:
        """A job's own process is over; if it was ended by force, nobody has followed up on it yet."""
        job = self.held.back(message["id"])
        if job is not None and message["by_force"]:
            self._note_left(job)
        self._wake()

    def _on_give_way(self, message: Message) -> None:
        self._giving_way.share = float(message["share"])

    def _stop(self) -> None:
        self._stopping.set()
        self._own_job.put(None)
        self.held.stop(self.held.ids(), "suspend")
        self._wake()

    def _wake(self) -> None:
        self._woken.set()
        if self._board is not None:
            self._board.wake()

    def _reload(self) -> None:
        """Load plugins again, in a thread of its own: what a plugin does at its import must not cost leases."""
        threading.Thread(target=self._load_again, name="reload", daemon=True).start()

    def _load_again(self) -> None:
        try:
            self._registry = self._load_registry(True)
            self._take_types()
            if not self.alone:
                self._misfits.look_soon()
            self._wake()
        except Exception:
            log.exception("the plugins could not be loaded again; the old ones stay")

    def _pulse(self) -> None:
        ticks = threading.Event()
        told: tuple[Any, ...] | None = None
        told_at = 0.0
        while not ticks.wait(PULSE_S):
            lost = self.held.stop_overdue()
            if lost:
                log.error(
                    "the leases of these jobs were not kept in time, so they stop here: %s", ", ".join(lost)
                )
            news = (self.held.ids(), self.held.ended, *self.held.asked())
            if news != told or boottime() - told_at >= QUIET_PULSE_S:
                self.channel.send(
                    "pulse",
                    running=news[0],
                    ended=news[1],
                    asked=news[2],
                    heeded=news[3],
                    used_s=_used_s(),
                )
                told, told_at = news, boottime()


def _used_s() -> float:
    """Seconds of processors that this process has used, and those of its children that have ended."""
    times = os.times()
    return round(times.user + times.system + times.children_user + times.children_system, 2)


def _is_waited_for(job: Job) -> bool:
    """Whether others are likely to wait for the job's end; for those of which that is not known, it may take longer."""
    return job.jobset_id is not None or Waker.concerns(job)
