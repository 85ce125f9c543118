"""A job's life on a conductor, in one place.

    claim -> raise epoch -> load flow -> run, journalled -> settle -> consume -> announce

The worker claims (claiming.py) and raises the epoch (setting_off.py) for several jobs at once; from there on each job
goes its own way, here, in a thread of its own. It is over when SQL has the job's outcome; the worker then takes it off
the board.

Costs for a job of one atom, on top of its share of the claim: two shared commits; nothing is read for a job that
nobody began before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

from taskflow import states
from taskflow.persistence import models

from jobrunner.conductor import outcome
from jobrunner.conductor.engine.capture import JobOutput
from jobrunner.conductor.engine.engine import JobEngine
from jobrunner.conductor.engine.preparing import prepare
from jobrunner.conductor.engine.shape import Shape
from jobrunner.conductor.turns.baton import Baton
from jobrunner.errors import CorruptRow, LeaseLost, NotStorable, StoreUnavailable, UnknownJobType
from jobrunner.membership import Member
from jobrunner.model import CancelMode, Job, JobError, JobState, Parked
from jobrunner.persistence.chains.jobsets import members_of
from jobrunner.persistence.flows import META_KEY
from jobrunner.persistence.journal.books import load_flow
from jobrunner.persistence.journal.flow import Fence, FlowJournal
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.output import kept_bytes
from jobrunner.persistence.ownership.adoption import adopted
from jobrunner.persistence.ownership.lost_leases import give_death_back
from jobrunner.persistence.ownership.ownership import hand_back, hand_back_stopped
from jobrunner.persistence.ownership.settling import Settlement, followed_up
from jobrunner.persistence.server.database import Database
from jobrunner.plugins.registry import Registry
from jobrunner.stopping import StopSignal

log = logging.getLogger(__name__)

RETRY_ELSEWHERE_S = 15.0
"""A job that cannot run here now is offered again after this time."""
MISFIT_MOST_S = 300.0
"""The pause of a job that waits for other code doubles each time, up to this."""
OUTPUT_MIN_BYTES = 64 * 1024
"""So much output a job may keep in each epoch, however much it kept before."""


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """What running a job needs."""

    writer: Writer
    registry: Callable[[], Registry]
    owner: str
    node: str
    output_limit: int
    baton: Baton = field(default_factory=Baton)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the worker has to tell the board: the job is off it, or goes back, at once or after ``delay`` seconds."""

    finished: bool
    delay: float = 0.0
    state: JobState | None = None
    waits: bool = False
    """Whether it waits for the outside world: what came just before that was recorded may have been overlooked."""
    prefers: str | None = None
    """The node that its next attempt waits for."""


def run_job(parts: RunParts, job: Job, stop: StopSignal, *, fresh: bool) -> Outcome:
    """Run a job that this owner has begun, to its end or until it is asked to stop, and settle it in SQL.

    Never raises for the job's sake: whatever it does is its own outcome. If its lease is lost, or SQL stays away for
    longer than the patience, nothing is settled and the job goes back; whoever owns it next goes on from SQL's record.
    """
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    run_job_then(parts, job, stop, fresh=fresh, tell=outcomes.put)
    return outcomes.get()


def run_job_then(
    parts: RunParts, job: Job, stop: StopSignal, *, fresh: bool, tell: Callable[[Outcome], None]
) -> None:
    """As :func:`run_job`, but for the wait until the end is committed: ``tell`` is called then, by another thread."""
    try:
        _JobRun(parts, job, stop, fresh).run(tell)
    except BaseException as error:  # noqa: BLE001 - the edge of a job: else its slot were taken for ever
        tell(not_settled(parts.writer.database, job, error))


