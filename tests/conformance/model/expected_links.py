"""The model of jobs that come after others: when such a job goes on, and when it is skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from jobrunner.model import JobState, Parked, Posting, When
from tests.conformance.model.expected import PART, ExpectedBoard, ExpectedJob

MEETS: dict[When, set[JobState]] = {
    When.SUCCESS: {JobState.SUCCEEDED},
    When.FAILURE: {JobState.FAILED},
    When.ALWAYS: {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED},
}
"""By which ends that occur here each condition is met. Who was deleted neither succeeded nor failed, but has ended."""


class ExpectedLinks:
    """The jobs and the board, and what follows when jobs have ended."""

    def __init__(self, now_ms: int) -> None:
        self.jobs: dict[str, ExpectedJob] = {}
        self.board = ExpectedBoard()
        self.now_ms = now_ms

    @property
    def now_ms(self) -> int:
        return self.board.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self.board.now_ms = now_ms

    def posted_linked(
        self, made: Sequence[ExpectedJob], postings: Sequence[Posting], *, seen: bool
    ) -> list[JobState]:
        """These were posted together, to come after one another or after others; the states in which they begin."""

        def id_of(named: str | int) -> str:
            return named if isinstance(named, str) else made[named].id

        for job, posting in zip(made, postings, strict=True):
            self.jobs[job.id] = job
            job.after = {id_of(one.job): one.when for one in posting.after}
            reference = posting.parameters.get("value")
            job.refers = id_of(reference["$result"]) if reference else None
            self._begin_linked(job)
        if seen:
            self.board.post(job.entry for job in made if job.is_wanted)
        return [job.state for job in made]

    def _begin_linked(self, job: ExpectedJob) -> None:
        if self.is_ahead(job) and not self.is_unmet(job):
            job.state, job.parked = JobState.BLOCKED, Parked.AFTER
        else:
            self._decide(job)

    # -- what the links say

    def after(self, job_id: str) -> list[ExpectedJob]:
        """Those that come after this one."""
        return [job for job in self.jobs.values() if job_id in job.after]

    def is_ahead(self, job: ExpectedJob) -> bool:
        """Whether one of those that come first has not ended."""
        return any(self._is_open(first) for first in job.after)

    def is_unmet(self, job: ExpectedJob, among: Collection[str] | None = None) -> bool:
        """Whether one of those that come first, or of these among them, ended otherwise than it should have."""
        return any(
            not self._is_open(first) and not self._is_met(first, when)
            for first, when in job.after.items()
            if among is None or first in among
        )

    def are_met(self, job: ExpectedJob) -> bool:
        """Whether all of those that come first ended as they should have."""
        return not self.is_ahead(job) and not self.is_unmet(job)

    def _is_open(self, job_id: str) -> bool:
        return job_id in self.jobs and self.jobs[job_id].is_open

    def _is_met(self, job_id: str, when: When) -> bool:
        return self.jobs[job_id].state in MEETS[when] if job_id in self.jobs else when is When.ALWAYS

    # -- what follows

    def follow(self, ended: Iterable[str], *, seen: bool = True) -> None:
        """Somebody looks at who comes after these, and after those that end for that, down the graph."""
        left = set(ended)
        while left:
            behind = [job for job in self._blocked() if job.after.keys() & left]
            left = self._settle(behind, left, seen=seen)

    def look_at(self, job_ids: Iterable[str], *, seen: bool) -> None:
        """Somebody looks whether these are blocked for nothing."""
        these = set(job_ids)
        blocked = [job for job in self._blocked() if job.id in these]
        self.follow(self._settle(blocked, None, seen=seen), seen=seen)

    def waiting(self, job: ExpectedJob) -> JobState:
        """How a job waits for its next owner."""
        return JobState.SCHEDULED if job.available_ms > self.now_ms else JobState.WAITING

    def _blocked(self) -> Iterator[ExpectedJob]:
        return (job for job in self.jobs.values() if job.state is JobState.BLOCKED)

    def _settle(self, jobs: Iterable[ExpectedJob], ended: Collection[str] | None, *, seen: bool) -> set[str]:
        """Those of the jobs go on, or end, that wait for nobody, or for nothing any more; which have ended.

        :param ended: nobody looks for others that ended otherwise than they should have; that is left to the leader
        """
        found = [job for job in jobs if self.is_unmet(job, ended) or not self.is_ahead(job)]
        for job in found:
            self._decide(job)
            job.epoch += not job.is_open
        if seen:
            self.board.post(job.entry for job in sorted(found, key=lambda job: job.id) if job.is_wanted)
        return {job.id for job in found if not job.is_open}

    def _decide(self, job: ExpectedJob) -> None:
        """It is skipped, goes on with the result that it refers to, or fails since that is not there."""
        if self.is_unmet(job):
            job.end(JobState.CANCELLED)
            job.skipped = True
            return
        if job.refers is not None:
            first = self.jobs.get(job.refers)
            if first is None or not isinstance(first.result, dict):
                job.end(JobState.FAILED)
                return
            job.refers, job.given = None, first.result[PART]
        job.state, job.parked = self.waiting(job), None
