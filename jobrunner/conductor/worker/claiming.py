"""How a worker comes by its jobs: which it claims, how many at once, and for how long it waits where there are none.

For the thread that claims, between two looks at what ended. In this order: jobs with capabilities that the scout
approved, jobs that waited for this worker's code, then whatever waits; and on another way those whose turn it is to
have what jobs left here of semaphores. What was claimed is set off at once.

Claiming n jobs costs one round trip to the board, another two only where there are approved jobs or misfits; while
freer nodes go first, one or two more, see giving_way.py.
"""

from __future__ import annotations

from collections.abc import Callable

from jobrunner.boards.board import Board
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.worker.candidates import Scout
from jobrunner.conductor.worker.giving_way import GivingWay
from jobrunner.conductor.worker.known_types import KnownTypes
from jobrunner.conductor.worker.leases import HeldJobs
from jobrunner.conductor.worker.misfits import Misfits
from jobrunner.conductor.worker.passing_on import PassingOn
from jobrunner.model import JobClass

ROOM_WAIT_S = 2.0
"""How long a busy worker waits for a free slot at most, before it looks what else there is to do."""
GATHER_S = 0.03
"""So long a worker waits for more free slots before it claims, when jobs queue up."""
ANY_CLASS_LIMIT = 64
"""With more job types than this a worker asks the board which classes there are before it claims."""


class Claiming:
    """Claims jobs for one worker.

    :param owner: the identity under which it claims
    :param lease: seconds for which a claim lasts unless it is kept
    :param slots: how many jobs may run at once now
    :param start: starts claimed jobs, by their ids and until when their leases last at least; whether that is all that
        was to be done for them
    """

    def __init__(
        self,
        board: Board,
        *,
        owner: str,
        lease: float,
        types: KnownTypes,
        held: HeldJobs,
        slots: Callable[[], int],
        scout: Scout,
        misfits: Misfits,
        giving_way: GivingWay,
        passing: PassingOn,
        start: Callable[[list[str], float], bool],
    ) -> None:
        self._board = board
        self._owner = owner
        self._lease = lease
        self._types = types
        self._held = held
        self._slots = slots
        self.scout = scout
        self._misfits = misfits
        self._giving_way = giving_way
        self._passing = passing
        self._start = start
        self._backlog = False
        self._for_scout = False

    def pass_on(self, *, takes: bool) -> None:
        """Run those whose turn it is to have what jobs left here of semaphores; others are called for the rest.

        :param takes: whether any are run here, or all of them called for others
        """
        if not self._passing:
            return
        classes, claimed_at = self._types.classes if takes else (), boottime()
        ids = self._passing.take_over(
            self._board, self._owner, classes, limit=self._room(), lease=self._lease
        )
        if ids:
            self._start(ids, claimed_at + self._lease)

    def wait_for_room(self) -> bool:
        """Wait for a free slot; while more jobs wait than there are slots, a moment longer, for several of them.

        False if there is none, or something else is to be done first. A claim costs a transaction whatever its size, so
        short jobs are claimed by the handful.
        """
        slots = self._slots()
        if not self._held.wait_below(slots, ROOM_WAIT_S):
            return False
        if self._backlog:
            slots = self._slots()
            self._held.wait_below(slots - slots // 2 + 1, GATHER_S)
        return not self._passing

    def claim(self) -> bool:
        """Claim as many jobs as there are free slots, and start them; whether there may be more to do."""
        free = self._room()
        claimed_at = boottime()
        ids = self._claim_chosen(free)
        all_seen = not ids
        if all_seen:
            ids = self._claim_plain(free)
            self._backlog = len(ids) == free
        if ids:
            all_started = self._start(ids, claimed_at + self._lease)
            self.scout.glance()
            if self._backlog or not (all_seen and all_started):
                return True
        if self._for_scout:
            self.scout.look()
        return False

    def _room(self) -> int:
        return self._slots() - len(self._held)

    def _claim_chosen(self, limit: int) -> list[str]:
        """Claim jobs that were found to be for this worker before."""
        approved = self.scout.take_approved(limit, aged=self._pause())
        ids = self._board.claim_these(self._owner, approved, lease=self._lease)
        misfits = self._misfits.take(limit - len(ids))
        return ids + self._board.claim_these(self._owner, misfits, lease=self._lease, early=True)

    def _claim_plain(self, limit: int) -> list[str]:
        """Claim jobs that ask for no capabilities; if a freer node is there, what that leaves."""
        classes = self._plain_classes()
        if self._pause():
            return self._giving_way.claim(self._board, self._owner, classes, limit=limit, lease=self._lease)
        self._giving_way.forget()
        return self._board.claim(self._owner, classes, limit=limit, lease=self._lease)

    def _pause(self) -> float:
        """For how many seconds a job is left to freer nodes; while jobs queue up, not at all."""
        return 0.0 if self._backlog else self._giving_way.pause(self._board)

    def _plain_classes(self) -> list[JobClass]:
        """The classes that can be claimed from: those that name capabilities are the scout's."""
        if len(self._types.classes) <= ANY_CLASS_LIMIT:
            return list(self._types.classes)
        return [cls for cls in self._board.classes() if self._types.fits(cls) and not cls.capabilities]

    def any_waits(self) -> bool:
        """Whether there is anything on the board to claim; costs a round trip."""
        return bool(self._board.peek(self._plain_classes(), limit=1))

    def wait(self, longest: float) -> None:
        """Wait for news of the board, for so many seconds at most; until a job may be taken that freer nodes left."""
        # For all that may come, not for what the board has now: news of a class that was there before are none.
        classes = self._types.classes | self.scout.classes
        news = self._board.wait(classes, timeout=self._patience(longest))
        self._for_scout = news.new_classes or any(cls.capabilities for cls in news.classes)

    def _patience(self, longest: float) -> float:
        pause = self._pause()
        if not pause:
            return longest
        return min(longest, self._giving_way.patience(self._board), self.scout.until_approved(pause))
