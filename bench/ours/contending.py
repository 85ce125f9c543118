"""How many jobs hold a semaphore at once when many contend for it, and for how long it stands idle meanwhile.

By what the jobs themselves wrote to a file. A pause begins with the last instruction of a job's atom and ends with the
first of the next one's: settling the one, passing the semaphore on, claiming and beginning the other are all in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.conductor import Conductor
from bench.place import Place
from bench.samples import percentile
from jobrunner.jobs import limits, look
from jobrunner.jobs.post import post_many
from jobrunner.model import Posting
from jobrunner.policies import Hold, Policies

NAME = "bench"
WITHIN_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Contended:
    """``pauses`` are milliseconds for which a unit was free although somebody waited for it."""

    most: int
    pauses: list[float]

    @property
    def p99(self) -> float:
        return percentile(self.pauses, 99)


def contend(place: Place, *, number: int, count: int, processes: int) -> Contended:
    """Let ``number`` jobs contend for a semaphore with ``count`` units."""
    warming = Posting(type="bench_busy", parameters={"stamps": str(place.directory / "warming")})
    stamps = place.directory / "contending"
    holding = replace(
        warming, parameters={"stamps": str(stamps)}, policies=Policies(holds=(Hold(name=NAME),))
    )
    with Conductor(place, processes=processes) as conductor, place.context() as context:
        conductor.wait_ready()
        limits.set_limit(context, NAME, count=count)
        warm = post_many(context, [warming] * (8 * processes))
        look.wait(context, [posted.job_id for posted in warm], timeout=WITHIN_S)
        jobs = post_many(context, [holding] * number)
        look.wait(context, [posted.job_id for posted in jobs], timeout=WITHIN_S)
    return _contended(stamps.read_text().splitlines(), count)


def _contended(lines: list[str], count: int) -> Contended:
    words = [line.split() for line in lines]
    starts = sorted(int(at) for label, at, _ in words if label == "start")
    ends = sorted(int(at) for label, at, _ in words if label == "end")
    running = most = 0
    for _, step in sorted([(at, 1) for at in starts] + [(at, -1) for at in ends]):
        running += step
        most = max(most, running)
    # The n-th end lets the n-th of those in who had to wait.
    pauses = [(start - end) / 1e6 for end, start in zip(ends[:-count], starts[count:], strict=True)]
    return Contended(most=most, pauses=pauses)
