"""What a worker still has to tell the board: which of its jobs are done with, and which go back.

Told by the thread that claims, between two claims, so that a job that goes back cannot be claimed again here before the
rest of its end is over. As long as the board is away nothing is claimed, so what gathers here is never more than the
worker's slots.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from jobrunner import times
from jobrunner.boards.board import Board
from jobrunner.conductor.channel import Channel
from jobrunner.model import BoardEntry, Job
from jobrunner.persistence.store import board_entry

Then = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Returned:
    """A job that goes back to the board."""

    job_id: str
    delay: float
    job: Job | None
    moved: bool = False
    """Whether it is to wait on the board for another node than before."""


class EndedJobs:
    """Ends that the board has not heard of yet. Safe for several threads.

    The supervisor is told first: a lease that is given up must not be kept, nor be said to be lost.
    """

    def __init__(self, owner: str, channel: Channel) -> None:
        self._owner = owner
        self._channel = channel
        self._finished: list[str] = []
        self._returned: list[_Returned] = []
        self._then: list[Then] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._finished) + len(self._returned)

    def untold(self) -> set[str]:
        """The jobs of which the board has not heard: who claims one now gives that claim up when it hears."""
        with self._lock:
            return {*self._finished, *(end.job_id for end in self._returned)}

    def finished(self, job_ids: Iterable[str], *, then: Then | None = None) -> None:
        """These jobs are done with, or were before. ``then`` is called once the board has been told."""
        with self._lock:
            self._finished += job_ids
            self._add(then)

    def goes_back(self, job_ids: Iterable[str], *, delay: float) -> None:
        """These claimed jobs are to be offered again after ``delay`` seconds."""
        with self._lock:
            self._returned += [_Returned(job_id, delay, None) for job_id in job_ids]

    def job_goes_back(
        self, job: Job, *, delay: float, prefers: str | None = None, then: Then | None = None
    ) -> None:
        """The same for a job that was begun: if the board lost it, it is posted again.

        :param prefers: the node for which it is to wait, if there is one that it prefers now
        """
        moved = prefers is not None and prefers != job.job_class.node
        if moved:
            job = replace(job, job_class=replace(job.job_class, node=prefers))
        with self._lock:
            self._returned.append(_Returned(job.id, delay, job, moved))
            self._add(then)

    def _add(self, then: Then | None) -> None:
        if then is not None:
            self._then.append(then)

    def tell(self, board: Board) -> None:
        """Tell the board; raises BoardUnavailable, and then nothing is forgotten."""
        with self._lock:
            finished, returned, told = list(self._finished), list(self._returned), list(self._then)
        if not finished and not returned:
            return
        self._channel.send("done", ids=finished + [end.job_id for end in returned])
        if finished:
            board.consume(self._owner, finished)
            with self._lock:
                del self._finished[: len(finished)]
        if returned:
            self._return(board, returned)
            with self._lock:
                del self._returned[: len(returned)]
        for then in told:
            then()
        with self._lock:
            del self._then[: len(told)]

    def _return(self, board: Board, returned: list[_Returned]) -> None:
        by_delay: dict[float, list[_Returned]] = defaultdict(list)
        for end in returned:
            if end.moved and end.job is not None:
                board.consume(self._owner, [end.job_id])
                board.post([_entry(end.job, end.delay)])
            else:
                by_delay[end.delay].append(end)
        for delay, ends in by_delay.items():
            released = board.release(self._owner, [end.job_id for end in ends], delay=delay)
            jobs = sorted((end.job for end in ends if end.job is not None), key=lambda job: job.seq)
            if released < len(ends) and jobs:
                # Those that stand there already stay as they are.
                board.post([_entry(job, delay) for job in jobs])


def _entry(job: Job, delay: float) -> BoardEntry:
    """What the board should hold of a job that is to be offered after ``delay`` seconds."""
    entry = board_entry(job)
    return replace(entry, available_ms=times.now_ms() + round(delay * 1000)) if delay else entry
