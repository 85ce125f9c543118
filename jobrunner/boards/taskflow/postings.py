"""The contract of what a TaskFlow board stands on: postings, their order, and their claims, on one server.

Every step on a claim is one atomic step on the server, which compares the owner and whether the lease lasts. Calls
raise what is in :mod:`jobrunner.errors`, in bounded time. Leases are seconds.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Mark = tuple[int, Any]
"""Where a page ends: a rank, and what the driver makes of a place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A job that is on the board. Nothing in ``text`` is certain."""

    job_id: str
    rank: int
    """The index of its priority in :data:`~jobrunner.boards.taskflow.posting.PRIORITIES`."""
    place: int
    """Its number in the order of posting."""
    text: str
    owner: str | None = None
    """Who claims it at this moment."""
    left: float = 0.0
    """Seconds until the claim's lease ends."""


class Absence(enum.Enum):
    """Why a job is not on the board."""

    CONSUMED = "was consumed"
    TRASHED = "was trashed"
    UNKNOWN = "is not on the board, nor known to have been consumed"


class Postings(abc.ABC):
    """Jobs of TaskFlow programs. Threads may share it."""

    @abc.abstractmethod
    def connect(self) -> None:
        """Raise unless the server is there and may be used for this."""

    @abc.abstractmethod
    def post(self, job_id: str, rank: int, text: str) -> None:
        """Put a job on the board."""

    @abc.abstractmethod
    def unclaimed(self, mark: Mark | None, limit: int) -> tuple[Sequence[Row], Mark | None]:
        """A page of the jobs that can be claimed, by rank and place, and the mark of the next page, None at the end."""

    @abc.abstractmethod
    def claimed(self) -> Iterator[Row]:
        """The jobs that are claimed, by rank and place."""

    @abc.abstractmethod
    def look(self, job_id: str) -> Row | Absence:
        """The job, or why it is not on the board."""

    @abc.abstractmethod
    def claim(self, job_id: str, owner: str, lease: float) -> bool:
        """Claim a job that nobody claims."""

    @abc.abstractmethod
    def keep(self, claims: Sequence[tuple[str, str]], lease: float) -> set[str]:
        """Let ``(job id, owner)`` claims last for ``lease`` seconds from now; the ids of lost ones."""

    @abc.abstractmethod
    def release(self, job_id: str, owner: str) -> bool:
        """End the owner's claim; the job keeps its place."""

    @abc.abstractmethod
    def consume(self, job_id: str, owner: str) -> bool:
        """Take the owner's finished job off the board."""

    @abc.abstractmethod
    def trash(self, job_id: str, owner: str) -> bool:
        """Put the owner's broken job where it is not listed, nor claimed."""

    @abc.abstractmethod
    def trashed(self) -> Sequence[Row]:
        """What was trashed, by rank and place."""

    @abc.abstractmethod
    def restore(self, job_id: str) -> bool:
        """Put a trashed job on the board again."""

    @abc.abstractmethod
    def wait(self, timeout: float) -> None:
        """Block until something may have been posted, at most ``timeout`` seconds; ends soon after :meth:`close`."""

    @abc.abstractmethod
    def count(self) -> int:
        """How many jobs are on the board, claimed or not."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections. Closing twice is fine."""
