"""What ``show`` shows: the open jobs, those that ended of late, and the atoms of those under way, at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobrunner import times
from jobrunner.cli.records import atom_record, job_record
from jobrunner.errors import StoreUnavailable
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.model import TERMINAL_STATES, AtomRecord, Job, JobState

UNDER_WAY = (JobState.RUNNING, JobState.SUSPENDED)
IN_LINE = (JobState.WAITING, JobState.SCHEDULED, JobState.BLOCKED)
OPEN_LIMIT = 100
"""Jobs under way, and jobs in line, that are read; no terminal shows more."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The jobs at one moment. ``away_since_ms`` is set while the database does not answer; the rest is then older."""

    at_ms: int = 0
    where: str = ""
    counts: Mapping[JobState, int] = field(default_factory=dict)
    under_way: Sequence[Job] = ()
    in_line: Sequence[Job] = ()
    ended: Sequence[Job] = ()
    atoms: Mapping[str, Sequence[AtomRecord]] = field(default_factory=dict)
    nodes: int | None = None
    problems: Sequence[str] = ()
    away: str | None = None
    away_since_ms: int | None = None

    @property
    def jobs(self) -> list[Job]:
        return [*self.under_way, *self.in_line, *self.ended]

    def to_json(self) -> dict[str, Any]:
        return {
            "at_ms": self.at_ms,
            "counts": {state.value: number for state, number in self.counts.items()},
            "jobs": [
                job_record(job) | {"atoms": [atom_record(atom) for atom in self.atoms.get(job.id, ())]}
                for job in self.jobs
            ],
            "problems": list(self.problems),
        }


class Watcher:
    """Takes snapshots, and remembers between them which jobs were open, so that none ends unseen.

    :param ids: the only jobs to watch, with their atoms also after their end; all jobs if empty
    :param ended: how many of the jobs that ended are shown
    :param attempt: show ``ids`` as they were when this attempt of theirs ended
    """

    def __init__(
        self, context: JobContext, *, ids: Sequence[str] = (), ended: int = 10, attempt: int | None = None
    ) -> None:
        self._context = context
        self._ids = list(ids)
        self._attempt = attempt
        self._ended = ended
        self._open: set[str] = set()
        self._seen_ended: dict[str, Job] = {}
        self._last = Snapshot(where=context.database.name, at_ms=times.now_ms())

    def look(self) -> Snapshot:
        """The jobs now; while the database is away the last that was known, saying so."""
        try:
            self._last = self._some() if self._ids else self._all()
        except StoreUnavailable as error:
            since = self._last.away_since_ms or times.now_ms()
            self._last = replace(self._last, away=error.message, away_since_ms=since)
        return self._last

    def _all(self) -> Snapshot:
        under_way, problems = self._page(UNDER_WAY, OPEN_LIMIT)
        in_line, more_problems = self._page(IN_LINE, OPEN_LIMIT)
        ended, yet_more = self._page(tuple(TERMINAL_STATES), self._ended) if self._ended else ([], [])
        open_ids = {job.id for job in (*under_way, *in_line)}
        self._remember(open_ids)
        recent = {job.id: job for job in (*ended, *self._seen_ended.values()) if job.id not in open_ids}
        newest = sorted(recent.values(), key=lambda job: job.finished_ms or 0, reverse=True)[: self._ended]
        self._seen_ended = {job.id: job for job in newest}
        return self._snapshot(
            under_way, in_line, newest, look.counts(self._context), [*problems, *more_problems, *yet_more]
        )

    def _some(self) -> Snapshot:
        found = list(self._context.store.get_many(self._ids).values())
        if self._attempt is not None:
            found = [look.at_attempt(self._context, job, self._attempt) for job in found]
        counts: dict[JobState, int] = {}
        for job in found:
            counts[job.state] = counts.get(job.state, 0) + 1
        under_way = [job for job in found if job.state in UNDER_WAY]
        in_line = [job for job in found if job.state in IN_LINE]
        ended = sorted(
            (job for job in found if job.state.is_terminal),
            key=lambda job: job.finished_ms or 0,
            reverse=True,
        )
        return self._snapshot(under_way, in_line, ended, counts, [])

    def _page(self, states: Sequence[JobState], limit: int) -> tuple[list[Job], list[str]]:
        jobs, _, broken = look.page(self._context, look.JobFilter(states=states), limit=limit)
        return jobs, [error.message for error in broken]

    def _remember(self, open_ids: set[str]) -> None:
        """Read the jobs that were open at the last look and are not any more."""
        gone = [job_id for job_id in self._open if job_id not in open_ids]
        for job in self._context.store.get_many(gone).values():
            if job.state.is_terminal:
                self._seen_ended[job.id] = job
        self._open = open_ids

    def _snapshot(
        self,
        under_way: Sequence[Job],
        in_line: Sequence[Job],
        ended: Sequence[Job],
        counts: Mapping[JobState, int],
        problems: Sequence[str],
    ) -> Snapshot:
        with_atoms = [*under_way, *(ended if self._ids else ()), *(job for job in in_line if job.started_ms)]
        return Snapshot(
            at_ms=times.now_ms(),
            where=self._context.database.name,
            counts=counts,
            under_way=sorted(under_way, key=lambda job: (job.started_ms or 0, job.seq)),
            in_line=sorted(
                in_line,
                key=lambda job: (job.state is JobState.SCHEDULED, max(job.available_ms, job.created_ms)),
            ),
            ended=ended,
            atoms=look.atoms(self._context, with_atoms) if with_atoms else {},
            nodes=_living(self._context),
            problems=problems,
        )


def _living(context: JobContext) -> int:
    now = times.now_ms()
    return sum(node.is_alive(now) for node in look.nodes_known(context))
