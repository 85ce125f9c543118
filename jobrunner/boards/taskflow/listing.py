"""The jobs of a board one by one, read page by page as far as somebody looks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from taskflow.jobs import base

from jobrunner.boards.taskflow.job import PostedJob
from jobrunner.boards.taskflow.postings import Mark, Postings, Row

log = logging.getLogger(__name__)

FIRST_PAGE, LARGEST_PAGE = 10, 200
"""Jobs: a conductor at its limit looks at a few only, a listing at all of them."""


class JobIterator(base.JobBoardIterator):
    """What TaskFlow's iterator is, without asking for the state of each job: the pages tell.

    First comes what can be claimed, by priority, then oldest first; then what is claimed, in the same order.
    """

    def __init__(
        self, board: Any, found: Iterator[PostedJob], *, only_unclaimed: bool, ensure_fresh: bool
    ) -> None:
        super().__init__(board, log, only_unclaimed=only_unclaimed, ensure_fresh=ensure_fresh)
        self._found = found
        self._first: list[PostedJob] = []

    def look_ahead(self) -> bool:
        """Whether there is a job to come."""
        if not self._first:
            self._first = [job for job in (next(self._found, None),) if job is not None]
        return bool(self._first)

    def __next__(self) -> PostedJob:
        return self._first.pop() if self._first else next(self._found)


def find(
    postings: Postings, as_job: Callable[[Row], PostedJob | None], *, only_unclaimed: bool
) -> Iterator[PostedJob]:
    """The jobs in their order; each once, also if it is claimed meanwhile.

    :param as_job: makes the job of a row; None if it cannot be read
    """
    seen: set[str] = set()
    for row in _rows(postings, only_unclaimed):
        if row.job_id not in seen:
            seen.add(row.job_id)
            job = as_job(row)
            if job is not None:
                yield job


def _rows(postings: Postings, only_unclaimed: bool) -> Iterator[Row]:
    mark: Mark | None = None
    size = FIRST_PAGE
    while True:
        rows, mark = postings.unclaimed(mark, size)
        yield from rows
        if mark is None:
            break
        size = min(size * 4, LARGEST_PAGE)
    if not only_unclaimed:
        yield from postings.claimed()
