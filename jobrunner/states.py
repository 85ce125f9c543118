"""The states of a job."""

from __future__ import annotations

import enum


class JobState(str, enum.Enum):
    """Where a job stands; the store's row is the only truth about it."""

    BLOCKED = "BLOCKED"  # waits for other jobs to end
    SCHEDULED = "SCHEDULED"  # waits for its time
    WAITING = "WAITING"  # waits for a conductor
    RUNNING = "RUNNING"  # claimed; its flow is under way
    SUSPENDED = "SUSPENDED"  # stopped at an atom border and handed back; any conductor may go on with it
    SUCCEEDED = "SUCCEEDED"  # every atom done
    FAILED = "FAILED"  # ended with an error, and not everything could be undone
    REVERTED = "REVERTED"  # ended with an error, and every atom was undone
    CANCELLED = "CANCELLED"  # ended at a person's word
    TIMED_OUT = "TIMED_OUT"  # ended because it took too long
    DEAD = "DEAD"  # ended because it did nothing any more
    EXPIRED = "EXPIRED"  # was not started in time, and is not wanted any more

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL_STATES

    def __str__(self) -> str:
        return self.value


TERMINAL_STATES = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.REVERTED,
        JobState.CANCELLED,
        JobState.TIMED_OUT,
        JobState.DEAD,
        JobState.EXPIRED,
    }
)
OPEN_STATES = frozenset(JobState) - TERMINAL_STATES
UNOWNED_STATES = (JobState.SCHEDULED, JobState.WAITING, JobState.SUSPENDED)
"""Those of jobs that nobody runs now and somebody will; BLOCKED is none of them, as those may never run."""
