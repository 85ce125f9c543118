"""Jobs that prefer a node and have waited for it long enough: any conductor lets them go to any node.

Each conductor looks, not only the leader, for the leader may be the node that is gone. Several at once do no harm: SQL
decides, under a lock on the job's row, and the board follows. Who dies between the two leaves a job that waits on the
board for the old node; the reconciler puts that right.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jobrunner.boards.board import Board
from jobrunner.model import BoardEntry
from jobrunner.persistence.job_rows import board_entry
from jobrunner.persistence.nodes import clock_ms, nodes_away
from jobrunner.persistence.ownership.placing import Departure, Mark, candidates, depart
from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

PAGE = 500
PAGES = 20
"""So many pages of a node's jobs are let go in one look; the rest in the next one."""


class Failover:
    """Lets jobs go that wait in vain for the node that they prefer.

    :param holder: an identity of this conductor's own, for the moment in which it moves a job on the board
    :param lease: seconds after which somebody else may have a job that it died with in that moment
    """

    def __init__(self, database: Database, board: Board, *, holder: str, lease: float) -> None:
        self._database = database
        self._board = board
        self._holder = holder
        self._lease = lease

    def look(self) -> int:
        """Let go whose time is up; how many. Without jobs for a node of their own on the board: no query."""
        nodes = sorted({cls.node for cls in self._board.classes() if cls.node is not None})
        if not nodes:
            return 0
        away = nodes_away(self._database, nodes)
        now_ms = clock_ms(self._database)  # else the conductor whose clock is fastest would decide for all
        return sum(self._empty(Departure(node=node, away=away.get(node), now_ms=now_ms)) for node in nodes)

    def _empty(self, departure: Departure) -> int:
        gone = 0
        after: Mark | None = None
        for _ in range(PAGES):
            ids, after = candidates(self._database, departure, limit=PAGE, after=after)
            if not ids:
                break
            jobs = depart(self._database, departure, ids)
            gone += len(jobs)
            move(
                self._board,
                [board_entry(job) for job in jobs],
                holder=self._holder,
                lease=self._lease,
            )
            if after is None:
                break
        if gone:
            reason = departure.away or "it did not take them in time"
            log.info("%d jobs that prefer the node %s may run on any now: %s", gone, departure.node, reason)
        return gone


def move(board: Board, entries: Sequence[BoardEntry], *, holder: str, lease: float) -> None:
    """Let waiting jobs stand where their entries say; what somebody has claimed meanwhile stays with them.

    They are claimed for the moment in which they are on no line. Who dies in it leaves them to the reconciler; who
    stands still in it for longer than the lease takes them from nobody.
    """
    if not entries:
        return
    mine = board.claim_these(holder, [entry.job_id for entry in entries], lease=lease)
    board.consume(holder, mine)
    board.post(entries)
