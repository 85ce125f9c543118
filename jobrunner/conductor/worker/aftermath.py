"""What follows when jobs were left: others that waited for them go on. Off the path of those that run.

A worker notes each job that it left and goes on; a thread of its own takes what was noted since it last looked, all at
once, and gives it to the steps, one after the other. A step asks SQL what is to be done, so it may do too often what it
does, and too late, but nothing wrong. What a worker that dies leaves undone is found by the leader's reconciler.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from jobrunner.errors import JobrunnerError
from jobrunner.model import Job

log = logging.getLogger(__name__)

Step = Callable[[Sequence[Job]], None]
"""Is given jobs as they were when they began; each has been left since: ended, parked or handed back."""
AT_ONCE = 500
GATHER_S = 0.2
"""Jobs that nobody is known to wait for are followed up together, this often: looking costs a query and a turn."""


class Aftermath:
    """A thread that follows up on jobs that were left. Until it is started, there is nothing to be done for them.

    :param is_prompt: whether somebody is known to wait for the job, so that it is followed up at once
    """

    def __init__(self, *, is_prompt: Callable[[Job], bool] = lambda job: True) -> None:
        self._steps: tuple[Step, ...] = ()
        self._concerns: list[Callable[[Job], bool]] = []
        self._is_prompt = is_prompt
        self._urgent = False
        self._resting = False
        self._left: deque[Job] = deque()
        self._turns = threading.Semaphore(0)
        self._ending = False
        self._thread: threading.Thread | None = None

    def start(self, steps: Sequence[Step]) -> None:
        """Start the thread.

        :param steps: what is done; one that fails is logged, and the others go on. A step may have a method
            ``concerns`` that says of a job whether there can be anything to do: else nobody is woken for it.
        """
        self._steps = tuple(steps)
        self._concerns = [getattr(step, "concerns", _everything) for step in steps]
        self._thread = threading.Thread(target=self._run, name="aftermath", daemon=True)
        self._thread.start()

    def note(self, job: Job) -> None:
        """A job was left, and SQL has it so; it is followed up on at the next ``go``."""
        if any(concerns(job) for concerns in self._concerns):
            self._left.append(job)
            self._urgent = self._urgent or self._is_prompt(job)

    @property
    def is_busy(self) -> bool:
        """Whether there is something noted that was not followed up on in full."""
        return bool(self._left)

    def go(self) -> None:
        """Follow up on what was noted: once for many jobs, since a thread that is woken takes its turn from others."""
        if self._left and (self._urgent or not self._resting):
            self._urgent = False
            self._turns.release()

    def stop(self) -> None:
        """Follow up on what was noted, then end the thread. Stopping twice is fine."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ending = True
            self._turns.release()
            thread.join()

    def _run(self) -> None:
        while True:
            # While it rests it wakes by itself, so nobody has to wake it but for what is urgent.
            self._turns.acquire(timeout=GATHER_S if self._resting else None)
            self._resting = False
            followed = False
            while jobs := self._first():
                self._follow(jobs)
                for _ in jobs:
                    self._left.popleft()
                followed = True
            if self._ending:
                return
            self._resting = followed

    def _first(self) -> list[Job]:
        return [self._left[place] for place in range(min(len(self._left), AT_ONCE))]

    def _follow(self, jobs: Sequence[Job]) -> None:
        for step in self._steps:
            try:
                step(jobs)
            except JobrunnerError as error:
                log.warning("%s The leader does what follows from %d jobs.", error.sentence, len(jobs))
            except Exception:
                log.exception(
                    "what follows from %d jobs was not done in full; the leader does the rest", len(jobs)
                )


def _everything(job: Job) -> bool:
    return True
