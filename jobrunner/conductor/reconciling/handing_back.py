"""Handing back what a dead worker held: on the board, and to the board where that has forgotten it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from jobrunner.boards.board import Board
from jobrunner.errors import StoreUnavailable
from jobrunner.persistence.ownership.unowned import running_of
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store

log = logging.getLogger(__name__)


def give_back(database: Database, board: Board, owner: str, *, handed_back: Iterable[str] = ()) -> int:
    """Let others claim all that a dead owner held; how many jobs that are.

    A board that was emptied while the owner lived knows nothing of them, and nobody keeps their leases any more: what
    SQL has as the owner's is put there anew, which changes nothing for a job that somebody else has claimed since.

    :param handed_back: what was handed back in SQL before
    """
    released = set(board.release_owner(owner))
    try:
        forgotten = {*handed_back, *running_of(database, owner)} - released
        open_ = Store(database).entries(sorted(forgotten))
    except StoreUnavailable as error:
        log.warning("%s What the board has forgotten is left to the leader.", error.sentence)
        return len(released)
    return len(released) + (board.post(open_) if open_ else 0)
