"""A busy worker keeps its own threads on one processor core.

Only one thread of a worker can use the interpreter at a time, but the kernel wakes each of them on whatever core is
idle, where nothing of what they share is in the cache; measured on four cores, a one-atom job so costs a third more
processor time (docs/decisions/0017-one-core-a-worker.md). So the threads that claim, run engines and write the journal
*stay* on one core while there is much to do. What holds:

- Somebody else's code has all cores that the process may use, and so have all threads and processes that it starts: a
  thread *leaves* the core for it. That is a flow's factory, an atom's execute and revert, a retry's strategy and a
  decider. What else is not ours (plugins being loaded, capabilities) runs in threads that never stay.
- It is advice. A worker that has little to do is left to the kernel, which then wakes it soonest, and so is one whose
  core others want while none is freer. Where the system has no such call, or refuses it, nothing comes of it.
- Which cores the process may use is asked at each look: `taskset -a`, a control group's set, or a core that was taken
  away count from then on.

Costs two system calls an atom while a core is taken, some 7 us, and two looks at ``/proc/stat`` a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from jobrunner.conductor.turns.cores import Cores, Times, core_times, cores_allowed, shares, spread

log = logging.getLogger(__name__)

BUSY = 0.25
"""A worker that uses so much of a core takes one."""
QUIET = 0.08
"""One that uses less gives it back."""
LOOK_S = 0.5
"""How often it is compared with others: the kernel counts in hundredths of a second."""
SHARED = 0.25
"""If others use so much of its core, it takes another of which they use less than half as much."""
CROWDED = 0.6
"""If others use so much of it, and there is none like that, the kernel shall choose for REST_S."""
REST_S = 10.0


@dataclass(kw_only=True)
class _Seen:
    """What was seen at a moment."""

    at: float
    used_s: float
    cores: Times = field(default_factory=dict)


class _Mine(threading.local):
    """What is known of the thread that asks."""

    cores: Cores | None = None
    """Where it was told to run; None: it was told nothing, and runs where whoever started it did."""
    stays = False
    """Whether it runs the worker's own code, but for what it leaves the core for."""


class OwnCore:
    """The core of one worker.

    :param place: the worker's number in its conductor: workers side by side start on different cores; None: this one
        is left to the kernel for ever
    :param allowed: tells on which cores the thread that looks may run
    """

    def __init__(
        self,
        place: int | None,
        *,
        allowed: Callable[[], Cores] = cores_allowed,
        used_s: Callable[[], float] = time.process_time,
        cores: Callable[[], Times] = core_times,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._allowed = allowed
        self._used_s = used_s
        self._cores = cores
        self._clock = clock
        self._chosen: int | None = None
        self._last: int | None = None
        # Where somebody else's code runs, and where the worker's own; None until a core is first chosen. The thread
        # that looks replaces them; the others only read them, and compare by identity.
        self._all: Cores = frozenset()
        self._own: Cores | None = None
        self._mine = _Mine()
        self._staying: set[int] = set()
        self._refused: OSError | None = None
        self._seen = _Seen(at=clock(), used_s=used_s())
        self._rests_until = 0.0

    @property
    def chosen(self) -> int | None:
        """The core of the moment; None while the kernel chooses."""
        return self._chosen

    # For the worker's threads

    def stay(self) -> None:
        """Have the calling thread, which lives as long as the worker and runs its own code now, keep to its core."""
        mine, own = self._mine, self._own
        mine.stays = True
        if mine.cores is not own and own is not None:
            self._staying.add(threading.current_thread().native_id or 0)
            self._bind(own)

    @contextlib.contextmanager
    def left(self) -> Iterator[None]:
        """Let the calling thread run wherever the process may: for somebody else's code. Not within itself."""
        if self._own is None:
            yield
            return
        # Also one that was told nothing yet: a thread has the cores of the one that started it.
        if self._mine.cores is not self._all:
            self._bind(self._all)
        try:
            yield
        finally:
            if self._mine.stays:
                self.stay()

    def _bind(self, cores: Cores) -> None:
        try:
            os.sched_setaffinity(0, cores)
            self._mine.cores = cores
        except OSError as error:  # a core was taken away, or a sandbox forbids it; nothing has changed
            self._refused = error

    # For the thread that looks

    def look(self) -> None:
        """See what the worker and its core do, and choose anew; to be called several times a second, by one thread.

        That thread never stays: what it may use is what the process may.
        """
        if self._place is None:
            return
        seen = _Seen(at=self._clock(), used_s=self._used_s())
        passed = seen.at - self._seen.at
        share = (seen.used_s - self._seen.used_s) / passed if passed > 0 else 0.0
        self._heed_allowed()
        if self._refused is not None:
            log.debug("a thread of this worker was not bound to its core: %s", self._refused)
            self._refused = None
            self._rest(seen)
        elif self._chosen is None:
            self._seen = seen
            if share >= BUSY and seen.at >= self._rests_until:
                self._choose_first(seen)
        elif passed >= LOOK_S:
            self._look_again(seen, share)

    def _heed_allowed(self) -> None:
        """See which cores the process may use: somebody may have changed that, or a core may have gone."""
        allowed = self._allowed()
        if allowed != self._all:
            self._all = allowed
            if self._own is not None and self._chosen not in allowed:
                self._let_go()

    def _choose_first(self, seen: _Seen) -> None:
        seen.cores = self._times() if len(self._all) > 1 else {}
        if len(seen.cores) > 1:
            if self._last is None or self._last not in seen.cores:
                order = spread(seen.cores)
                self._last = order[(self._place or 0) % len(order)]
            self._choose(self._last)

    def _look_again(self, seen: _Seen, share: float) -> None:
        before, self._seen = self._seen.cores, seen
        if share < QUIET:
            self._let_go()
            return
        seen.cores = self._times()
        used = shares(before, seen.cores)
        others = 0.0 if self._chosen not in used else used[self._chosen] - share
        if others < SHARED:
            return
        freer = [core for core, part in used.items() if part < others / 2]
        if freer:
            self._choose(random.choice(freer))  # noqa: S311 (spreads workers, protects nothing)
        elif others >= CROWDED:
            self._rest(seen)

    def _rest(self, seen: _Seen) -> None:
        self._seen, self._rests_until = seen, seen.at + REST_S
        self._let_go()

    def _choose(self, core: int) -> None:
        self._chosen = self._last = core
        self._own = frozenset({core})

    def _let_go(self) -> None:
        """The kernel chooses, also for threads that wait for something now: it wakes them wherever it is soonest.

        One that binds itself just then, by what it read before, keeps to that core until it works again.
        """
        self._chosen, self._own = None, self._all
        for thread in list(self._staying):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread, self._all)

    def _times(self) -> Times:
        """How much was used of the cores that may be used; of none if the system does not tell."""
        try:
            times = self._cores()
        except OSError:
            return {}
        return {core: times[core] for core in self._all if core in times}


def core_for(place: int | None, *, wanted: bool) -> OwnCore:
    """The core of the worker in this place; one that has none, or shall have none, is left to the kernel for ever."""
    return OwnCore(place if wanted and hasattr(os, "sched_setaffinity") else None)