def not_settled(database: Database, job: Job, error: BaseException) -> Outcome:
    """What is told of a job that was begun, and whose end could not be recorded as it should be.

    One that an error of our own stopped is left here, with a note, so that nobody waits for it; with the last of
    MAX_DEATHS such errors, or deaths of owners, it has failed. One whose progress the database cannot hold has failed
    at once.
    """
    if isinstance(error, LeaseLost):
        log.warning("job %s: its lease was lost, %s; this conductor stops it", job.id, _lost(database, job))
        return Outcome(finished=False)
    if isinstance(error, StoreUnavailable):
        log.error(
            "job %s: %s It goes back to the board, and on from what is recorded.", job.id, error.sentence
        )
        return Outcome(finished=False, delay=RETRY_ELSEWHERE_S)
    try:
        left = _leave(database, job, error)
    except LeaseLost:
        return Outcome(finished=False)
    except Exception as another:  # noqa: BLE001 - its next owner finds it as one whose owner died
        log.error("job %s could not be left as it should be: %s", job.id, outcome.in_words(another))
        return Outcome(finished=False, delay=RETRY_ELSEWHERE_S)
    return Outcome(finished=left.is_off_board, delay=RETRY_ELSEWHERE_S, state=left.state)


def _leave(database: Database, job: Job, error: BaseException) -> Settlement:
    """Record how a job ends, or waits, that this error stopped; how it is left. Raises LeaseLost."""
    if isinstance(error, NotStorable):
        failed = outcome.not_recorded(job, error)
        log.error("job %s: it cannot be recorded, and has failed: %s", job.id, error.sentence)
        hand_back(database, job, failed)
        return failed
    log.error("job %s: an internal error of jobrunner's stopped it", job.id, exc_info=error)
    return hand_back_stopped(
        database, job, lambda deaths: outcome.stopped_by_us(job, error, deaths, again_s=RETRY_ELSEWHERE_S)
    )


def _lost(database: Database, job: Job) -> str:
    """Say that the job's owner lives; in words, what became of the job."""
    try:
        return give_death_back(database, job)
    except Exception as error:  # noqa: BLE001 - it counts as a death then, as if nobody had lived to say otherwise
        return f"and who has it now cannot be told ({outcome.in_words(error)})"


