"""Claiming on a node that lets freer ones go first.

Such a worker looks before it claims. It takes a job that is still there when it has known it for the pause; so each
job has a pause of its own, however fast jobs come one after the other, and nothing that ends, times out or wakes the
worker meanwhile makes it snatch one. A job that only its node may run it takes at once, and all jobs as soon as more
wait than a few: then there is work for everybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from jobrunner.boards.board import Board
from jobrunner.model import JobClass

QUEUE = 32
"""If so many jobs wait beyond what this worker has room for, jobs queue up, and nobody gives way."""


class GivingWay:
    """How one worker claims while others are freer.

    :param longest: seconds for which it lets others go first at most
    :param clock: seconds that only ever grow
    """

    def __init__(self, longest: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = 0.0
        """Which part of the longest pause it makes, see availability.py; 0: none."""
        self._longest = longest
        self._clock = clock
        self._known: dict[str, float] = {}

    def pause(self, board: Board) -> float:
        """Seconds from hearing of a job to taking it; by then freer nodes have heard of it as well."""
        return self.share * self._longest + board.spread if self.share else 0.0

    def claim(
        self, board: Board, owner: str, classes: Collection[JobClass], *, limit: int, lease: float
    ) -> list[str]:
        """Claim what only this node may run, and what freer ones have left; the ids."""
        ids = board.claim(owner, [cls for cls in classes if cls.node is not None], limit=limit, lease=lease)
        if ids:
            return ids
        line = board.peek([cls for cls in classes if cls.node is None], limit=limit + QUEUE)
        return board.claim_these(owner, self._ripe(line, self.pause(board), limit), lease=lease)

    def forget(self) -> None:
        """Jobs are claimed without a look now: what is known of those that wait is old by the next one."""
        self._known.clear()

    def patience(self, board: Board) -> float:
        """Seconds until the first of the jobs that are known may be taken; no end without any."""
        first = min(self._known.values(), default=math.inf)
        return max(0.0, first + self.pause(board) - self._clock())

    def _ripe(self, line: list[str], pause: float, room: int) -> list[str]:
        """Those of the jobs in line that were known for long enough; one that has left the line is forgotten."""
        now = self._clock()
        queue_up = len(line) >= room + QUEUE
        since = {job_id: self._known.get(job_id, now) for job_id in line}
        ripe = [job_id for job_id in line if queue_up or since[job_id] + pause <= now][:room]
        self._known = {job_id: since[job_id] for job_id in line if job_id not in ripe}
        return ripe
