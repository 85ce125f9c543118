"""The board's contract: where waiting, delayed and claimed jobs stand. Every driver keeps what is promised here.

A board is a fast index, never the truth: it may lose everything, or come back from an old snapshot, and a reconciler
makes it whole again from the store. Therefore:

- ``post`` of an entry that is there already changes nothing, unless the entry is neither waiting nor claimed;
  posting twice never makes a job claimable twice.
- Every call that acts on a claim carries the owner's identity and is checked against it, in one atomic step. An
  identity belongs to one start of one process, never to a host name, so nobody refreshes or consumes another's claim.
- A claim without a living owner ends by itself when its lease runs out, by the board's own clock.
- No call's cost grows with the number of waiting, delayed or claimed jobs (beyond a logarithm).
- An entry that cannot be read harms itself only: it is dropped and reported by the log, and the reconciler reposts it.
- A server that is away makes a call raise :class:`~jobrunner.errors.BoardUnavailable` in bounded time.

Drivers are safe to use from several threads. Durations are seconds, times are milliseconds by the board's clock.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from jobrunner.model import BoardEntry, JobClass


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardCounts:
    """How many jobs stand where."""

    waiting: int
    delayed: int
    claimed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardRow:
    """One job on the board, as ``list`` shows it."""

    entry: BoardEntry
    owner: str | None = None
    lease_until_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardProblem:
    """Something about the board's server that should be otherwise, for ``doctor`` and the log."""

    severity: str  # "error" | "warning"
    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class News:
    """What a wait has heard of: classes of which there may be work. False if it ended without any."""

    classes: frozenset[JobClass] = frozenset()
    """Those of the classes that were asked for."""
    new_classes: bool = False
    """Whether there is a class that nobody knew when the wait began."""

    def __bool__(self) -> bool:
        return bool(self.classes) or self.new_classes


class Board(abc.ABC):
    """Waiting, delayed and claimed jobs.

    ``spread`` is by how many seconds one who waits may hear later than another of the same job.
    """

    spread = 0.0

    @abc.abstractmethod
    def bind(self, store_id: str) -> None:
        """Tie the board to a store, once; raises WrongBoard if it is tied to another one.

        Guards against two configurations that share a board but not a database.
        """

    @abc.abstractmethod
    def post(self, entries: Sequence[BoardEntry]) -> int:
        """Put jobs on the board; the number of those that were not there before.

        Wakes whoever blocks in ``wait`` for their class. One round trip for up to some hundred entries.
        """

    @abc.abstractmethod
    def claim(self, owner: str, classes: Collection[JobClass], *, limit: int, lease: float) -> list[str]:
        """Claim up to ``limit`` waiting jobs of these classes for ``owner``, first in line first; their ids.

        Jobs whose time has come, and jobs whose lease ran out, are waiting jobs. The line is kept over all the given
        classes together: by :attr:`BoardEntry.score`.
        """

    @abc.abstractmethod
    def claim_these(
        self, owner: str, job_ids: Sequence[str], *, lease: float, early: bool = False
    ) -> list[str]:
        """Claim those of the given jobs that are still waiting; their ids. For candidates seen by ``peek``.

        :param early: claim them also before their time has come, if nobody has
        """

    @abc.abstractmethod
    def peek(self, classes: Collection[JobClass], *, limit: int, skip: int = 0) -> list[str]:
        """The ids of waiting jobs of these classes, first in line first, without claiming them."""

    @abc.abstractmethod
    def classes(self) -> set[JobClass]:
        """The classes of jobs on the board; may include some that are empty by now."""

    @abc.abstractmethod
    def keep(self, claims: Iterable[tuple[str, str]], *, lease: float) -> set[str]:
        """Let the leases of ``(job id, owner)`` claims last ``lease`` seconds from now; the ids of lost ones.

        A claim is lost if its lease ran out, whether or not somebody else has claimed the job since, or if the board
        does not know it. One round trip for any number.
        """

    @abc.abstractmethod
    def pass_on(self, holder: str, owner: str, job_ids: Sequence[str], *, lease: float) -> list[str]:
        """Make living claims of ``holder`` those of ``owner``, for ``lease`` seconds from now; their ids.

        In one step, so that nobody can claim the jobs in between, and without waking anybody.
        """

    @abc.abstractmethod
    def release(self, owner: str, job_ids: Sequence[str], *, delay: float = 0.0) -> int:
        """Hand claimed jobs back, to be claimed again after ``delay`` seconds; how many were the owner's."""

    @abc.abstractmethod
    def hasten(self, job_ids: Sequence[str]) -> int:
        """Let those of the given jobs that are delayed be claimed now; how many there were.

        What is waiting, claimed or unknown stays as it is. Wakes whoever blocks in ``wait`` for their class.
        """

    @abc.abstractmethod
    def call(
        self, owner: str, job_ids: Sequence[str], classes: Collection[JobClass], *, limit: int, lease: float
    ) -> list[str]:
        """Claim up to ``limit`` of the given jobs for ``owner``, in the order given; ``hasten`` the others.

        For jobs whose turn it is: those that are waiting or delayed are claimed if they are of one of these classes;
        the ids of those. In one step, and without waking anybody for what is claimed.
        """

    @abc.abstractmethod
    def release_owner(self, owner: str) -> list[str]:
        """Hand back all that a dead owner holds, at once; the ids."""

    @abc.abstractmethod
    def consume(self, owner: str, job_ids: Sequence[str]) -> int:
        """Take finished jobs off the board; how many were the owner's. Others' claims are left alone."""

    @abc.abstractmethod
    def withdraw(self, job_ids: Sequence[str]) -> int:
        """Take jobs off the board whoever claims them; how many were there. For jobs that are terminal in the store."""

    @abc.abstractmethod
    def known(self, job_ids: Sequence[str]) -> set[str]:
        """Those of the given jobs that stand on the board in any form; for the reconciler."""

    @abc.abstractmethod
    def owners(self, job_ids: Sequence[str]) -> dict[str, str]:
        """The living claims among the given jobs: job id to owner."""

    @abc.abstractmethod
    def wait(self, classes: Collection[JobClass], *, timeout: float) -> News:
        """Block until there may be work of these classes, or ``timeout`` seconds passed; of which there may be.

        Returns early for a posted or released job, for a delayed job whose time comes, and for a lease that runs out.
        A class that nobody knew when the wait began counts as well: news may prove wrong, their lack is
        only ever late by what the driver documents. Ends soon after ``wake``.
        """

    @abc.abstractmethod
    def wake(self) -> None:
        """End every ``wait`` on this object in this process now; for shutting down."""

    @abc.abstractmethod
    def count(self) -> BoardCounts:
        """How many jobs wait, are delayed and are claimed; a claim whose lease ran out counts as waiting or claimed."""

    @abc.abstractmethod
    def check(self) -> list[BoardProblem]:
        """What about the server's version and settings endangers jobs; empty when all is well."""

    @abc.abstractmethod
    def list(self, *, after: str | None = None, limit: int = 100) -> tuple[list[BoardRow], str | None]:
        """A page of what is on the board, in no promised order, and the mark to pass as ``after`` for the next one.

        The mark is None on the last page. Jobs that stay on the board throughout are listed at least once.
        """

    @abc.abstractmethod
    def clear(self) -> None:
        """Forget everything on this board, its store included. For tests, and for a rebuild from the store."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections. Closing twice is fine."""
