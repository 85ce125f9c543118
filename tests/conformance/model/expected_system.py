"""The model of both together: the store's jobs, the board, and what conductors and people do with single jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jobrunner.model import CancelMode, JobState, Parked, Priority
from jobrunner.persistence.ownership.beginning import EARLY_MS
from jobrunner.persistence.ownership.overdue import DUE_MS
from jobrunner.persistence.permits.granting import SLACK_MS
from jobrunner.persistence.permits.passing import COMES_MS
from tests.conformance.model.expected import (
    AGAIN_MS,
    ATOMS,
    HOUR_MS,
    LEADERSHIP_S,
    MAX_DEATHS,
    UNITS,
    Entry,
    ExpectedJob,
    Returned,
)
from tests.conformance.model.expected_links import ExpectedLinks


@dataclass
class ExpectedBegun:
    """What ``begin`` has to answer."""

    started: dict[str, int] = field(default_factory=dict)
    """The epochs of those that are this owner's now."""
    fresh: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    set_aside: set[str] = field(default_factory=set)
    """Those of ``finished`` that ended just now."""
    unknown: set[str] = field(default_factory=set)
    unjustly_refused: set[str] = field(default_factory=set)
    """Of those that were refused the semaphore: there was a unit, and nobody was before them."""
    parked: set[str] = field(default_factory=set)
    early: dict[str, int] = field(default_factory=dict)
    """Those whose time has not come, and in how many milliseconds it does."""


