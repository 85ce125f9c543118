"""Where single jobs go, and how soon they start, while one node is busy and another idle.

The busy node's places are half filled with jobs that wait, pinned to it. So it could take each of the jobs that are
posted then, and would take every second of them, if nodes did not let freer ones go first.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from bench.conductor import Conductor, ConductorFailed
from bench.ours.latency import PAUSE_S, WARM_UP, Latency, measure
from bench.place import Place
from bench.stamps import Stamp, StampFile, StampPipe
from jobrunner.config import Config
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.post import post, post_many
from jobrunner.model import Posting

BUSY = 0.5
"""The part of the busy node's places that is taken."""
REPORT_WAIT_S = 30.0
SETTLE_S = 5.0
"""By then each node has looked at the other's report again."""
START_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Placing:
    """How many single jobs went to the idle node, and how soon all of them started."""

    to_idle: int
    of: int
    latency: Latency


def placing(place: Place, *, number: int, give_way: float | None = None) -> Placing:
    """Post jobs one after the other while one of two conductors is busy.

    :param give_way: seconds for which the busy one lets the other go first at most; None for jobrunner's default
    """
    settings = {} if give_way is None else {"JOBRUNNER_CONDUCTOR__GIVE_WAY": f"{give_way:g}"}
    with (
        Conductor(place, processes=1, settings=settings) as busy,
        Conductor(place, processes=1, settings=settings) as idle,
        place.context() as context,
        _Load(place, context, busy) as load,
        _SharedPipe(place) as pipe,
    ):
        idle.wait_ready()
        load.wait_known(idle)
        posting = Posting(type="bench_stamped", parameters={"stamps": str(pipe.path)})
        latency = measure(lambda: post(context, posting), pipe, number=number, pause=PAUSE_S)
        pids = {worker.pid for worker in idle.workers()}
        return Placing(to_idle=sum(pid in pids for pid in pipe.pids[WARM_UP:]), of=number, latency=latency)


class _SharedPipe(StampPipe):
    """A pipe that remembers who stamped."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.directory)
        self.pids: list[int] = []

    def next(self, timeout: float) -> Stamp:
        stamp = super().next(timeout)
        self.pids.append(stamp.pid)
        return stamp


@dataclass
class _Load:
    """Jobs that take a part of a node's places, until it is left."""

    place: Place
    context: JobContext
    busy: Conductor
    ids: list[str] = field(default_factory=list)

    def __enter__(self) -> _Load:
        self.busy.wait_ready()
        number = round(BUSY * Config().conductor.jobs)
        self._release = self.place.directory / f"release-{time.monotonic_ns()}"
        stamps = StampFile(self.place.directory)
        parameters = {"stamps": str(stamps.path), "until": str(self._release)}
        held = Posting(type="bench_hold", parameters=parameters, node=self.busy.name)
        self.ids = [posted.job_id for posted in post_many(self.context, [held] * number)]
        stamps.wait_for(number, START_S, self.busy.require_alive)
        return self

    def __exit__(self, *_: object) -> None:
        self._release.touch()
        look.wait(self.context, self.ids, timeout=START_S)

    def wait_known(self, idle: Conductor) -> None:
        """Return once both nodes' reports tell the one's load and the other's idleness."""
        deadline = time.monotonic() + REPORT_WAIT_S
        while not self._is_known(idle):
            if time.monotonic() > deadline:
                raise ConductorFailed(self.busy.with_log("did not report its load"))
            time.sleep(0.1)
        time.sleep(SETTLE_S)

    def _is_known(self, idle: Conductor) -> bool:
        running = Counter(
            {node.name: node.report.get("running", 0) for node in look.nodes_known(self.context)}
        )
        return running[self.busy.name] == len(self.ids) and idle.name in running
