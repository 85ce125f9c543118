"""The model of jobsets: what becomes of their members when a set is cancelled or retried as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from jobrunner.model import CancelMode, JobState
from tests.conformance.model.expected import ExpectedJob
from tests.conformance.model.expected_system import Expected


class ExpectedSets(Expected):
    """All of it: jobs, what they come after, and the sets to which they belong."""

    def sets(self, *, unsuccessful: bool = False) -> list[str]:
        """Those of which any member is left, or any that ended and did not succeed; oldest first."""
        members = [job for job in self.jobs.values() if not unsuccessful or job.ended_badly]
        return list(dict.fromkeys(job.jobset_id for job in members if job.jobset_id is not None))

    def members(self, set_id: str) -> list[ExpectedJob]:
        return [job for job in self.jobs.values() if job.jobset_id == set_id]

    def counts(self, set_id: str) -> tuple[dict[JobState, int], int]:
        """How many members are in each state, and how many were skipped."""
        members = self.members(set_id)
        return dict(Counter(job.state for job in members)), sum(job.skipped for job in members)

    def cancel_set(self, set_id: str, mode: CancelMode, *, seen: bool) -> None:
        """All that is open ends, or is asked to; first what waits for others, so that none of it comes to run."""
        members = [job for job in self.members(set_id) if job.is_open]
        blocked = [job for job in members if job.state is JobState.BLOCKED]
        self._cancel_all(blocked, mode, seen=seen)
        self._cancel_all((job for job in members if job.is_open and job.cancel is None), mode, seen=seen)

    def _cancel_all(self, jobs: Iterable[ExpectedJob], mode: CancelMode, *, seen: bool) -> None:
        cancelled = {job.id: self.is_cancelled_now(job, mode) for job in jobs}
        for job_id, is_over in cancelled.items():
            if seen and not is_over and self.jobs[job_id].state is not JobState.RUNNING:
                self._offer(self.jobs[job_id])
        self.after_cancelling([job_id for job_id, is_over in cancelled.items() if is_over], seen=seen)

    def retry_set(self, set_id: str, *, seen: bool) -> list[str]:
        """What did not succeed runs again, in its order, but for what would only be skipped again; who that is."""
        again = []
        for job in self.members(set_id):
            if job.ended_badly and not (job.skipped and self.is_unmet(job)):
                self.begin_again(job, blocked=not self.are_met(job) or job.refers is not None)
                again.append(job)
        if seen:
            self.board.withdraw(job.id for job in again)
            self.board.post(job.entry for job in again if job.is_wanted)
        self.look_at([job.id for job in again], seen=seen)
        return [job.id for job in again]
