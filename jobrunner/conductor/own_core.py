"""A busy worker keeps its own threads on one processor core.

Only one thread of a worker can use the interpreter at a time, but the kernel wakes each of them on whatever core is
idle, where nothing of what they share is in the cache; measured on four cores, a one-atom job so costs a third more
processor time (docs/decisions/0017-one-core-a-worker.md). So the threads that claim, run engines and write the journal
stay on one core while there is much to do. What is somebody else's (a flow's factory, an atom's execute or revert, and
all threads and processes that they start) runs wherever the kernel puts it.

It is advice: a worker that has little to do is left to the kernel, which then wakes it soonest, and so is one whose
core others want while none is freer. Where the system has no such call, nothing happens.

Costs two system calls an atom, about 2 us, and while busy one look at ``/proc/stat`` a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

BUSY = 0.25
"""A worker that uses so much of a core takes one."""
QUIET = 0.08
"""One that uses less gives it back."""
LOOK_S = 1.0
"""How often it is compared with others: the kernel counts in hundredths of a second."""
SHARED = 0.25
"""If others use so much of its core, it takes another that has ROOM."""
ROOM = 0.5
CROWDED = 0.6
"""If others use so much of it, and none has room, the kernel shall choose for REST_S."""
REST_S = 10.0

Times = Mapping[int, tuple[float, float]]
"""Of each core, the seconds that it was in use, and all of them, since the machine started."""


def core_times() -> Times:
    """How much of each core was used; raises OSError where the system does not tell. See proc_stat(5)."""
    found = {}
    with open("/proc/stat", encoding="ascii") as lines:
        for line in lines:
            name, *rest = line.split()
            if name.startswith("cpu") and name != "cpu":
                ticks = [int(value) for value in rest[:8]]  # guests' time is in their hosts' already
                idle = ticks[3] + ticks[4]
                found[int(name[3:])] = (float(sum(ticks) - idle), float(sum(ticks)))
    return found


@dataclass(kw_only=True)
class _Seen:
    """What was seen at a moment."""

    at: float
    used_s: float
    cores: Times = field(default_factory=dict)


class OwnCore:
    """The core of one worker.

    :param number: the worker's place in its conductor: workers side by side start on different cores
    :param allowed: the cores on which the process may run; with fewer than two nothing is done
    """

    def __init__(
        self,
        number: int,
        allowed: frozenset[int],
        *,
        used_s: Callable[[], float] = time.process_time,
        cores: Callable[[], Times] = core_times,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._first = sorted(allowed)[number % len(allowed)] if len(allowed) > 1 else None
        self._used_s = used_s
        self._cores = cores
        self._clock = clock
        self._chosen: int | None = None
        self._binds = False
        self._mine = threading.local()
        self._seen = _Seen(at=clock(), used_s=used_s())
        self._rests_until = 0.0

    @property
    def chosen(self) -> int | None:
        """The core of the moment; None while the kernel chooses."""
        return self._chosen

    def stay(self) -> None:
        """Have the calling thread, which runs nobody else's code now, keep to the core of the moment."""
        chosen = self._chosen
        if getattr(self._mine, "core", None) != chosen:
            self._bind(chosen)

    @contextlib.contextmanager
    def left(self) -> Iterator[None]:
        """Let the calling thread run wherever it may: for somebody else's code."""
        if not self._binds or getattr(self._mine, "core", -1) is None:
            yield
            return
        self._bind(None)  # also a thread that never was here: it has the cores of whoever started it
        try:
            yield
        finally:
            self.stay()

    def _bind(self, core: int | None) -> None:
        try:
            os.sched_setaffinity(0, self._allowed if core is None else (core,))
            self._mine.core = core
        except OSError as error:  # a core was taken away, or a sandbox forbids it
            log.debug("a thread cannot be bound to core %s: %s", core, error)
            self._first = self._chosen = self._mine.core = None

    def look(self) -> None:
        """See what the worker and its core do, and choose anew; to be called several times a second, by one thread."""
        if self._first is None:
            return
        now, used_s = self._clock(), self._used_s()
        passed = now - self._seen.at
        share = (used_s - self._seen.used_s) / passed if passed else 0.0
        if self._chosen is None:
            self._seen = _Seen(at=now, used_s=used_s)
            if share >= BUSY and now >= self._rests_until:
                self._seen.cores = self._cores_now()
                self._binds, self._chosen = True, self._first
        elif passed >= LOOK_S:
            self._look_again(_Seen(at=now, used_s=used_s, cores=self._cores_now()), share)

    def _look_again(self, seen: _Seen, share: float) -> None:
        used = _shares(self._seen.cores, seen.cores)
        self._seen = seen
        if share < QUIET:
            self._chosen = None
            return
        assert self._chosen is not None
        others = used.get(self._chosen, 1.0) - share
        if others < SHARED:
            return
        free = [core for core, share in used.items() if core in self._allowed and share <= 1 - ROOM]
        if free:
            self._chosen = self._first = random.choice(free)  # noqa: S311 (spreads workers, protects nothing)
        elif others >= CROWDED:
            self._chosen = None
            self._rests_until = seen.at + REST_S

    def _cores_now(self) -> Times:
        try:
            return self._cores()
        except OSError:
            self._first = self._chosen = None
            return {}


def _shares(before: Times, now: Times) -> dict[int, float]:
    """How much of each core was used between two looks, from 0 to 1."""
    shares = {}
    for core, (used, total) in now.items():
        used_before, total_before = before.get(core, (used, total))
        if total > total_before:
            shares[core] = (used - used_before) / (total - total_before)
    return shares


def core_for(number: int | None, *, wanted: bool) -> OwnCore:
    """The core of the worker in this place; one that has none is left to the kernel for ever."""
    known = wanted and number is not None and hasattr(os, "sched_setaffinity")
    return OwnCore(number or 0, frozenset(os.sched_getaffinity(0) if known else ()))
