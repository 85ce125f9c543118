"""What a claim costs among many waiting jobs, against few.

Two boards on the same server, one with few and one with many waiting jobs, are asked in turn, so that whatever else the
machine does meanwhile meets both. Each claimed job is handed back, outside of the measured time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.place import Place
from bench.samples import median
from jobrunner.assemble import make_board
from jobrunner.boards.board import Board
from jobrunner.model import BoardEntry, JobClass, new_job_id
from jobrunner.persistence.server.database import Database

FEW, MANY = 100, 100_000
BATCH = 500
WARM_UP = 30
OWNER = "bench:1:aaaaaaaa"
LEASE_S = 60.0
CLASS = JobClass(type="bench_noop")


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Median milliseconds of a claim among few and among many waiting jobs."""

    few_ms: float
    many_ms: float

    @property
    def times(self) -> float:
        return self.many_ms / self.few_ms


def claims(few: Place, many: Place, *, number: int) -> Claims:
    """Claim jobs one at a time from both places, which are empty."""
    with _board(few, FEW) as small, _board(many, MANY) as large:
        taken: dict[Board, list[float]] = {small: [], large: []}
        for _ in range(WARM_UP + number):
            for board, times in taken.items():
                times.append(_claim_ms(board))
        return Claims(few_ms=median(taken[small][WARM_UP:]), many_ms=median(taken[large][WARM_UP:]))


def _claim_ms(board: Board) -> float:
    start = time.perf_counter()
    ids = board.claim(OWNER, [CLASS], limit=1, lease=LEASE_S)
    took = time.perf_counter() - start
    if board.release(OWNER, ids) != 1:
        raise RuntimeError(f"claimed {len(ids)} jobs, and could not hand back one")
    return took * 1000


@contextlib.contextmanager
def _board(place: Place, waiting: int) -> Iterator[Board]:
    database = Database(place.store_url)
    board = make_board(place.config, database)
    try:
        now_ms = time.time_ns() // 1_000_000
        for start in range(0, waiting, BATCH):
            ages = range(start, min(start + BATCH, waiting))
            board.post([_entry(now_ms - waiting + age) for age in ages])
        yield board
    finally:
        board.close()
        database.close()


def _entry(posted_ms: int) -> BoardEntry:
    return BoardEntry(job_id=new_job_id(), job_class=CLASS, posted_ms=posted_ms)
