"""How soon the first atom of a job starts when there is nothing else to do.

Measured from before ``post`` is called to the atom's first instruction: posting itself is in it. Each job is posted a
random moment after the one before it has ended, so that no rhythm of the conductor can help.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.conductor import Conductor
from bench.place import Place
from bench.samples import percentile
from bench.stamps import StampPipe
from jobrunner.jobs.post import post
from jobrunner.model import Posting

WARM_UP = 20
PAUSE_S = (0.04, 0.1)
START_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from posting to the start of the first atom."""

    samples: list[float]

    @property
    def p50(self) -> float:
        return percentile(self.samples, 50)

    @property
    def p99(self) -> float:
        return percentile(self.samples, 99)


def idle_latency(place: Place, *, number: int, processes: int | None = 1) -> Latency:
    """Post jobs one after the other to an idle conductor."""
    with Conductor(place, processes=processes) as conductor, StampPipe(place.directory) as pipe:
        conductor.wait_ready()
        posting = Posting(type="bench_stamped", parameters={"stamps": str(pipe.path)})
        with place.context() as context:
            return measure(lambda: post(context, posting), pipe, number=number, pause=PAUSE_S)


def measure(
    post_one: Callable[[], object],
    pipe: StampPipe,
    *,
    number: int,
    pause: tuple[float, float],
    warm_up: int = WARM_UP,
) -> Latency:
    """Post ``number`` jobs that stamp to ``pipe``, after some for warming up."""
    samples = []
    for count in range(warm_up + number):
        time.sleep(random.uniform(*pause))
        posted_ns = time.monotonic_ns()
        post_one()
        started = pipe.next(START_S)
        if count >= warm_up:
            samples.append((started.at_ns - posted_ns) / 1e6)
    return Latency(samples=samples)
