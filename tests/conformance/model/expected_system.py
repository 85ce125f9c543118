"""The model of both together: the store's jobs, the board, and what conductors and people do with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jobrunner.model import CancelMode, JobState, Priority
from jobrunner.persistence.overdue import DUE_MS
from tests.conformance.model.expected import (
    ATOMS,
    HOUR_MS,
    LEADERSHIP_S,
    MAX_DEATHS,
    Entry,
    ExpectedBoard,
    ExpectedJob,
)


@dataclass
class ExpectedBegun:
    """What ``begin`` has to answer."""

    started: dict[str, int] = field(default_factory=dict)
    """The epochs of those that are this owner's now."""
    fresh: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)


class Expected:
    """Board and store; every method does what the call of its name has to do, and says what that has to answer."""

    def __init__(self, now_ms: int) -> None:
        self.jobs: dict[str, ExpectedJob] = {}
        self.board = ExpectedBoard()
        self.now_ms = now_ms
        self._leader: tuple[str, int] | None = None
        self._forgotten: dict[str, set[str]] = {}

    @property
    def now_ms(self) -> int:
        return self.board.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self.board.now_ms = now_ms

    def open_jobs(self) -> list[ExpectedJob]:
        return [job for job in self.jobs.values() if job.is_open]

    # -- people

    def posted(
        self, job_ids: Sequence[str], type_: str, priority: Priority, delay_ms: int, *, seen: bool
    ) -> None:
        """These were posted; the board saw it or was away."""
        state = JobState.SCHEDULED if delay_ms else JobState.WAITING
        for job_id in job_ids:
            self.jobs[job_id] = ExpectedJob(
                job_id, type_, priority, self.now_ms, self.now_ms + delay_ms, state
            )
        if seen:
            self.board.post(self.jobs[job_id].entry for job_id in job_ids)

    def cancel(self, job_id: str, mode: CancelMode, *, seen: bool) -> JobState | None:
        """The state after that; None if there is nothing left to cancel."""
        job = self.jobs[job_id]
        if not job.is_open:
            return JobState.CANCELLED if job.state is JobState.CANCELLED else None
        if job.state is JobState.RUNNING or (mode is CancelMode.REVERT and job.anything_done):
            job.cancel = mode
            return job.state
        job.epoch += 1
        job.end(JobState.CANCELLED)
        if seen:
            self.board.withdraw([job_id])
        return job.state

    def retry(self, job_id: str, *, seen: bool) -> bool:
        """Whether it can be run again."""
        job = self.jobs[job_id]
        if job.is_open or job.state is JobState.SUCCEEDED:
            return False
        job.state, job.owner, job.cancel = JobState.WAITING, None, None
        job.epoch, job.attempt, job.deaths = job.epoch + 1, job.attempt + 1, 0
        job.available_ms, job.started, job.atoms = self.now_ms, False, {}
        if seen:
            self.board.withdraw([job_id])
            self.board.post([job.entry])
        return True

    # -- conductors

    def begin(self, owner: str, job_ids: Sequence[str]) -> ExpectedBegun:
        begun = ExpectedBegun()
        for job in (self.jobs[job_id] for job_id in job_ids):
            if not job.is_open:
                begun.finished.add(job.id)
                continue
            job.deaths += job.state is JobState.RUNNING and job.owner != owner
            job.epoch += 1
            if job.deaths >= MAX_DEATHS:
                job.end(JobState.FAILED)
                begun.finished.add(job.id)
                continue
            if not job.started:
                begun.fresh.add(job.id)
            job.state, job.owner, job.started = JobState.RUNNING, owner, True
            begun.started[job.id] = job.epoch
        return begun

    def may_record(self, job_id: str, epoch: int) -> bool:
        """Only whoever began last can record anything."""
        return self.jobs[job_id].epoch == epoch

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
            job.end(JobState.SUSPENDED)
        return {job.id for job in held}

    def keeper(self, owner: str, job_ids: Sequence[str], lease_ms: int) -> set[str]:
        """The conductor keeps its leases, and claims again what a board forgot; those that are lost indeed."""
        gone = self.board.keep(owner, job_ids, lease_ms)
        ours = [job.id for job in self.open_jobs() if job.id in gone and self._is_run_by(job, owner)]
        self.board.post(self.jobs[job_id].entry for job_id in ours)
        self.board.claim_these(owner, ours, lease_ms)
        return gone - set(self.board.claims_of(owner, ours))

    def tell(self, owner: str, finished: Sequence[str], returned: Sequence[tuple[Entry, int]]) -> None:
        """A worker says what it is done with and what it gives back; what the board forgot is posted again."""
        self.board.consume(owner, finished)
        for delay_ms in dict.fromkeys(delay_ms for _, delay_ms in returned):
            entries = [entry for entry, delay in returned if delay == delay_ms]
            if self.board.release(owner, [entry.job_id for entry in entries], delay_ms) < len(entries):
                self.board.post(self._delayed(entry, delay_ms) for entry in entries)

    def _delayed(self, entry: Entry, delay_ms: int) -> Entry:
        if not delay_ms:
            return entry
        due_ms = self.now_ms + delay_ms
        return entry._replace(available_ms=due_ms, score=due_ms + self.jobs[entry.job_id].priority * HOUR_MS)

    def reconcile(self, leader: str) -> tuple[int, int] | None:
        """How many were posted and withdrawn; None if another one leads."""
        if self._leader is not None and self._leader[0] != leader and self._leader[1] > self.now_ms:
            self._forgotten[leader] = set()
            return None
        self._leader = (leader, self.now_ms + round(LEADERSHIP_S * 1000))
        for job in self.open_jobs():
            if job.state is JobState.SCHEDULED and job.available_ms + DUE_MS <= self.now_ms:
                job.state = JobState.WAITING
        missing = [job for job in self.open_jobs() if job.id not in self.board.standing]
        running = {job.id for job in missing if job.state is JobState.RUNNING}
        left = running - self._forgotten.get(leader, set())
        self._forgotten[leader] = running
        posted = self.board.post(job.entry for job in missing if job.id not in left)
        return posted, self.board.withdraw(job.id for job in self.jobs.values() if not job.is_open)

    def cancel_requests(self, owners: Sequence[str]) -> dict[str, CancelMode]:
        return {
            job.id: job.cancel
            for job in self.jobs.values()
            if job.cancel is not None and job.state is JobState.RUNNING and job.owner in owners
        }

    @staticmethod
    def _is_run_by(job: ExpectedJob, owner: str) -> bool:
        return job.state is JobState.RUNNING and job.owner == owner
