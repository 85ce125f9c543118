"""Users who do not leave jobs alone: they suspend and resume, cancel, retry and delete them, and send them signals.

Each job has one of them, who does one thing after the other with it. Whatever is suspended is resumed in the end.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.chaos.case import Kind, Operation, Posted, Sent
from tests.chaos.machines import now_us
from tests.chaos.systems import LifeClient, Unavailable

log = logging.getLogger(__name__)

MEDDLERS = 2
EVERY_S = 0.25
"""From one operation of a meddler to the next, on average."""
LATEST = 25
"""So many of the last jobs, of whose end nobody knows, are those that are suspended and cancelled."""
OPERATIONS = {"suspend": 12, "cancel": 2, "retry": 5, "delete": 4}
HELD_S = (0.05, 3.0)
LATE_S = 2.5
TWICE = 0.3
"""Of the signals so many are sent once more, under the same key."""
AGAIN_S = 0.2
STOP_S = 40.0
SIGNAL = "go"


@dataclass(frozen=True, kw_only=True)
class _Due:
    """What is to be done to a job at a time."""

    what: str
    job: str
    token: str = ""


class Meddlers:
    """All of them, in threads of their own.

    :param make_client: a client for one thread
    :param look_back: the jobs that were acknowledged so far, and how those ended of which somebody was told
    :param touches: whether they do anything but send the signals that jobs need
    """

    def __init__(
        self,
        make_client: Callable[[], LifeClient],
        look_back: Callable[[], tuple[Mapping[str, Posted], Mapping[str, str]]],
        *,
        seed: int,
        touches: bool,
    ) -> None:
        self._make_client = make_client
        self._look_back = look_back
        self._seed = seed
        self._touches = touches
        self._stuck: list[deque[str]] = [deque() for _ in range(MEDDLERS)]
        self._stopping = threading.Event()
        self._calm = threading.Event()
        self._threads: list[threading.Thread] = []
        self._idle: set[int] = set()
        self.operations: list[Operation] = []
        self.sent: list[Sent] = []

    def start(self) -> None:
        for number in range(MEDDLERS):
            thread = threading.Thread(target=self._meddle, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def calm_down(self) -> None:
        """Begin nothing new: only send the signals that are still to be sent, and resume what was suspended."""
        self._calm.set()

    def resume(self, jobs: Iterable[str]) -> None:
        """Resume these, too: a word to suspend them came through after its sender had given up."""
        for job in jobs:
            self._stuck[_whose(job)].append(job)

    def have_done(self) -> bool:
        """Whether everything is sent, and resumed."""
        return self._calm.is_set() and len(self._idle) == len(self._threads)

    def stop(self) -> None:
        """Stopping twice is fine."""
        self._stopping.set()
        deadline = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    # A thread

    def _meddle(self, number: int) -> None:
        rng = random.Random(f"{self._seed} meddler {number}")
        client = self._make_client()
        due: list[tuple[float, int, _Due]] = []
        ticket = itertools.count()
        known: set[str] = set()
        touch_at = time.monotonic()

        def plan(seconds: float, what: _Due) -> None:
            heapq.heappush(due, (time.monotonic() + seconds, next(ticket), what))

        while not self._stopping.is_set():
            posted, ended = self._look_back()
            mine = {job: one for job, one in posted.items() if _whose(job) == number}
            while self._stuck[number]:
                plan(0.0, _Due(what="resume", job=self._stuck[number].popleft()))
            for job in [job for job in mine if job not in known]:
                known.add(job)
                for what in _signals(rng, mine[job].kind):
                    plan(rng.uniform(0, LATE_S), _Due(what="signal", job=job, token=f"{job} {what}"))
            now = time.monotonic()
            if due and due[0][0] <= now:
                _, _, what = heapq.heappop(due)
                if not self._do(client, what):
                    plan(AGAIN_S, what)
            elif touch_at <= now and self._touches and not self._calm.is_set():
                touch_at = now + rng.expovariate(1 / EVERY_S)
                drawn = self._draw(rng, list(mine.values()), ended)
                if drawn is not None and self._do(client, drawn) and drawn.what == "suspend":
                    plan(rng.uniform(*HELD_S), _Due(what="resume", job=drawn.job))
                elif drawn is not None and drawn.what == "suspend":
                    plan(AGAIN_S, _Due(what="resume", job=drawn.job))
            else:
                (self._idle.discard if due else self._idle.add)(number)
                self._stopping.wait(0.02)
        client.close()

    def _draw(self, rng: random.Random, mine: list[Posted], ended: Mapping[str, str]) -> _Due | None:
        free = [one for one in mine if not (one.kind.poison or one.kind.victim)]
        (what,) = rng.choices(list(OPERATIONS), list(OPERATIONS.values()))
        has_ended = what in ("retry", "delete")
        free = [one for one in free if (one.job in ended) is has_ended]
        if not has_ended:
            free = free[-LATEST:]
        if what == "retry":  # one that takes signals would need more of them
            free = [one for one in free if not one.kind.signals and ended[one.job] != "SUCCEEDED"]
        return _Due(what=what, job=rng.choice(free).job) if free else None

    def _do(self, client: LifeClient, due: _Due) -> bool:
        """Whether it was done, or refused; not if nobody knows."""
        if due.what == "signal":
            return self._signal(client, due)
        began_us = now_us()
        try:
            done: bool | None = client.operate(due.what, due.job)
        except Unavailable:
            done = None
        self.operations.append(
            Operation(job=due.job, what=due.what, began_us=began_us, at_us=now_us(), done=done)
        )
        return done is not None

    def _signal(self, client: LifeClient, due: _Due) -> bool:
        try:
            taken = client.signal(due.job, SIGNAL, due.token)
        except Unavailable:
            return False
        if taken:
            self.sent.append(Sent(job=due.job, token=due.token))
        return True


def _whose(job: str) -> int:
    return zlib.crc32(job.encode()) % MEDDLERS


def _signals(rng: random.Random, kind: Kind) -> list[str]:
    """The signals of a job, some of them twice; and sometimes one that nobody takes."""
    names = [str(number) for number in range(kind.signals)]
    if names and rng.random() < TWICE:
        names.append("more")
    return [*names, *(name for name in names if rng.random() < TWICE)]
