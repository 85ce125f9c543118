"""The watch over jobs in processes of their own: what they use, and that they keep to their limits.

A thread of the supervisor's looks from outside, so that nothing that a job does to its interpreter can keep it from
seeing. Who has to go is told by the request to stop first, as all jobs are; its processes get SIGTERM, and what has not
come to an atom border when the grace is over gets SIGKILL. Too much memory is ended at once: a machine that runs out of
it takes others with it.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobrunner.conductor.clock import boottime
from jobrunner.conductor.isolation.usage import Sample, Usage, look
from jobrunner.model import CancelMode, JobError, JobState
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.policies import RunLimits

log = logging.getLogger(__name__)

SAMPLE_S = 1.0
CLOSE_S = 0.2
"""So often those are looked at that have a memory limit."""
AGAIN_S = 1.0
"""Who was killed so long ago, and lives, is killed again."""
LEAST_S = 0.02
"""Between two rounds, whatever is due."""
STALL_S = 5.0
"""Who was not looked at for so long after its time could not run, either."""
KNOWS_S = 1.0
"""It has so long to say that it knows that it was asked, before what it has started is told to end."""
MARKS = 60
"""So many samples are kept over the time after which a job looks dead."""


@dataclass(slots=True, eq=False, kw_only=True)
class Watched:
    """A job's run in a process of its own, as it is seen from outside."""

    owner: str
    job_id: str
    guardian: int
    """The process below which all of it is."""
    epoch: int
    attempt: int
    limits: RunLimits
    deadline: float | None = None
    """When its time is up, by boottime."""
    heeded: bool = False
    """It was asked to stop and came to an atom border; what it does since is undoing, which has no limit of its own."""
    usage: Usage = field(default_factory=Usage)
    verdict: Settlement | None = None
    """How it is left when its processes are gone, if not by itself."""
    ends_at: float | None = None
    """When its processes are killed."""
    asked_at: float = 0.0
    knows: bool = False
    """It said that it knows that it was asked."""
    warned: bool = False
    is_lost: bool = False
    """Its lease is lost: undoing would count for nothing, either."""
    cancel: CancelMode | None = None
    marks: deque[tuple[float, float]] = field(default_factory=deque)
    looks_at: float = 0.0
    """When it is to be looked at next."""

    def until_next(self, now: float) -> float:
        """Seconds until there is something to do about it."""
        at = self.looks_at
        if not self.heeded:
            times = (self.deadline, self.ends_at) if self.ends_at is None else (self.ends_at,)
            at = min(at, *(time for time in times if time is not None), self._warns_at())
        return max(0.0, at - now)

    def _warns_at(self) -> float:
        return self.asked_at + KNOWS_S if self.ends_at is not None and not self.warned else math.inf

    def ask(self, verdict: Settlement, now: float) -> None:
        """It was asked to stop: so it is left, unless it comes to an atom border in time."""
        if self.verdict is None or not self.verdict.state.is_terminal:
            self.verdict, self.asked_at, self.ends_at = verdict, now, now + self.limits.grace_s
            self.warned = False

    def look(self, sample: Sample, now: float) -> None:
        """Take a sample, and find out whether a limit is passed."""
        self.usage.note(sample, now)
        limits = self.limits
        self.looks_at = now + (SAMPLE_S if limits.memory is None else CLOSE_S)
        if limits.memory is not None and sample.memory > limits.memory and not self.is_over():
            self.verdict, self.ends_at = too_much_memory(sample.memory, limits.memory), now
            self.heeded, self.warned = False, True
        if limits.dead_after is not None and not self.is_over() and self._looks_dead(now):
            self.heeded = False
            self.verdict, self.ends_at, self.warned = looks_dead(limits), now + limits.grace_s, False

    def check_time(self, now: float) -> None:
        """Find out whether its time is up, whether or not it could be looked at."""
        if self.ends_at is None and self.deadline is not None and now > self.deadline and not self.heeded:
            self.ask(undo_later("Its time was up", self.limits.grace_s), now)

    def is_over(self) -> bool:
        return self.verdict is not None and self.verdict.state.is_terminal

    def _looks_dead(self, now: float) -> bool:
        """Whether it has used less than its share since ``dead_after`` ago; it has to have run for as long."""
        span = self.limits.dead_after
        assert span is not None
        if not self.marks or now - self.marks[-1][0] >= span / MARKS:
            self.marks.append((now, self.usage.worked))
        while len(self.marks) > 1 and now - self.marks[1][0] >= span:
            self.marks.popleft()
        since, cpu = self.marks[0]
        if now - since < span:
            return False
        return 100 * (self.usage.worked - cpu) / (now - since) < self.limits.dead_below_percent

    def excuse(self, stood: float) -> None:
        """The machine stood still: that it did nothing then means nothing, and it had no time to come to an end."""
        self.marks.clear()
        self.asked_at += stood
        if self.ends_at is not None:
            self.ends_at += stood