class _JobRun:
    """One owner's run of one job."""

    def __init__(self, parts: RunParts, job: Job, stop: StopSignal, fresh: bool) -> None:
        self.parts = parts
        self.job = job
        self.stop = stop
        self.fresh = fresh
        self.fence = Fence(
            job_id=job.id,
            epoch=job.epoch,
            attempt=job.attempt,
            owner=parts.owner,
            node=parts.node,
            holds=tuple(hold.name for hold in job.policies.holds),
        )
        self.journal: FlowJournal | None = None
        self.database = parts.writer.database

    def run(self, tell: Callable[[Outcome], None]) -> None:
        try:
            detail, stored = self._load()
        except CorruptRow as error:
            tell(self._set_aside(error))
            return
        journal = FlowJournal(
            self.parts.writer,
            detail,
            book_id=self.job.id,
            book=self._book_row(),
            fence=self.fence,
            stored=stored,
        )
        self.journal = journal
        self.parts.writer.open(journal, soon=True)
        try:
            with self.parts.baton.held():
                settlement = self._in_order(self._run_flow(journal, detail, stored))
            journal.settle_then(settlement, lambda: self._tell(journal, settlement, tell))
        finally:
            self.parts.writer.close(journal)

    def _in_order(self, settlement: Settlement) -> Settlement:
        """With what follows; who could go on with a job has ended its search for a node that can."""
        if self.job.misfits and settlement.misfits is None:
            settlement = replace(settlement, misfits=0)
        return followed_up(self.job, settlement)

    def _tell(self, journal: FlowJournal, settlement: Settlement, tell: Callable[[Outcome], None]) -> None:
        """The journal's writer calls this: it must not wait for the database on this job's account."""
        error = journal.error
        if error is None:
            tell(_outcome(settlement))
        elif isinstance(error, StoreUnavailable):
            tell(not_settled(self.database, self.job, error))
        else:
            leave = threading.Thread(
                target=lambda: tell(not_settled(self.database, self.job, error)), name="leaving"
            )
            leave.start()

    # -- load

    def _load(self) -> tuple[models.FlowDetail, bool]:
        """The flow detail of this attempt: from the store if anybody began it before, else a new one."""
        if not self.fresh:
            with self.database.read() as connection:
                found = load_flow(connection, self.job.flow_id)
            if found is not None:
                return found[0], True
        return models.FlowDetail(self.job.type, self.job.flow_id), False

    def _set_aside(self, error: CorruptRow) -> Outcome:
        """Nobody can go on with what cannot be read: the job ends, and says what is wrong; nothing was undone."""
        message = (
            f"What is recorded of its flow cannot be read: {error.sentence} Somebody or something changed it outside "
            "of jobrunner. `jobrunner retry` runs the job again from its start."
        )
        log.error("job %s: %s", self.job.id, message)
        failed = Settlement(state=JobState.FAILED, error=JobError(kind=type(error).__name__, message=message))
        hand_back(self.database, self.job, failed)
        return Outcome(finished=True, state=failed.state)

    def _book_row(self) -> dict[str, Any]:
        return {"uuid": self.job.id, "name": self.job.type, "meta": "{}"}

    # -- run

    def _run_flow(self, journal: FlowJournal, detail: models.FlowDetail, stored: bool) -> Settlement:
        ended = outcome.settlement_of_ended(self.job, detail)  # its owner died just then, or was TaskFlow
        if ended is not None and ended.state is not JobState.SUCCEEDED:
            return ended
        try:
            job_type = self.parts.registry().get_type(self.job.type)
            with self.parts.baton.lent():
                if self.job.from_results and not job_type.is_classic:
                    # Nobody has held them against the type's declaration yet.
                    made = job_type.parameters.validate_results(self.job.parameters)
                    self.job = replace(self.job, parameters=made)
                flow = job_type.build(self.job.parameters, self.job.factory)
        except UnknownJobType as error:
            return ended or Settlement(
                state=JobState.WAITING, note=f"Waiting for a node that can run it: {error.message}"
            )
        except BaseException as error:  # noqa: BLE001 - a plugin's code: whatever it raises is its job's failure
            return ended or self._cannot_build(error, stored)
        output = self._output(journal, stored)
        engine = JobEngine(
            flow,
            detail,
            journal=journal,
            stop=self.stop,
            output=output,
            baton=self.parts.baton,
            threads=job_type.max_workers or _DEFAULT_THREADS if job_type.engine == "parallel" else None,
        )
        if self.job.jobset_id is not None:
            engine.let_read_members(self._members)
        try:
            shape = prepare(engine, detail, self.job, job_type, fresh=self.fresh)
        except BaseException as error:  # noqa: BLE001 - a plugin's code: whatever it raises is its job's failure
            return ended or self._cannot_build(error, stored)
        if self.job.adopted:
            self._adopt(engine, detail, shape)
        return outcome.succeeded(self.job, engine, detail) if ended else self._drive(engine, detail)

    def _members(self, limit: int) -> list[Member]:
        """The jobs of its jobset, for a task that asks."""
        assert self.job.jobset_id is not None
        return members_of(self.database, self.job.jobset_id, self_id=self.job.id, limit=limit)

    def _output(self, journal: FlowJournal, stored: bool) -> JobOutput:
        limit = self.parts.output_limit
        if stored:
            limit = max(OUTPUT_MIN_BYTES, limit - kept_bytes(self.database, self.job.id))
        output = JobOutput(self.job, limit=limit, note=journal.note_output)
        journal.attach_output(output.take)
        return output

    def _adopt(self, engine: JobEngine, detail: models.FlowDetail, shape: Shape) -> None:
        """From now on the flow is one of this code; then, and not before, the word that allowed it is used up."""
        ours = {**detail.meta[META_KEY], **shape.to_meta()}
        engine.storage.update_flow_metadata({META_KEY: ours})
        if self.journal is not None:
            self.journal.barrier()
        adopted(self.database, self.job)
        log.info("job %s goes on with the code of this node, as somebody allowed", self.job.id)

    def _cannot_build(self, error: BaseException, stored: bool) -> Settlement:
        """A flow that does not compile ends its job; one that is half done waits for a node with the old code."""
        message = f"The flow of job type {self.job.type!r} cannot be run: {outcome.in_words(error)}"
        log.warning("job %s: %s", self.job.id, message)
        if stored and not isinstance(error, CorruptRow):
            note = f"Waiting for a node that can go on with it. {message}"
            return Settlement(state=JobState.SUSPENDED, note=note, misfits=self.job.misfits + 1)
        return Settlement(
            state=JobState.FAILED,
            error=JobError(kind="InvalidFlow", message=message, traceback=outcome.traceback_of(error)),
        )

    def _drive(self, engine: JobEngine, detail: models.FlowDetail) -> Settlement:
        """Run the engine, undo what was done if somebody asked for that, and say how it ended."""
        asked = outcome.undone_for(detail) or ("cancel" if self.job.cancel is not None else None)
        if asked is not None:
            self.stop.set(asked)
        error = None if self.stop.is_set() else self._attempt(engine, engine.run_until_stopped)
        self.stop.heeded = self.stop.is_set()
        if self._undo_wanted(engine):
            self._note_undo(engine, detail)
            error = self._attempt(engine, engine.undo)
        if self.journal is not None and self.journal.error is not None:
            raise self.journal.error
        return self._settlement(engine, detail, error)

    def _attempt(self, engine: JobEngine, work: Callable[[], None]) -> JobError | None:
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - what a flow raises is its job's failure
            return outcome.job_error(engine, problem)
        return None

    def _undo_wanted(self, engine: JobEngine) -> bool:
        if engine.storage.get_flow_state() in _NOT_UNDONE or not engine.may_undo():
            return False
        return self.stop.reason == "timeout" or self._cancel_mode() is CancelMode.REVERT

    def _note_undo(self, engine: JobEngine, detail: models.FlowDetail) -> None:
        """Remember at whose word everything is undone, for the next owner; a flow that failed undoes itself anyway."""
        if outcome.undone_for(detail) is None and not engine.reverts_everything():
            ours = {**detail.meta[META_KEY], outcome.META_UNDO: self.stop.reason}
            engine.storage.update_flow_metadata({META_KEY: ours})

    def _cancel_mode(self) -> CancelMode:
        return self.stop.cancel_mode or self.job.cancel or CancelMode.REVERT

    # -- settle

    def _settlement(self, engine: JobEngine, detail: models.FlowDetail, error: JobError | None) -> Settlement:
        flow_state = engine.storage.get_flow_state()
        if flow_state == states.SUCCESS and not engine.is_called_off():
            return outcome.succeeded(self.job, engine, detail)
        if flow_state == states.FAILURE:
            return outcome.failed(error)
        if flow_state == states.REVERTED:
            return outcome.reverted(self.job, detail, error)
        if engine.waiting and not self.stop.is_set():
            return outcome.waiting(self.job, engine.waiting.values())
        return outcome.stopped(self.stop.reason, self._cancel_mode())


