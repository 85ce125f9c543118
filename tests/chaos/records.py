"""A case put in order: by job, attempt and atom. What the checks read."""

from __future__ import annotations

import bisect
import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from jobrunner.model import JobState, flow_id
from tests.chaos.case import Case, Line, Operation
from tests.chaos.history import Change
from tests.chaos.machines import Death

TERMINAL = frozenset(state.value for state in JobState if state.is_terminal)
TASK = "TASK_DETAIL"


def named_deaths(deaths: Iterable[Death], evidence: Sequence[Line]) -> list[Death]:
    """The deaths, those of workers that were alone by who they were; without those that had not begun anything."""
    found: list[Death] = []
    for death in deaths:
        if death.pid is None:
            found.append(death)
            continue
        lines = [line for line in evidence if line.pid == death.pid and line.wall_us <= death.at_us]
        if lines and death.killed(lines[-1].owner):
            found.append(replace(death, owner=lines[-1].owner))
    return found


class Records:
    """The case of a run, without the jobs whose rows the harness corrupted: those answer for nothing."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.jobs: dict[str, list[Change]] = defaultdict(list)
        self.atoms: dict[tuple[str, int], list[Change]] = defaultdict(list)
        self.lines: dict[str, list[Line]] = defaultdict(list)
        self.removed = {one.job for one in case.operations if one.what == "delete" and one.done is not False}
        """Jobs that users removed, or may have: their rows are gone with them."""
        self._operations: dict[str, list[Operation]] = defaultdict(list)
        for operation in case.operations:
            if operation.done is not False:
                self._operations[operation.job].append(operation)
        self._attempts = {(job, attempt): state for job, attempt, state in case.kept.attempts}
        attempts: dict[str, tuple[str, int]] = {}
        for change in case.history:
            whose = attempts.get(change.parent or "", (change.row, 0))[0]
            if change.op == "D" and whose in self.removed:
                continue
            if change.table == "jobs" and change.row not in case.harms:
                self.jobs[change.row].append(change)
                if change.attempt is not None:
                    attempts.setdefault(flow_id(change.row, change.attempt), (change.row, change.attempt))
            elif change.table == "atomdetails" and change.parent in attempts:
                self.atoms[attempts[change.parent]].append(change)
        for line in case.evidence:
            if line.job not in case.harms:
                self.lines[line.job].append(line)

    def operations_on(self, job: str) -> list[Operation]:
        """What users did to a job, or may have done."""
        return self._operations.get(job, [])

    def is_touched(self, job: str, *whats: str) -> bool:
        """Whether a user did one of these to a job, or may have."""
        return any(one.what in whats for one in self.operations_on(job))

    def by_atom(self, job: str, attempt: int) -> dict[str, list[Change]]:
        """The changes of each atom of an attempt, in order."""
        found: dict[str, list[Change]] = defaultdict(list)
        for change in self.atoms.get((job, attempt), ()):
            found[change.name or ""].append(change)
        return found

    def end_of(self, job: str) -> str | None:
        """The job's last state; None if it has no row."""
        changes = self.jobs.get(job)
        return changes[-1].state if changes and changes[-1].op != "D" else None

    def end_of_attempt(self, job: str, attempt: int) -> str | None:
        """How an attempt ended; None if nobody tells."""
        changes = self.jobs.get(job)
        if changes and changes[-1].attempt == attempt:
            return self.end_of(job)
        return self._attempts.get((job, attempt))

    def undone_us(self, job: str) -> int:
        """When the first user asked that a job that had ended be run again, or removed."""
        found = (one.began_us for one in self.operations_on(job) if one.what in ("retry", "delete"))
        return min(found, default=2**62)

    def epoch_at(self, job: str, seq: int) -> int | None:
        """The job's epoch when a later change was numbered."""
        seqs, changes = self._by_seq(job)
        place = bisect.bisect_left(seqs, seq)
        return changes[place - 1].epoch if place else None

    def epoch_when(self, job: str, at_us: int) -> int | None:
        """The job's epoch at a moment, as far as statements had run."""
        before = [change.epoch for change in self.jobs.get(job, ()) if change.at_us <= at_us]
        return before[-1] if before else None

    def ended_by(self, job: str, at_us: int) -> bool:
        """Whether the job's end was written by then."""
        before = [change.state for change in self.jobs.get(job, ()) if change.at_us <= at_us]
        return bool(before) and before[-1] in TERMINAL

    def is_former(self, line: Line) -> bool:
        """Whether another owner had begun the job between this one's first line and this line; by evidence alone."""
        firsts = self._first_lines(line.job)
        began = firsts[line.owner]
        return any(began < other < line.at for owner, other in firsts.items() if owner != line.owner)

    @functools.cache  # noqa: B019 - lives as long as the check
    def _first_lines(self, job: str) -> dict[str, float]:
        firsts: dict[str, float] = {}
        for line in self.lines.get(job, ()):
            firsts.setdefault(line.owner, line.at)
        return firsts

    def claims(self, job: str, attempt: int) -> list[Change]:
        """The changes by which an owner took the job in an attempt, in order."""
        return [
            now
            for now, before in zip(self.jobs[job][1:], self.jobs[job], strict=False)
            if now.attempt == attempt
            and now.state == "RUNNING"
            and now.epoch is not None
            and before.epoch is not None
            and now.epoch > before.epoch
        ]

    def superseded(self, owner: str, at_us: int) -> bool:
        """Whether another worker had taken work in this one's place by then: so it was dead already."""
        firsts = self._first_claims
        mine = firsts.get(owner, 0)
        return any(
            mine < other_us < at_us
            for other, other_us in firsts.items()
            if other != owner and _place(other) == _place(owner) and not _place(owner).endswith("/alone")
        )

    @functools.cached_property
    def _first_claims(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for changes in self.jobs.values():
            for change in changes:
                if change.owner is not None:
                    found[change.owner] = min(change.at_us, found.get(change.owner, change.at_us))
        return found

    @functools.cached_property
    def takeovers(self) -> int:
        """How often a job that was running got another owner; without epochs, as far as that left evidence."""
        if not self.case.has_epochs:
            return sum(len(self._first_lines(job)) - 1 for job in self.lines)
        return sum(
            now.epoch > before.epoch
            for changes in self.jobs.values()
            for now, before in zip(changes[1:], changes, strict=False)
            if now.epoch is not None
            and before.epoch is not None
            and before.state == now.state == "RUNNING"
            and before.owner != now.owner
        )

    @functools.cache  # noqa: B019 - lives as long as the check
    def _by_seq(self, job: str) -> tuple[list[int], list[Change]]:
        changes = self.jobs.get(job, [])
        return [change.seq for change in changes], changes


def _place(owner: str) -> str:
    """The conductor of an owner and its place there, without what is its own."""
    return owner.rpartition(".")[0]
