"""All crash points of a shape: run, struck, compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.chaos.crash_points import checks, evidence, owner, record
from tests.chaos.crash_points.checks import Death
from tests.chaos.crash_points.evidence import Line
from tests.chaos.crash_points.faults import EagerWriter, Fault, How
from tests.chaos.crash_points.owner import Life, Stage, Workings
from tests.chaos.crash_points.record import Record
from tests.chaos.crash_points.shapes import Shape

POSTED_AT_ONCE = 64
MAX_WRITES = 200
"""A shape with more writes than this never ends."""
SECOND_FAULTS = (
    Fault(write=1, how=How.AFTER),  # it owns the job, and dies before it read anything
    Fault(write=2, how=How.BEFORE),  # it has run up to its first barrier
    Fault(write=2, how=How.AFTER),  # what it goes on with has begun, by the record
)
"""Where an owner is killed that goes on after another was killed."""


@dataclass
class Report:
    """What was found out about a shape."""

    shape: str
    writes: int = 0
    """Of the run without a fault."""
    runs: int = 0
    kills: int = 0
    lost_answers: int = 0
    repeated: int = 0
    """Things that atoms did once more though they were recorded as done."""
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One job, from its first owner to its end."""

    lives: Sequence[Life]
    lines: Sequence[Line]
    record: Record
    left: dict[str, Any]
    """Its end, less what no two runs have in common."""
    repeated: list[str]
    wrong: list[str]


class CrashPoints:
    """The crash points of one shape on one database that has its tables.

    :param workings: of the owners of jobs with faults; the run without a fault is always the real one
    """

    def __init__(self, url: str, shape: Shape, directory: Path, workings: Workings) -> None:
        self._url = url
        self._shape = shape
        self._directory = directory
        self._workings = workings
        self._posted: list[list[str]] = []

    def report(self) -> Report:
        """Every write, struck in each way."""
        return self._report(self._workings, self._all_faults)

    def report_changes(self) -> Report:
        """Every change, written by itself, and then a kill: whatever the journal may hold while nobody waits for it."""
        return self._report(replace(self._workings, make_writer=EagerWriter), self._kill_after_each)

    def _report(self, workings: Workings, all_faults: Callable[[Report], Iterator[list[Fault]]]) -> Report:
        report = Report(shape=self._shape.name)
        plain = self._run([], Workings())
        writes = plain.lives[0].writes
        report.differences += checks.as_meant(self._shape, plain.record, plain.lines, writes)
        self._add(report, plain, [], plain)
        unharmed = self._run([], workings)
        report.writes = unharmed.lives[0].writes
        self._add(report, plain, [], unharmed)
        for faults in all_faults(report):
            self._add(report, plain, faults, self._run(faults, workings))
        return report

    def _all_faults(self, report: Report) -> Iterator[list[Fault]]:
        """One fault at every write that there is, in each way; and two kills in a row, each pair of them in turn."""
        pairs = itertools.cycle(itertools.product((How.BEFORE, How.AFTER), SECOND_FAULTS))
        for write in self._each_write(report):
            yield from ([Fault(write=write, how=how)] for how in How)
            how, second = next(pairs)
            yield [Fault(write=write, how=how), second]

    def _kill_after_each(self, report: Report) -> Iterator[list[Fault]]:
        for write in self._each_write(report):
            yield [Fault(write=write, how=How.AFTER)]

    def _each_write(self, report: Report) -> Iterator[int]:
        """Number after number, until there was no write of that number any more."""
        for write in range(1, MAX_WRITES):
            runs = report.runs
            yield write
            if write > report.writes and report.runs == runs:
                return
        raise AssertionError(f"more than {MAX_WRITES} writes")

    def _add(self, report: Report, plain: Run, faults: list[Fault], run: Run) -> None:
        struck = sum(life.struck for life in run.lives)
        if faults and not struck:
            return
        kills = sum(life.died for life in run.lives)
        report.runs += bool(faults)
        report.kills += kills
        report.lost_answers += struck - kills
        report.repeated += len(run.repeated)
        wrong = [*run.wrong, *run.repeated, *checks.differences(plain.left, run.left)]
        where = ", then ".join(map(str, faults)) or "without a fault"
        report.differences += [f"{where}: {what}" for what in dict.fromkeys(wrong)]

    def _run(self, faults: Sequence[Fault], workings: Workings) -> Run:
        """Post a job and let owner after owner have it, each with its fault, until one of them lives."""
        stage = self._stage(workings)
        lives: list[Life] = []
        deaths: list[Death] = []
        for number, fault in enumerate([*faults, None], start=1):
            lives.append(stage.own(number, fault))
            lines, recorded = evidence.read(stage.evidence), record.read(self._url, stage.job_ids)
            if not lives[-1].died:
                break
            deaths.append(Death(pid=lives[-1].pid, lines=lines, record=recorded))
        return Run(
            lives=lives,
            lines=lines,
            record=recorded,
            left=checks.end_of(stage.job_ids, recorded, lines),
            repeated=checks.repeated(deaths, lines),
            wrong=[
                *(what for death in deaths for what in checks.at_death(death)),
                *checks.too_often(deaths, lines),
                *([] if lives[-1].finished else ["the last owner leaves the job as one that has not ended"]),
            ],
        )

    def _stage(self, workings: Workings) -> Stage:
        if not self._posted:
            self._posted = owner.post(self._url, self._shape, POSTED_AT_ONCE, self._directory)
        return Stage(
            url=self._url,
            shape=self._shape,
            job_ids=self._posted.pop(),
            directory=self._directory,
            workings=workings,
        )