def _outcome(settlement: Settlement) -> Outcome:
    return Outcome(
        finished=settlement.is_off_board,
        delay=_delay_of(settlement),
        state=settlement.state,
        waits=settlement.state is JobState.SUSPENDED and bool(settlement.awaits or settlement.available_ms),
        prefers=None if settlement.placement is None else settlement.placement.prefer,
    )


def _delay_of(settlement: Settlement) -> float:
    """Seconds until the job is offered again."""
    at_ms = settlement.available_ms if settlement.again_ms is None else settlement.again_ms
    if at_ms is not None:
        return max(0.0, at_ms / 1000 - time.time())
    if settlement.parked is Parked.HELD:
        return 0.0
    if settlement.misfits:
        return misfit_pause(settlement.misfits)
    return RETRY_ELSEWHERE_S if settlement.note else 0.0


def misfit_pause(misfits: int) -> float:
    """Seconds until a job is offered again whose code so many nodes in a row did not have."""
    return float(min(MISFIT_MOST_S, RETRY_ELSEWHERE_S * 2 ** min(misfits - 1, 10)))


_DEFAULT_THREADS = 4
_NOT_UNDONE = frozenset({states.FAILURE, states.REVERTED})
"""How a flow ends that undid itself, as far as it could. One that succeeded is undone if somebody said so in time."""
