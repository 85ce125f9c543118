"""What follows when jobs have ended: those that come after them go on, or are skipped, down the whole graph.

Whoever ends a job calls :func:`follow`; the leader calls :func:`follow_all` for ends that nobody followed up on. Both
ask SQL what is to be done and do it under locks, so it does not matter who does it, how often, or at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence

from jobrunner import times
from jobrunner.boards.board import Board
from jobrunner.errors import BoardUnavailable
from jobrunner.jobs.offering import call
from jobrunner.persistence.chains.deciding import decide
from jobrunner.persistence.chains.links import blocked_page, decided, dependents
from jobrunner.persistence.permits.passing import next_in_line, release_sets, sets_of
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import board_entry

log = logging.getLogger(__name__)

ENDED_AT_ONCE = 500
SETTLED_AT_ONCE = 200


def follow(database: Database, board: Callable[[], Board], ended: Collection[str]) -> int:
    """Follow up on the ends of these jobs; how many others go on, or were skipped.

    Costs one query if nobody comes after any of them. Jobs among them that have not ended do no harm.
    """
    left = list(dict.fromkeys(ended))
    done = 0
    while left:
        batch, left = left[:ENDED_AT_ONCE], left[ENDED_AT_ONCE:]
        for some in _parts(dependents(database, batch)):
            number, ended_in_turn = _settle(database, board, decided(database, some, ended=batch))
            done += number
            left += ended_in_turn
    return done


def settle_blocked(database: Database, board: Callable[[], Board], job_ids: Sequence[str]) -> int:
    """Look at these blocked jobs for such whose links are decided, and see to them and what comes after; how many."""
    done = 0
    for some in _parts(job_ids):
        number, ended = _settle(database, board, decided(database, some))
        done += number + follow(database, board, ended)
    return done


def follow_all(database: Database, board: Callable[[], Board]) -> int:
    """Look at all blocked jobs for such whose links are decided, and see to them; how many.

    Jobs in turn that come after those are seen to as well, wherever they stand in line.
    """
    done = 0
    after: int | None = 0
    while after is not None:
        ids, after = blocked_page(database, after=after)
        done += settle_blocked(database, board, ids)
    return done


def leave_sets(database: Database, board: Callable[[], Board], ended: Sequence[str]) -> None:
    """End what the jobsets of these jobs hold as a whole, if all their jobs have ended, and call who waits for it.

    Costs one query if there are no such sets. Conductors see to the jobs that they run by themselves.
    """
    freed = release_sets(database, sets_of(database, ended))
    call(board, next_in_line(database, freed) if freed else [])


def _parts(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(job_ids), SETTLED_AT_ONCE):
        yield job_ids[start : start + SETTLED_AT_ONCE]


def _settle(database: Database, board: Callable[[], Board], ids: list[str]) -> tuple[int, list[str]]:
    """Settle jobs whose links are decided, and put those on the board that go on; how many, and which ended."""
    if not ids:
        return 0, []
    followed = decide(database, ids, now_ms=times.now_ms())
    entries = [board_entry(job) for job in followed.released if job.parked is None]
    if entries:
        try:
            board().post(entries)
        except BoardUnavailable as error:
            log.warning("%s The jobs that go on now are put on the board when it is back.", error.sentence)
    if followed.ended:
        leave_sets(database, board, followed.ended)
    return len(followed.released) + len(followed.ended), followed.ended
