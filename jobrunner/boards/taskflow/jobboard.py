"""TaskFlow's job board over postings: what conductors and other TaskFlow programs call."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

from taskflow import exceptions as exc
from taskflow import states
from taskflow.jobs import base

from jobrunner import times
from jobrunner.boards.taskflow.claims import Claim, Claims, LeaseKeeper, who_is
from jobrunner.boards.taskflow.job import PostedJob
from jobrunner.boards.taskflow.listing import JobIterator, find
from jobrunner.boards.taskflow.posting import PRIORITIES, Posting, to_posting, to_text
from jobrunner.boards.taskflow.postings import Absence, Postings, Row
from jobrunner.errors import JobrunnerError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_WAIT_S = 60.0
REPORTED_AT_MOST = 1000


def _checks_who(method: Callable[P, T]) -> Callable[P, T]:
    """TaskFlow's own check of names, with types."""
    return cast("Callable[P, T]", base.check_who(method))


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What a board has while it is connected, in the process that connected it."""

    postings: Postings
    claims: Claims
    keeper: LeaseKeeper
    pid: int


class PostingBoard(base.JobBoard):
    """A board whose claims end when nobody keeps them.

    :param open_postings: makes the connection to the server, anew each time that the board is connected
    :param lease: seconds for which a claim lasts without being kept, unless it is made with an expiry
    :param persistence: where the jobs' logbooks are loaded from

    What the server refuses, or its absence, is raised as JobFailure, in bounded time.
    """

    def __init__(
        self,
        name: str,
        conf: Any,
        *,
        open_postings: Callable[[], Postings],
        lease: float,
        persistence: Any = None,
    ) -> None:
        super().__init__(name, conf)
        self._open_postings = open_postings
        self._lease = lease
        self._persistence = persistence
        self._changing = threading.RLock()
        self._session: Session | None = None
        self._of_other_processes: list[Session] = []
        self._reported: set[str] = set()

    @property
    def connected(self) -> bool:
        return self._session is not None and self._session.pid == os.getpid()

    def connect(self) -> None:
        """Connect, and keep the leases of this object's claims from now on; connecting again ends the old ones."""
        with self._changing:
            self.close()
            postings = self._open_postings()
            try:
                with _failures():
                    postings.connect()
            except BaseException:
                postings.close()
                raise
            claims = Claims()
            keeper = LeaseKeeper(postings, claims, lease=self._lease)
            self._session = Session(postings=postings, claims=claims, keeper=keeper, pid=os.getpid())
            keeper.start()

    def close(self) -> None:
        """Hand back the claims whose leases were kept here, and disconnect. Closing twice is fine."""
        with self._changing:
            session, self._session = self._session, None
            if session is None:
                return
            if session.pid != os.getpid():
                self._of_other_processes.append(session)  # never to be closed here, nor collected
                return
            session.keeper.stop()
            for claim in session.claims.kept():
                try:
                    session.postings.release(claim.job_id, claim.owner)
                except JobrunnerError as error:
                    log.warning("Claims were not handed back, their leases end by themselves: %s", error)
                    break
            session.postings.close()

    def register_entity(self, entity: Any) -> None:
        """Nothing is kept of it: who works on this board is told by the claims."""

    def post(
        self, name: str, book: Any = None, details: Any = None, priority: Any = base.JobPriority.NORMAL
    ) -> PostedJob:
        """Post a job; raises JobFailure if JSON cannot hold it or if it is too large."""
        rank = PRIORITIES.index(base.JobPriority.convert(priority))
        posting = Posting(
            name=name,
            details=dict(details or {}),
            book=None if book is None else {"name": book.name, "uuid": book.uuid},
            created_ms=times.now_ms(),
        )
        try:
            text = to_text(posting)
            stored = to_posting(text)
        except ValueError as error:
            raise exc.JobFailure(f"Job '{name}' cannot be posted: {error}") from error
        job_id = str(uuid.uuid4())
        with self._server() as session:
            session.postings.post(job_id, rank, text)
        return PostedJob(self, job_id, rank, stored, backend=self._persistence, book=book)

    def iterjobs(self, only_unclaimed: bool = False, ensure_fresh: bool = False) -> JobIterator:
        """The jobs on the board, as they are when they are come to; ``ensure_fresh`` changes nothing."""
        found = self._find(only_unclaimed=only_unclaimed)
        return JobIterator(self, found, only_unclaimed=only_unclaimed, ensure_fresh=ensure_fresh)

    def wait(self, timeout: float | None = None) -> JobIterator:
        """Block until there are jobs on the board, and iterate over them; raises NotFound after ``timeout`` seconds."""
        began = time.monotonic()
        while True:
            jobs = self.iterjobs()
            if jobs.look_ahead():
                return jobs
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise exc.NotFound(f"Expired waiting for jobs to arrive; waited {waited:.3f} seconds")
            with self._server() as session:
                left = LONGEST_WAIT_S if timeout is None else timeout - waited
                session.postings.wait(min(left, LONGEST_WAIT_S))

    @property
    def job_count(self) -> int:
        """How many jobs are on the board, claimed or not."""
        with self._server() as session:
            return session.postings.count()

    def find_owner(self, job: Any) -> str | None:
        """The name under which the job is claimed, or None."""
        found = self._look(job)
        return who_is(found.owner) if isinstance(found, Row) and found.owner is not None else None

    def state_of(self, job: Any) -> str:
        """See :attr:`PostedJob.state`."""
        found = self._look(job)
        if isinstance(found, Row):
            return str(states.UNCLAIMED if found.owner is None else states.CLAIMED)
        if found is Absence.CONSUMED:
            return str(states.COMPLETE)
        failure = exc.NotFound if found is Absence.UNKNOWN else exc.JobFailure
        raise failure(f"Job {job.uuid} {found.value}")

    def expires_in(self, job: Any) -> float:
        """See :meth:`PostedJob.expires_in`."""
        from taskflow.utils.redis_utils import UnknownExpire

        found = self._look(job)
        is_claimed = isinstance(found, Row) and found.owner is not None
        return found.left if isinstance(found, Row) and is_claimed else UnknownExpire.KEY_NOT_FOUND

    def extend_expiry(self, job: Any, expiry: float) -> bool:
        """See :meth:`PostedJob.extend_expiry`."""
        with self._server() as session:
            claim = job.claim or session.claims.get(job.uuid)
            if claim is None or claim.is_lost:
                return False
            lease = max(_seconds(expiry), claim.lease) if claim.is_kept else _seconds(expiry)
            if session.postings.keep([(job.uuid, claim.owner)], lease):
                session.claims.lose([claim])
                return False
            claim.lease = lease
            return True

    @_checks_who
    def claim(self, job: Any, who: str, expiry: float | None = None) -> None:
        """Claim a job, and keep its lease until it is consumed, abandoned or trashed.

        With ``expiry`` the claim lasts for so many seconds, and it is for the program to extend it. Raises
        UnclaimableJob if it is claimed, or if this process has not settled an earlier run of it, NotFound if it is not
        on the board.
        """
        lease = self._lease if expiry is None else _seconds(expiry)
        claim = Claim(job_id=job.uuid, who=who, lease=lease, is_kept=expiry is None)
        with self._server() as session:
            earlier = session.claims.get(job.uuid)
            if earlier is not None and earlier.is_kept:
                raise exc.UnclaimableJob(f"Job {job.uuid} is being run in this process, by {earlier.who}")
            if not session.postings.claim(job.uuid, claim.owner, lease):
                self._explain_unclaimable(session.postings.look(job.uuid), job)
            session.claims.add(claim)
        job.claim = claim

    @_checks_who
    def consume(self, job: Any, who: str) -> None:
        """Take a finished job off the board; see :meth:`abandon` for what it raises."""
        self._settle("consume", job, who, lambda postings, owner: postings.consume(job.uuid, owner))

    @_checks_who
    def abandon(self, job: Any, who: str) -> None:
        """Hand a job back.

        Raises NotFound if it is not on the board, or nobody claims it, JobFailure if it is claimed by somebody else,
        who may well have the same name.
        """
        self._settle("abandon", job, who, lambda postings, owner: postings.release(job.uuid, owner))

    @_checks_who
    def trash(self, job: Any, who: str) -> None:
        """Put a broken job aside, see :meth:`trashed`; see :meth:`abandon` for what it raises."""
        self._settle("trash", job, who, lambda postings, owner: postings.trash(job.uuid, owner))

    def trashed(self) -> list[PostedJob]:
        """The jobs that were trashed and not restored, which TaskFlow's API has no way to see."""
        with self._server() as session:
            found = [self._as_job(row) for row in session.postings.trashed()]
        return [job for job in found if job is not None]

    def restore(self, job: Any) -> None:
        """Put a trashed job on the board again, in its old place; raises NotFound if there is none."""
        with self._server() as session:
            if not session.postings.restore(job.uuid):
                raise exc.NotFound(f"Job {job.uuid} is not among the trashed")

    def _settle(self, doing: str, job: Any, who: str, step: Callable[[Postings, str], bool]) -> None:
        """End a claim of ours. Whatever comes of it, this run of the job is over: its lease is kept no more."""
        with self._server() as session:
            claim = job.claim or session.claims.get(job.uuid)
            if claim is not None and claim.who == who:
                session.claims.settle(claim)
                if step(session.postings, claim.owner):
                    job.claim = None
                    return
            found = session.postings.look(job.uuid)
        if not isinstance(found, Row):
            raise exc.NotFound(f"Can not {doing} job {job.uuid}, it {found.value}")
        if found.owner is None:
            raise exc.NotFound(f"Can not {doing} job {job.uuid}, which nobody claims")
        raise exc.JobFailure(
            f"Can not {doing} job {job.uuid}, whose claim is not the one of {who} in this process: "
            f"it is claimed by {who_is(found.owner)}"
        )

    def _explain_unclaimable(self, found: Row | Absence, job: Any) -> NoReturn:
        if not isinstance(found, Row):
            raise exc.NotFound(f"Job {job.uuid} can not be claimed, it {found.value}")
        by = "" if found.owner is None else f" by {who_is(found.owner)}"
        raise exc.UnclaimableJob(f"Job {job.uuid} already claimed{by}")

    def _look(self, job: Any) -> Row | Absence:
        with self._server() as session:
            return session.postings.look(job.uuid)

    def _find(self, *, only_unclaimed: bool) -> Iterator[PostedJob]:
        with self._server() as session:
            found = find(session.postings, self._as_job, only_unclaimed=only_unclaimed)
        while True:
            with self._server():
                job = next(found, None)
            if job is None:
                return
            yield job

    def _as_job(self, row: Row) -> PostedJob | None:
        try:
            posting = to_posting(row.text)
        except ValueError as error:
            if row.job_id not in self._reported and len(self._reported) < REPORTED_AT_MOST:
                self._reported.add(row.job_id)
                log.error("Job %s on board %s is skipped, and left there: %s", row.job_id, self.name, error)
            return None
        return PostedJob(self, row.job_id, row.rank, posting, backend=self._persistence)

    @contextlib.contextmanager
    def _server(self) -> Iterator[Session]:
        """The connected session; what goes wrong with the server is raised as JobFailure."""
        session = self._session
        if session is None or session.pid != os.getpid():
            raise exc.JobFailure(f"The job board {self.name} is not connected in this process")
        with _failures():
            yield session


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except JobrunnerError as error:
        raise exc.JobFailure(f"{error.message} {error.hint or ''}".strip(), error) from error


def _seconds(expiry: float) -> float:
    if not expiry > 0:
        raise ValueError(f"An expiry has to be more than 0 seconds, not {expiry}")
    return float(expiry)