class Expected(ExpectedLinks):
    """Board and store; every method does what the call of its name has to do, and says what that has to answer."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.holders: set[str] = set()
        self.line: dict[str, tuple[tuple[int, int], int]] = {}
        """Who waits for the semaphore: its place, and until when it counts as waiting."""
        self._leader: tuple[str, int] | None = None
        self._forgotten: dict[str, set[str]] = {}

    def open_jobs(self) -> list[ExpectedJob]:
        return [job for job in self.jobs.values() if job.is_open]

    # -- people

    def posted(
        self,
        job_ids: Sequence[str],
        type_: str,
        priority: Priority,
        delay_ms: int,
        *,
        seen: bool,
        attempts: int = 1,
        needs: bool = False,
    ) -> None:
        """These were posted; the board saw it or was away."""
        state = JobState.SCHEDULED if delay_ms else JobState.WAITING
        for job_id in job_ids:
            self.jobs[job_id] = ExpectedJob(
                job_id,
                type_,
                priority,
                self.now_ms,
                self.now_ms + delay_ms,
                state,
                attempts=attempts,
                needs=needs,
            )
        if seen:
            self.board.post(self.jobs[job_id].entry for job_id in job_ids)

    def cancel(self, job_id: str, mode: CancelMode, *, seen: bool, later: bool) -> JobState | None:
        """The state after that; None if there is nothing left to cancel.

        :param later: whether it waited for a time, or for something else than an owner
        """
        job = self.jobs[job_id]
        if not job.is_open:
            return JobState.CANCELLED if job.state is JobState.CANCELLED else None
        if self.is_cancelled_now(job, mode):
            self.after_cancelling([job_id], seen=seen)
        elif job.state is not JobState.RUNNING and seen:
            if later:
                self.board.withdraw([job.id])
            self._offer(job)
        return job.state

    def is_cancelled_now(self, job: ExpectedJob, mode: CancelMode) -> bool:
        """Whether that ends it; else its owner, or its next owner, ends it."""
        if job.state is JobState.RUNNING or (mode is CancelMode.REVERT and job.anything_done):
            job.cancel, job.held = mode, False
            if job.state is not JobState.RUNNING:
                self._unpark_to_be_undone(job)
            return False
        job.epoch += 1
        job.end(JobState.CANCELLED)
        self._frees(job)
        return True

    def _unpark_to_be_undone(self, job: ExpectedJob) -> None:
        if job.parked is not None or job.available_ms > self.now_ms:
            job.parked = job.parked_before = job.awaits = None
            job.epoch += 1
            job.available_ms = min(job.available_ms, self.now_ms)

    def after_cancelling(self, job_ids: Sequence[str], *, seen: bool) -> None:
        """These were cancelled just now: they leave the board, and who comes after them is looked at."""
        if seen:
            self.board.withdraw(job_ids)
        self.follow(job_ids, seen=seen)

    def suspend(self, job_id: str, *, seen: bool) -> bool:
        """Whether it can be suspended."""
        job = self.jobs[job_id]
        if not job.is_open or job.cancel is not None:
            return False
        if job.held and (job.parked is Parked.HELD or job.state is JobState.RUNNING):
            return True
        if job.state is JobState.RUNNING:
            job.held = True
            return True
        self._park(job)
        if seen:
            self.board.withdraw([job_id])
        return True

    def _park(self, job: ExpectedJob) -> None:
        before = job.parked if job.parked is not Parked.HELD else job.parked_before
        job.state, job.owner, job.held = JobState.SUSPENDED, None, True
        job.parked, job.parked_before = Parked.HELD, before
        job.epoch += 1
        self._frees(job)

    def resume(self, job_id: str, *, seen: bool) -> bool:
        """Whether it has not ended."""
        job = self.jobs[job_id]
        if not job.is_open:
            return False
        if job.state is JobState.BLOCKED:
            self.look_at([job_id], seen=seen)
            return True
        if not job.held and job.parked is not Parked.HELD:
            return True
        job.held = False
        if job.state is JobState.RUNNING:
            return True
        job.parked, job.parked_before = job.parked_before, None
        job.epoch += 1
        if job.parked is Parked.AFTER:
            job.state = JobState.BLOCKED
            self.look_at([job_id], seen=seen)
            return True
        job.state = JobState.SUSPENDED if job.parked is Parked.SIGNAL else self.waiting(job)
        if job.parked is None and seen:
            self.board.post([job.entry])
        if seen:
            self.wake([job_id])
        return True

    def signal(self, job_id: str, data: str, *, seen: bool) -> bool:
        """Whether it has not ended."""
        job = self.jobs[job_id]
        if not job.is_open:
            return False
        job.signals.append(data)
        if self._woken(job) and seen:
            self._offer(job)
        return True

    def wake(self, job_ids: Iterable[str]) -> None:
        """Somebody looks after jobs that may await what is there, or wait though they are cancelled."""
        there = [self.jobs[job_id] for job_id in sorted(set(job_ids)) if job_id in self.jobs]
        for job in [job for job in there if self._woken(job)]:
            self._offer(job)
        for job in there:
            if job.state is JobState.SUSPENDED and job.cancel is not None:
                self._unpark_to_be_undone(job)
                self._offer(job)

    def _woken(self, job: ExpectedJob) -> bool:
        unowned = (JobState.SUSPENDED, JobState.SCHEDULED, JobState.WAITING)
        if not job.hears or job.state not in unowned or job.parked not in (None, Parked.SIGNAL):
            return False
        job.parked, job.available_ms = None, min(job.available_ms, self.now_ms)
        return True

    def _offer(self, job: ExpectedJob) -> None:
        self.board.hasten([job.id])
        self.board.post([job.entry._replace(available_ms=0, score=job.created_ms + job.priority * HOUR_MS)])

    def retry(self, job_id: str, *, seen: bool) -> bool:
        """Whether it can be run again: not if it never came to run, and never will as those ended that come first."""
        job = self.jobs[job_id]
        if not job.ended_badly or (not job.started and self.is_unmet(job)):
            return False
        self.begin_again(job, blocked=self.is_ahead(job) if job.started else bool(job.after))
        if seen:
            self.board.withdraw([job_id])
        if job.state is JobState.BLOCKED:
            self.look_at([job_id], seen=seen)
        elif seen:
            self.board.post([job.entry])
        return True

    def begin_again(self, job: ExpectedJob, *, blocked: bool) -> None:
        """A person wants another attempt of a job that has ended; it has to wait again for others, or not."""
        job.begin_anew()
        job.state, job.parked = (JobState.BLOCKED, Parked.AFTER) if blocked else (JobState.WAITING, None)
        job.cancel, job.held = None, False
        job.epoch, job.available_ms = job.epoch + 1, self.now_ms
        self._frees(job)

    def delete(self, job_id: str, *, seen: bool) -> bool:
        """Whether it does not run, and no open job comes after it."""
        if self.jobs[job_id].state is JobState.RUNNING or any(job.is_open for job in self.after(job_id)):
            return False
        for job in self.after(job_id):
            if job.started or job.state is JobState.SUCCEEDED:
                del job.after[job_id]  # the others are told of it if they are retried
        self._frees(self.jobs.pop(job_id))
        if seen:
            self.board.withdraw([job_id])
        return True

    # -- conductors

    def begin(self, owner: str, job_ids: Sequence[str], refused: Mapping[str, int]) -> ExpectedBegun:
        """What has to become of claims, given those that were refused the semaphore, each with its delay."""
        begun = ExpectedBegun()
        holders = set(self.holders)
        begun.unknown = set(job_ids) - self.jobs.keys()
        for job in (self.jobs[job_id] for job_id in job_ids if job_id in self.jobs):
            if not job.is_open:
                begun.finished.add(job.id)
                continue
            if job.parked is not None:
                begun.parked.add(job.id)
                continue
            if job.state is JobState.SCHEDULED and job.available_ms > self.now_ms + EARLY_MS:
                begun.early[job.id] = job.available_ms - self.now_ms
                continue
            job.deaths += job.state is JobState.RUNNING and job.owner != owner
            if job.deaths >= MAX_DEATHS:
                job.epoch += 1
                job.end(JobState.FAILED)
                self._frees(job)
                begun.finished.add(job.id)
                begun.set_aside.add(job.id)
                continue
            if job.held and job.cancel is None:
                self._park(job)
                begun.parked.add(job.id)
                continue
            if job.id in refused and job.id not in holders:
                self._refused(job, refused[job.id])
                continue
            if job.needs:
                self.line.pop(job.id, None)
                self.holders.add(job.id)
            job.epoch += 1
            job.awaits = None
            if not job.started:
                begun.fresh.add(job.id)
            job.state, job.owner, job.started = JobState.RUNNING, owner, True
            begun.started[job.id] = job.epoch
        if max(len(holders), len(self.holders)) < UNITS:
            begun.unjustly_refused = {job_id for job_id in refused if not self._before(job_id)}
        return begun

    def _refused(self, job: ExpectedJob, delay_ms: int) -> None:
        self.line[job.id] = self._place(job), self.now_ms + delay_ms + SLACK_MS
        if job.state is JobState.RUNNING:
            job.state, job.owner = JobState.SUSPENDED, None
            job.epoch += 1

    def _place(self, job: ExpectedJob) -> tuple[int, int]:
        return job.entry.score, list(self.jobs).index(job.id)

    def _before(self, job_id: str) -> list[str]:
        """Who waits before this job."""
        return [other for other in self._waiting() if self.line[other] < self.line[job_id]]

    def _waiting(self) -> list[str]:
        """Who waits for the semaphore, and could be begun; the first in line first."""
        unowned = (JobState.SCHEDULED, JobState.WAITING, JobState.SUSPENDED)
        found = [
            job_id
            for job_id, (_, until_ms) in self.line.items()
            if until_ms > self.now_ms
            and self.jobs[job_id].state in unowned
            and self.jobs[job_id].parked is None
        ]
        return sorted(found, key=lambda job_id: self.line[job_id])

    def _frees(self, job: ExpectedJob) -> None:
        self.holders.discard(job.id)
        self.line.pop(job.id, None)

    def may_record(self, job_id: str, epoch: int) -> bool:
        """Only whoever began last can record anything."""
        return job_id in self.jobs and self.jobs[job_id].epoch == epoch

    def settled(
        self,
        job_id: str,
        state: JobState,
        *,
        result: object,
        parked: Parked | None,
        awaits: str | None,
        available_ms: int | None,
    ) -> None:
        """Its owner left it so; one that failed is run again, if it may be."""
        job = self.jobs[job_id]
        self._frees(job)
        if state is JobState.FAILED and job.attempt < job.attempts and job.cancel is None:
            job.begin_anew()
            job.available_ms = self.now_ms + AGAIN_MS
            job.state = JobState.SUSPENDED if job.held else JobState.SCHEDULED
            job.parked = Parked.HELD if job.held else None
            return
        job.end(state, result)
        job.parked = parked if parked is not Parked.HELD or job.held else None
        job.awaits = awaits
        if available_ms is not None:
            job.available_ms = available_ms

    def recorded(self, job_id: str, atom: str, state: str, result: object) -> None:
        atoms = self.jobs[job_id].atoms
        for name in ATOMS:
            atoms.setdefault(name, ("PENDING", None))
        atoms[atom] = (state, result)

    def hand_back_of(self, owner: str) -> set[str]:
        """A conductor ended this worker of its on purpose."""
        held = [job for job in self.open_jobs() if job.state is JobState.RUNNING and job.owner == owner]
        for job in held:
            job.epoch += 1
            job.state, job.owner = JobState.SUSPENDED, None
            self._frees(job)
        return {job.id for job in held}

    def keeper(self, owner: str, job_ids: Sequence[str], lease_ms: int) -> set[str]:
        """The conductor keeps its leases, and claims again what a board forgot, or what another gave back for later;
        those that are lost indeed.
        """
        gone = self.board.keep(owner, job_ids, lease_ms)
        ours = [job.id for job in self.open_jobs() if job.id in gone and self._is_run_by(job, owner)]
        self.board.post(self.jobs[job_id].entry for job_id in ours)
        self.board.claim_these(owner, ours, lease_ms, early=True)
        return gone - set(self.board.claims_of(owner, ours))

    def tell(self, owner: str, finished: Sequence[str], returned: Sequence[Returned]) -> None:
        """A worker says what it is done with and what it gives back; what the board forgot of what was begun is posted
        again, in the order in which it was posted first (ids are drawn in that order here).
        """
        self.board.consume(owner, finished)
        for delay_ms in dict.fromkeys(one.delay_ms for one in returned):
            alike = [one for one in returned if one.delay_ms == delay_ms]
            if self.board.release(owner, [one.entry.job_id for one in alike], delay_ms) < len(alike):
                begun = sorted((one.entry for one in alike if one.was_begun), key=lambda entry: entry.job_id)
                self.board.post(self._delayed(entry, delay_ms) for entry in begun)

    def _delayed(self, entry: Entry, delay_ms: int) -> Entry:
        if not delay_ms:
            return entry
        due_ms = self.now_ms + delay_ms
        return entry._replace(available_ms=due_ms, score=due_ms + entry.priority * HOUR_MS)

    def reconcile(self, leader: str) -> tuple[int, int] | None:
        """How many were posted and withdrawn; None if another one leads."""
        if self._leader is not None and self._leader[0] != leader and self._leader[1] > self.now_ms:
            self._forgotten[leader] = set()
            return None
        self._leader = (leader, self.now_ms + round(LEADERSHIP_S * 1000))
        for job in self.open_jobs():
            due = job.available_ms + DUE_MS <= self.now_ms
            if job.state is JobState.SCHEDULED and job.parked is None and due:
                job.state = JobState.WAITING
        self.look_at(self.jobs, seen=True)
        missing = [job for job in self.jobs.values() if job.is_wanted and job.id not in self.board.standing]
        running = {job.id for job in missing if job.state is JobState.RUNNING}
        left = running - self._forgotten.get(leader, set())
        self._forgotten[leader] = running
        posted = self.board.post(job.entry for job in missing if job.id not in left)
        wanted = {job.id for job in self.jobs.values() if job.is_wanted}
        withdrawn = self.board.withdraw(self.board.standing.keys() - wanted)
        self._call_waiting()
        self.wake(job.id for job in self.jobs.values() if job.cancel is None or self._waits(job))
        return posted, withdrawn

    def _waits(self, job: ExpectedJob) -> bool:
        return job.parked is not None or job.available_ms > self.now_ms

    def _call_waiting(self) -> None:
        """Who is first in line is offered at once if there is a unit; if it does not come soon, it waits no more."""
        called = self._waiting()[: max(0, UNITS - len(self.holders))]
        for job_id in called:
            place, until_ms = self.line[job_id]
            self.line[job_id] = place, min(until_ms, self.now_ms + COMES_MS)
        self.board.hasten(called)

    def cancel_requests(self, owners: Sequence[str]) -> dict[str, CancelMode]:
        return {
            job.id: job.cancel
            for job in self.jobs.values()
            if job.cancel is not None and job.state is JobState.RUNNING and job.owner in owners
        }

    @staticmethod
    def _is_run_by(job: ExpectedJob, owner: str) -> bool:
        return job.state is JobState.RUNNING and job.owner == owner