class Watch:
    """Looks after the jobs that it was given, until each is taken from it. Safe for several threads.

    :param kill: sends a signal to the session of an owner's process
    :param fence: settles a job in the store before its process ends: ``fence(watched)``
    """

    def __init__(self, kill: Callable[[str, int], None], fence: Callable[[Watched], None]) -> None:
        self._kill = kill
        self._fence = fence
        self._watched: dict[str, Watched] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Start the thread, which costs nothing while there is nothing to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. Stopping twice is fine."""
        self._stopping = True
        self._wake.set()

    def add(self, watched: Watched) -> None:
        with self._lock:
            self._watched[watched.owner] = watched
        self._wake.set()

    def remove(self, owner: str) -> Watched | None:
        """Its process has ended; what was seen of it last."""
        with self._lock:
            return self._watched.pop(owner, None)

    def all(self) -> list[Watched]:
        with self._lock:
            return list(self._watched.values())

    def asked(self, owner: str, *, heeded: bool) -> None:
        """It knows that it was asked to stop; ``heeded``: it has come to an atom border since, and undoes, or ends."""
        found = self._watched.get(owner)
        if found is None:
            return
        if not found.knows:
            found.knows = True
            self._wake.set()
        if heeded and not found.heeded and not found.is_over() and not found.is_lost:
            found.heeded, found.verdict, found.ends_at = True, None, None

    def cancel(self, owner: str, mode: CancelMode) -> None:
        """It was asked to stop since somebody cancelled the job. With KEEP undoing is cut short as well."""
        found = self._watched.get(owner)
        if found is None or found.cancel in (mode, CancelMode.KEEP):
            return
        found.cancel = mode
        if mode is CancelMode.KEEP:
            found.heeded = False
            found.ask(cancelled(found.limits.grace_s), boottime())
        elif not found.heeded:
            found.ask(undo_later("It was cancelled", found.limits.grace_s), boottime())
        self._wake.set()

    def lost(self, owner: str) -> None:
        """Its lease is lost: somebody else may run the job, and nothing that this one does counts."""
        found = self._watched.get(owner)
        if found is not None:
            found.heeded, found.is_lost = False, True
            found.ask(Settlement(state=JobState.SUSPENDED), boottime())
            self._wake.set()

    def _run(self) -> None:
        looked = boottime()
        while not self._stopping:
            watched = self.all()
            self._wake.wait(max(LEAST_S, min(one.until_next(looked) for one in watched)) if watched else None)
            self._wake.clear()
            now = boottime()
            stood = now - looked if watched and now - looked > STALL_S else 0.0
            for one in self.all():
                try:
                    self._see_to(one, now, stood)
                except Exception:
                    log.exception(
                        "looking after job %s in its own process failed; it is tried again", one.job_id
                    )
            looked = now

    def _see_to(self, one: Watched, now: float, stood: float = 0.0) -> None:
        if stood:
            one.excuse(stood)
        if now >= one.looks_at:
            one.looks_at = now + SAMPLE_S
            sample = look(one.guardian)
            if sample is not None:
                one.look(sample, now)
        one.check_time(now)
        self._end(one, now)

    def _end(self, one: Watched, now: float) -> None:
        if one.ends_at is None or one.heeded:
            return
        if now >= one.ends_at:
            one.ends_at = now + AGAIN_S
            self._kill(one.owner, signal.SIGKILL)
        elif not one.warned:
            if one.verdict is not None and one.verdict.state is JobState.DEAD:
                self._fence(one)  # else what its children's end makes of its task would be how it ends
            elif not one.knows and now < one.asked_at + KNOWS_S:
                return  # the same: it has to know why they end
            one.warned = True
            self._kill(one.owner, signal.SIGTERM)


def too_much_memory(used: int, limit: int) -> Settlement:
    message = (
        f"Its processes had {_mib(used)} in memory, and its limit is {_mib(limit)}, so they were killed; what it had "
        "done was kept. Give it more (--memory), or less to do at once; `jobrunner retry` runs it again."
    )
    return Settlement(state=JobState.FAILED, error=JobError(kind="MemoryLimit", message=message))


def looks_dead(limits: RunLimits) -> Settlement:
    message = (
        f"It looked dead: for {limits.dead_after:g} s it used less than {limits.dead_below_percent:g} % of a "
        "processor, so its processes were killed; what it had done was kept. `jobrunner logs` shows what it said last."
    )
    return Settlement(state=JobState.DEAD, error=JobError(kind="LookedDead", message=message))


def cancelled(grace: float) -> Settlement:
    message = f"Cancelled; it did not stop within {grace:g} s, so its processes were killed. What was done was kept."
    return Settlement(state=JobState.CANCELLED, error=JobError(kind="Cancelled", message=message))


def undo_later(why: str, grace: float) -> Settlement:
    """Its next owner finds out that it is cancelled, or out of time, and undoes what was done."""
    note = f"{why}, and it did not stop within {grace:g} s, so its processes were killed; what was done is undone next."
    return Settlement(state=JobState.SUSPENDED, note=note)


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"


def usage_of(watched: Watched, *, ended: bool = False) -> dict[str, Any]:
    """What is kept of a job's usage."""
    return watched.usage.to_json(attempt=watched.attempt, ended=ended)
