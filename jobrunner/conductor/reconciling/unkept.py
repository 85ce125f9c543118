"""Claims of conductors that are gone, and whose leases do not end: the board's clock was set back.

A lease ends by the clock of the board's server. Is that set back by an hour, then what a machine held that dies before
it has caught up would stand still for that hour. A conductor that lives pushes all its leases back again and again; so
whose leases have stood where they are for a while, and which is gone by the store's record too, keeps none of them.

To hand back too much would do no harm that lasts: what somebody still has under way cannot be recorded any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from jobrunner.boards.board import Board, BoardRow
from jobrunner.conductor.reconciling.handing_back import give_back
from jobrunner.persistence.nodes import conductors_gone
from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

UNKEPT_S = 60.0
"""So long a lease has stood where it is if nobody keeps it."""


@dataclass(slots=True)
class _Seen:
    """The last lease of an owner, and since when that has been the last."""

    until_ms: int
    since: float = field(default_factory=time.monotonic)


class UnkeptClaims:
    """What the rounds of one leader have seen of claims."""

    def __init__(self, database: Database, board: Board) -> None:
        self._database = database
        self._board = board
        self._seen: dict[str, _Seen] = {}
        self._round: dict[str, int] = {}

    def note(self, rows: Iterable[BoardRow]) -> None:
        """These rows are on the board in this round."""
        for row in rows:
            if row.owner is not None and row.lease_until_ms is not None:
                self._round[row.owner] = max(row.lease_until_ms, self._round.get(row.owner, 0))

    def release(self) -> int:
        """The round is over: hand back what no living conductor keeps; how many jobs. Else no query."""
        this_round, self._round = self._round, {}
        before, self._seen = self._seen, {}
        for owner, until_ms in this_round.items():
            seen = before.get(owner)
            self._seen[owner] = seen if seen is not None and seen.until_ms == until_ms else _Seen(until_ms)
        still = {
            owner: owner.partition("/")[0]
            for owner, seen in self._seen.items()
            if time.monotonic() - seen.since >= UNKEPT_S
        }
        if not still:
            return 0
        gone = conductors_gone(self._database, set(still.values()))
        return sum(self._give_back(owner) for owner, conductor in still.items() if conductor in gone)

    def _give_back(self, owner: str) -> int:
        number = give_back(self._database, self._board, owner)
        log.warning(
            "%d jobs were still claimed by %s, which is gone; they are handed back. "
            "Was the clock of the job board's server set back?",
            number,
            owner,
        )
        return number
