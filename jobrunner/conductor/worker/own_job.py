"""The one job of a process of its own: the supervisor names it, and it is taken over from the worker that claimed it.

A spare waits here for its job. What the job then costs is one round trip to the board, and what any other costs.
"""

from __future__ import annotations

import contextlib
from queue import SimpleQueue

from jobrunner.boards.board import Board
from jobrunner.conductor.clock import boottime
from jobrunner.conductor.worker.setting_off import NOBODY, SettingOff
from jobrunner.errors import BoardUnavailable, StoreUnavailable


class OwnJob:
    """The job of a worker that is alone. Named by one thread, taken over by another.

    :param owner: the identity under which the process takes it over
    :param lease: seconds for which that lasts unless it is kept
    """

    def __init__(self, setting_off: SettingOff, *, owner: str, lease: float) -> None:
        self._setting_off = setting_off
        self._owner = owner
        self._lease = lease
        self._named: SimpleQueue[tuple[str, str] | None] = SimpleQueue()

    def name(self, job_id: str, holder: str) -> None:
        """This is the job, and who has claimed it."""
        self._named.put((job_id, holder))

    def give_up(self) -> None:
        """None is going to be named."""
        self._named.put(None)

    def take_over(self, board: Board) -> None:
        """Wait for the job and start it; if its holder has lost it meanwhile, it is somebody else's."""
        if self._named.empty():
            self._rehearse(board)
        named = self._named.get()
        if named is None:
            return
        job_id, holder = named
        claimed_at = boottime()
        ids = board.pass_on(holder, self._owner, [job_id], lease=self._lease)
        if ids:
            self._setting_off.start(ids, claimed_at + self._lease)

    def _rehearse(self, board: Board) -> None:
        """Make a spare's first statements ones that find nothing: they are made, connected and cached then."""
        with contextlib.suppress(BoardUnavailable, StoreUnavailable):  # it will be said when there is a job
            board.pass_on(self._owner, self._owner, [NOBODY], lease=self._lease)
            self._setting_off.rehearse()
