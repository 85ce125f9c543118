"""A conductor reports its node: what runs there, how free it is; and learns how free the others are.

Costs a look at the machine every two seconds, and a query when there is news of it, or every four seconds at least; one
more, for the freest other node, with each report and as long as there is such a node.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jobrunner import __version__, times
from jobrunner.conductor.availability import Gauge, Taken, reluctance
from jobrunner.conductor.supervisor.node import node_report
from jobrunner.persistence.nodes import freest_other, report_node
from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

REPORT_S = 2.0
QUIET_REPORT_S = 4.0
"""A node that does nothing reports less often; others count it as gone, or its name as free, after more than that."""
FREE_CHANGE = 0.1
"""A node that became so much freer, or less free, reports at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What the supervisor knows of its workers now."""

    processes: int
    slots: int
    running: int
    ended: int
    types: list[str]
    isolated: int = 0
    """Jobs in processes of their own; what follows is theirs, all together."""
    isolated_percent: float = 0.0
    isolated_memory: int = 0
    used_s: float = field(default=0.0, compare=False)
    """Seconds of processors that the workers have used; what changes all the time is no news."""


class Reporter:
    """Reports one node, for one thread.

    :param figures: what there is to report
    :param give_way: is told how reluctantly to claim, each time when that is known anew; None: nobody asks
    """

    def __init__(
        self,
        database: Database,
        *,
        node: str,
        identity: str,
        figures: Callable[[], Figures],
        give_way: Callable[[float], None] | None,
        labels: Sequence[str],
    ) -> None:
        self._database = database
        self._node = node
        self._identity = identity
        self._figures = figures
        self._give_way = give_way
        self._labels = labels
        self._gauge = Gauge()
        self._reluctance = 0.0
        self._freest_other: float | None = None
        self._started_ms = times.now_ms()
        self._reported: tuple[Figures, float, float] | None = None
        self._reported_at = 0.0
        self._others: dict[str, tuple[int, float]] = {}

    def look(self) -> None:
        """Report if there is news, or nothing was said for long; raises StoreUnavailable."""
        figures = self._figures()
        taken = self._gauge.look(running=figures.running, slots=figures.slots, used_s=figures.used_s)
        told = (figures, taken.free, self._reluctance)
        if self._is_news(told) or time.monotonic() - self._reported_at >= QUIET_REPORT_S - REPORT_S / 2:
            self._report(figures, taken)
            self._reported, self._reported_at = told, time.monotonic()
        elif self._freest_other is None:
            return
        self._compare(taken.free)

    def _is_news(self, told: tuple[Figures, float, float]) -> bool:
        """Whether a report would tell something else than the last one, or how free the node is rather differently."""
        if self._reported is None or told[0] != self._reported[0]:
            return True
        return any(
            abs(new - old) > FREE_CHANGE for new, old in zip(told[1:], self._reported[1:], strict=True)
        )

    def _compare(self, free: float) -> None:
        """Give way to other nodes as far as they are freer; while there is none, that is asked with reports only."""
        if self._give_way is not None:
            self._freest_other = freest_other(self._database, self._node)
            self._reluctance = reluctance(free, self._freest_other)
            self._give_way(self._reluctance)

    def _report(self, figures: Figures, taken: Taken) -> None:
        report = node_report(
            processes=figures.processes,
            slots=figures.slots,
            running=figures.running,
            ended=figures.ended,
            types=figures.types,
            isolated={
                "running": figures.isolated,
                "percent": figures.isolated_percent,
                "memory": figures.isolated_memory,
            },
            version=__version__,
            rivals=self._rivals(),
            taken=taken,
            gives_way=self._reluctance,
            labels=self._labels,
        )
        other = report_node(
            self._database,
            self._node,
            self._identity,
            started_ms=self._started_ms,
            report=report,
            free=taken.free,
        )
        if other is not None:
            self._seen(other)

    def _seen(self, other: str) -> None:
        """Another conductor reported under this name. Once may be what a dead one left; twice, and it lives."""
        times_seen = self._others.get(other, (0, 0.0))[0] + 1
        self._others[other] = (times_seen, time.monotonic())
        if times_seen == 2:
            log.warning(
                "another conductor runs under the node name %s: %s. Give each its own (conductor.name, or --name).",
                self._node,
                other,
            )

    def _rivals(self) -> list[str]:
        """Other living conductors that report under this node's name."""
        recently = time.monotonic() - 3 * QUIET_REPORT_S
        return [other for other, (number, seen) in self._others.items() if number > 1 and seen > recently]
