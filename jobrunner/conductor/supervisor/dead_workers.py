"""What becomes of jobs whose process has ended: they are handed back at once, or left as they were ended by force.

One after the other, in the order in which processes ended. What a server that is away keeps from being done is done by
others: the leases end, and the leader puts right what is left.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from dataclasses import dataclass

from jobrunner.boards.board import Board
from jobrunner.conductor.reconciling.failover import move
from jobrunner.conductor.reconciling.handing_back import give_back
from jobrunner.errors import JobrunnerError, StoreUnavailable
from jobrunner.persistence.ownership.settling import Settlement, followed_up
from jobrunner.persistence.ownership.unowned import UsageNote, hand_back_of, note_usage, settle_for
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store, board_entry

log = logging.getLogger(__name__)


def _nothing() -> None:
    """Nobody waits to hear of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dead:
    """A worker that ended: whom its jobs are to be handed back for."""

    owner: str
    on_purpose: bool
    job_id: str | None = None
    settlement: Settlement | None = None
    """How the job, which was alone with it, is left, unless it left it itself."""
    then: Callable[[], None] = _nothing
    usage: UsageNote | None = None
    """What the job has used, which was alone with it; written before anybody else can begin it."""


class DeadWorkers:
    """The workers of one conductor that have ended; seen to in a thread of its own, see :meth:`work`.

    :param board: the board, once it could be reached
    :param usage_later: takes what a job has used that cannot be written now
    :param mover: an identity, and for how many seconds it holds what it moves on the board
    """

    def __init__(
        self,
        database: Database,
        board: Callable[[], Board | None],
        *,
        usage_later: Callable[[UsageNote], None],
        mover: tuple[str, float],
    ) -> None:
        self._database = database
        self._board = board
        self._usage_later = usage_later
        self._mover = mover
        self._dead: queue.SimpleQueue[_Dead | None] = queue.SimpleQueue()

    def hand_back(self, owner: str, *, on_purpose: bool, then: Callable[[], None] | None = None) -> None:
        """Soon hand back all that a dead worker held, then call ``then``.

        One that was ended on purpose did not die with its jobs.
        """
        self._dead.put(_Dead(owner=owner, on_purpose=on_purpose, then=then or _nothing))

    def settle(
        self, owner: str, job_id: str, settlement: Settlement, then: Callable[[], None] = _nothing
    ) -> None:
        """Soon leave the job of an owner that is ended by force, unless that did so itself; then ``then`` is called."""
        self._dead.put(_Dead(owner=owner, on_purpose=True, job_id=job_id, settlement=settlement, then=then))

    def usage(self, note: UsageNote) -> None:
        """Soon write what a job has used whose process died; before what is said next of that process is done."""
        self._dead.put(_Dead(owner=note.owner, on_purpose=True, usage=note))

    def end(self) -> None:
        """See to those that were told of so far, and to no others."""
        self._dead.put(None)

    def work(self) -> None:
        """See to them until the end."""
        while (dead := self._dead.get()) is not None:
            try:
                self._see_to(dead)
            except JobrunnerError as error:
                if dead.usage is not None:
                    self._usage_later(dead.usage)
                    continue
                log.warning("%s The jobs of %s are free when their leases end.", error.sentence, dead.owner)
            except Exception:
                log.exception("the jobs of %s could not be handed back", dead.owner)
            finally:
                dead.then()

    def _see_to(self, dead: _Dead) -> None:
        if dead.usage is not None:
            note_usage(self._database, [dead.usage])
            return
        left: Settlement | None = None
        handed_back: list[str] = []
        if dead.job_id is not None and dead.settlement is not None:
            left = self._left(dead.owner, dead.job_id, dead.settlement)
        elif dead.on_purpose:
            handed_back = self._handed_back(dead.owner)
        board = self._board()
        if board is None:
            return
        number = give_back(self._database, board, dead.owner, handed_back=handed_back)
        if number:
            log.warning("handed back %d jobs of %s", number, dead.owner)
        if dead.job_id is not None and left is not None and left.placement is not None:
            self._move(board, dead.job_id)

    def _left(self, owner: str, job_id: str, wanted: Settlement) -> Settlement | None:
        """Leave a job in the place of its owner; how it was left, or None if that one did so itself."""
        left = settle_for(self._database, job_id, owner, lambda job: followed_up(job, wanted))
        if left is not None:
            log.warning("job %s was ended by force: %s", job_id, left.state)
        board = self._board()
        if left is not None and left.is_off_board and board is not None:
            board.consume(owner, [job_id])
        return left

    def _handed_back(self, owner: str) -> list[str]:
        try:
            return hand_back_of(self._database, [owner])
        except StoreUnavailable as error:
            log.warning("%s The jobs of %s are handed back all the same.", error.sentence, owner)
            return []

    def _move(self, board: Board, job_id: str) -> None:
        """Let the next attempt of a job wait on the board for the node that it prefers."""
        job = Store(self._database).get(job_id)
        if not job.state.is_terminal:
            holder, lease = self._mover
            move(board, [board_entry(job)], holder=holder, lease=lease)
