"""The lease keeper: a thread of the supervisor that keeps the leases of all workers, in one round trip.

It knows from the workers which claims there are. What it learns it passes on: until when leases are kept, which are
lost, and what people want: jobs cancelled or suspended, and the node drained, or limited.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from jobrunner import times
from jobrunner.boards.board import Board
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.outage import Outage
from jobrunner.errors import BoardUnavailable, StoreUnavailable
from jobrunner.model import BoardEntry, Job, JobState
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store, board_entry
from jobrunner.persistence.wishes import Wishes, wishes

log = logging.getLogger(__name__)

KEEPS_A_LEASE = 4
"""A lease is kept so many times before it would run out: three may fail."""
LOOK_S = 0.4
"""How often it looks for wishes while there are jobs to wish something of."""
IDLE_LOOK_S = 0.8
"""And else, for those of the node."""


class Claims:
    """Which worker holds which claims, as the workers say. Safe for several threads."""

    def __init__(self) -> None:
        self._by_owner: dict[str, set[str]] = {}
        self._passing: set[str] = set()
        self._lock = threading.Lock()

    def add(self, owner: str, job_ids: list[str]) -> None:
        with self._lock:
            self._by_owner.setdefault(owner, set()).update(job_ids)

    def remove(self, owner: str, job_ids: list[str]) -> None:
        with self._lock:
            self._by_owner.get(owner, set()).difference_update(job_ids)

    def pass_on(self, job_id: str) -> None:
        """A claim is about to be passed on to another owner, who says so when it has it."""
        with self._lock:
            self._passing.add(job_id)

    def passed_on(self, job_id: str, holder: str) -> None:
        """It has been passed on, or will not be: who held it holds it no more."""
        with self._lock:
            self._passing.discard(job_id)
            self._by_owner.get(holder, set()).discard(job_id)

    def is_passing(self, job_id: str) -> bool:
        return job_id in self._passing

    def any_of(self, owner: str) -> bool:
        """Whether an owner holds anything."""
        with self._lock:
            return bool(self._by_owner.get(owner))

    def drop(self, owner: str) -> None:
        with self._lock:
            self._by_owner.pop(owner, None)

    def pairs(self) -> list[tuple[str, str]]:
        """``(job id, owner)`` of every claim."""
        with self._lock:
            return [(job_id, owner) for owner, ids in self._by_owner.items() for job_id in ids]

    def owners(self) -> list[str]:
        """The owners that hold anything."""
        with self._lock:
            return [owner for owner, ids in self._by_owner.items() if ids]


class LeaseKeeper:
    """Keeps leases until it is stopped.

    :param tell: sends a message to the worker of an owner: ``tell(owner, kind, **content)``
    :param node: the node's name
    :param heed: is told again and again what is wished of the node
    """

    def __init__(
        self,
        board: Callable[[], Board | None],
        database: Database,
        claims: Claims,
        *,
        lease: float,
        tell: Callable[..., None],
        node: str | None = None,
        heed: Callable[[Wishes], None] = lambda wished: None,
    ) -> None:
        self._board = board
        self._store = Store(database)
        self._claims = claims
        self._lease = lease
        self._tell = tell
        self._node = node
        self._heed = heed
        self._looked = -IDLE_LOOK_S
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._every, args=(lease / KEEPS_A_LEASE, "keeping leases", self.keep), daemon=True
            ),
            threading.Thread(
                target=self._every,
                args=(LOOK_S, "looking for what people want", self._look_in_time),
                daemon=True,
            ),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Keep no more. Stopping twice is fine."""
        self._stopping.set()

    def _every(self, seconds: float, doing: str, work: Callable[[], bool]) -> None:
        """Do it again and again. ``work`` says whether it asked anybody: if not, an outage may well go on."""
        outage = Outage(log, doing)
        while not self._stopping.wait(seconds):
            try:
                if work():
                    outage.is_over()
            except (BoardUnavailable, StoreUnavailable) as error:
                outage.goes_on(error)
            except Exception:
                log.exception("%s failed; it is tried again", doing)

    def keep(self) -> bool:
        """Keep every lease once, and tell the workers; False if there was none to keep, or no board yet."""
        claims = self._claims.pairs()
        board = self._board()
        if not claims or board is None:
            return False
        began = boottime()
        gone = board.keep(claims, lease=self._lease)
        lost = {(job_id, owner) for job_id, owner in claims if job_id in gone}
        self._tell_kept([claim for claim in claims if claim not in lost], began + self._lease)
        lost &= set(self._claims.pairs())  # what ended while the board was asked is no loss
        lost = {(job_id, owner) for job_id, owner in lost if not self._claims.is_passing(job_id)}
        if lost:
            self._regain(board, lost)
        return True

    def _regain(self, board: Board, lost: set[tuple[str, str]]) -> None:
        """A board that lost its data is told again what runs here; what somebody else has by now is lost indeed."""
        began = boottime()
        try:
            running = self._running(lost)
            alarming = {job.id for job in running}
        except StoreUnavailable:
            running, alarming = [], {job_id for job_id, _ in lost}
        ours = [job for job in running if (job.id, job.owner or "") in lost]
        board.post([self._not_yet(job) for job in ours])
        for owner in {job.owner or "" for job in ours}:
            ids = [job.id for job in ours if job.owner == owner]
            board.claim_these(owner, ids, lease=self._lease, early=True)
        # Asked, not taken from the answers: the worker itself may have claimed its own job in between.
        regained = lost & set(board.owners([job.id for job in ours]).items())
        if regained:
            log.warning(
                "the board had lost the claims of %d running jobs; they are claimed again", len(regained)
            )
        regained |= self._claimed_since(board, lost - {(job.id, job.owner) for job in ours})
        self._tell_kept(regained, began + self._lease)
        self._tell_lost(lost - regained, alarming=alarming)

    def _claimed_since(self, board: Board, lost: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these claims that their workers have again, and kept: of jobs that are not begun yet."""
        gone = board.keep(lost, lease=self._lease) if lost else set()
        return {(job_id, owner) for job_id, owner in lost if job_id not in gone}

    def _not_yet(self, job: Job) -> BoardEntry:
        """A job's entry that nobody may claim for a lease: else an idle conductor, woken by it, would be quicker.

        Should this process end before it has claimed it, it is due when the lease would have run out. Its place in line
        is the one that it had.
        """
        entry = board_entry(job)
        until_ms = times.now_ms() + round(self._lease * 1000)
        return replace(
            entry, available_ms=until_ms, in_line_since_ms=max(entry.posted_ms, entry.available_ms)
        )

    def _running(self, claims: set[tuple[str, str]]) -> list[Job]:
        """The jobs of these claims that the store says are run, by whomever; raises StoreUnavailable.

        In the order in which they were posted, as all put jobs on the board again.
        """
        found = self._store.get_many([job_id for job_id, _ in claims]).values()
        return sorted((job for job in found if job.state is JobState.RUNNING), key=lambda job: job.seq)

    def _tell_kept(self, claims: Iterable[tuple[str, str]], until: float) -> None:
        for owner, ids in _by_owner(claims).items():
            self._tell(owner, "kept", ids=ids, until=until)

    def _tell_lost(self, claims: Iterable[tuple[str, str]], *, alarming: Collection[str]) -> None:
        """Let the workers stop these. Most often the worker has just left the job itself, and its word is on its way:
        that is nothing to write of. That somebody else runs it is. ``alarming`` are those of which that may be so."""
        for owner, ids in _by_owner(claims).items():
            elsewhere = [job_id for job_id in ids if job_id in alarming]
            if elsewhere:
                log.error("the leases of these jobs were lost: %s", ", ".join(elsewhere))
            self._tell(owner, "lost", ids=ids)
            self._claims.remove(owner, ids)

    def _look_in_time(self) -> bool:
        is_time = bool(self._claims.owners()) or boottime() - self._looked >= IDLE_LOOK_S - LOOK_S / 2
        if is_time:
            self.look()
        return is_time

    def look(self) -> None:
        """Pass on what people want of the jobs that run here, and of the node; one query."""
        self._looked = boottime()
        wished = wishes(self._store.database, self._claims.owners(), node=self._node)
        self._heed(wished)
        for job_id, owner in self._claims.pairs():
            if job_id in wished.cancel:
                self._tell(owner, "cancel", id=job_id, mode=wished.cancel[job_id].value)
            elif job_id in wished.suspend:
                self._tell(owner, "hold", id=job_id)


def _by_owner(claims: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for job_id, owner in claims:
        found.setdefault(owner, []).append(job_id)
    return found
