"""The model: what board and store promise, in few words. Plain values, no I/O, one thing at a time.

It says what every call has to answer and what holds after it. It does not know how: no transactions, no scripts, no
retries. Where the contract leaves a driver free, so does the model.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jobrunner.model import CancelMode, JobState, Parked, Priority, When

MAX_DEATHS = 3
ATOMS = ("first", "second")
LEADERSHIP_S = 15.0
HOUR_MS = 3_600_000
AGAIN_MS = 15_000
"""So long after it failed a job is run again that may be."""
SIGNAL = "go"
SEMAPHORE = "room"
UNITS = 1
"""Of the semaphore."""

PART = "made"
"""Of the result of a job that succeeds: what others may have as their parameter."""

OPEN = {JobState.BLOCKED, JobState.SCHEDULED, JobState.WAITING, JobState.RUNNING, JobState.SUSPENDED}


class Entry(NamedTuple):
    """A job as it was when somebody put it on the board."""

    job_id: str
    type: str
    score: int
    available_ms: int
    priority: int


class Returned(NamedTuple):
    """A claim that goes back, and after how many milliseconds it is to be offered again."""

    entry: Entry
    delay_ms: int
    was_begun: bool


@dataclass
class Standing:
    """A job's place on the board. Nobody may have it before ``due_ms`` but the ``owner`` of the claim."""

    type: str
    score: int
    place: int
    due_ms: int = 0
    owner: str | None = None

    def free(self, now_ms: int) -> bool:
        return self.due_ms <= now_ms

    def claimed_by(self, owner: str, now_ms: int) -> bool:
        return self.owner == owner and self.due_ms > now_ms


@dataclass
class ExpectedJob:
    """A job as the store has to have it."""

    id: str
    type: str
    priority: Priority
    created_ms: int
    available_ms: int
    state: JobState
    epoch: int = 0
    attempt: int = 1
    started: bool = False
    owner: str | None = None
    deaths: int = 0
    cancel: CancelMode | None = None
    attempts: int = 1
    """So many the job's policy allows."""
    needs: bool = False
    """Whether it needs a unit of the one semaphore that there is."""
    held: bool = False
    parked: Parked | None = None
    parked_before: Parked | None = None
    awaits: str | None = None
    signals: list[str] = field(default_factory=list)
    """What it was sent and no task has taken, oldest first."""
    atoms: dict[str, tuple[str, object]] = field(default_factory=dict)
    """State and result of what the present attempt has recorded."""
    result: object = None
    after: dict[str, When] = field(default_factory=dict)
    """The jobs that come first, and on which end of theirs this one is run."""
    refers: str | None = None
    """The job whose result is to be this one's parameter, until it is."""
    given: object = ""
    skipped: bool = False
    jobset_id: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def ended_badly(self) -> bool:
        return not self.is_open and self.state is not JobState.SUCCEEDED

    @property
    def entry(self) -> Entry:
        score = max(self.created_ms, self.available_ms) + self.priority * HOUR_MS
        return Entry(self.id, self.type, score, self.available_ms, self.priority)

    @property
    def parameters(self) -> dict[str, object]:
        return {"value": {"$result": self.refers, "path": PART} if self.refers else self.given}

    @property
    def from_results(self) -> bool:
        return self.given != ""

    @property
    def anything_done(self) -> bool:
        return self.started and any(state != "PENDING" for state, _ in self.atoms.values())

    @property
    def is_wanted(self) -> bool:
        """Whether it should stand on the board."""
        return self.is_open and self.parked is None

    @property
    def hears(self) -> bool:
        """Whether a signal that it awaits is there."""
        return self.awaits is not None and bool(self.signals)

    def end(self, state: JobState, result: object = None) -> None:
        self.state, self.owner, self.result = state, None, result
        self.parked = self.awaits = None
        if state not in OPEN:
            self.cancel, self.held = None, False

    def begin_anew(self) -> None:
        """What an attempt loses with its end."""
        self.owner, self.deaths, self.started, self.atoms = None, 0, False, {}
        self.parked = self.parked_before = self.awaits = None
        self.result, self.skipped = None, False
        self.attempt += 1


class ExpectedBoard:
    """The board: who stands where, and who claims it until when."""

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self.now_ms = 0
        self._places = 0

    def post(self, entries: Iterable[Entry]) -> int:
        new = [entry for entry in entries if entry.job_id not in self.standing]
        for entry in new:
            self._places += 1
            due_ms = entry.available_ms if entry.available_ms > self.now_ms else 0
            self.standing[entry.job_id] = Standing(entry.type, entry.score, self._places, due_ms)
        return len(new)

    def line(self, types: Collection[str]) -> list[str]:
        """Who could be claimed now, first in line first."""
        free = [
            (found.score, found.place, job_id)
            for job_id, found in self.standing.items()
            if found.type in types and found.free(self.now_ms)
        ]
        return [job_id for _, _, job_id in sorted(free)]

    def claim(self, owner: str, types: Collection[str], limit: int, lease_ms: int) -> list[str]:
        return self.claim_these(owner, self.line(types)[:limit], lease_ms)

    def claim_these(
        self, owner: str, job_ids: Sequence[str], lease_ms: int, *, early: bool = False
    ) -> list[str]:
        there = [job_id for job_id in job_ids if job_id in self.standing]
        taken = [
            job_id
            for job_id in there
            if self._is_free(job_id) or (early and self.standing[job_id].owner is None)
        ]
        for job_id in taken:
            self.standing[job_id].owner, self.standing[job_id].due_ms = owner, self.now_ms + lease_ms
        return taken

    def keep(self, owner: str, job_ids: Iterable[str], lease_ms: int) -> set[str]:
        lost = set(job_ids) - set(self.claims_of(owner, job_ids))
        for job_id in set(job_ids) - lost:
            self.standing[job_id].due_ms = self.now_ms + lease_ms
        return lost

    def release(self, owner: str, job_ids: Sequence[str], delay_ms: int) -> int:
        mine = self.claims_of(owner, job_ids)
        for job_id in mine:
            self._put_back(job_id, delay_ms)
        return len(mine)

    def delayed(self) -> list[str]:
        """Those that nobody claims and that stand there for later."""
        return [job_id for job_id, found in self.standing.items() if found.owner is None and found.due_ms]

    def hasten(self, job_ids: Iterable[str]) -> tuple[int, int]:
        """How many were delayed for certain, and how many may be counted as well: their time has come just now."""
        unclaimed = [
            job_id for job_id in job_ids if job_id in self.standing and self.standing[job_id].owner is None
        ]
        delayed = [job_id for job_id in unclaimed if self.standing[job_id].due_ms]
        certain = sum(not self._is_free(job_id) for job_id in delayed)
        for job_id in delayed:
            self._put_back(job_id, 0)
        return certain, len(delayed)

    def pass_on(self, holder: str, owner: str, job_ids: Sequence[str], lease_ms: int) -> list[str]:
        passed = self.claims_of(holder, job_ids)
        for job_id in passed:
            self.standing[job_id].owner, self.standing[job_id].due_ms = owner, self.now_ms + lease_ms
        return passed

    def release_owner(self, owner: str) -> tuple[set[str], set[str]]:
        """Those that have to be handed back, and those that may be named as well: their leases have run out."""
        held = {job_id for job_id, found in self.standing.items() if found.owner == owner}
        living = set(self.claims_of(owner, held))
        for job_id in held:
            self._put_back(job_id, 0)
        return living, held

    def consume(self, owner: str, job_ids: Sequence[str]) -> int:
        mine = self.claims_of(owner, job_ids)
        return self.withdraw(mine)

    def withdraw(self, job_ids: Iterable[str]) -> int:
        there = set(job_ids) & self.standing.keys()
        for job_id in there:
            del self.standing[job_id]
        return len(there)

    def claims_of(self, owner: str, job_ids: Iterable[str]) -> list[str]:
        """Those that this owner's living claims are on."""
        return [
            job_id
            for job_id in job_ids
            if job_id in self.standing and self.standing[job_id].claimed_by(owner, self.now_ms)
        ]

    def claims(self) -> dict[str, tuple[str, int]]:
        """All living claims: the owner, and when the lease ends."""
        return {
            job_id: (found.owner, found.due_ms)
            for job_id, found in self.standing.items()
            if found.owner is not None and not found.free(self.now_ms)
        }

    def snapshot(self) -> dict[str, Standing]:
        return copy.deepcopy(self.standing)

    def restore(self, snapshot: dict[str, Standing]) -> None:
        self.standing = copy.deepcopy(snapshot)

    def _is_free(self, job_id: str) -> bool:
        return self.standing[job_id].free(self.now_ms)

    def _put_back(self, job_id: str, delay_ms: int) -> None:
        self.standing[job_id].owner = None
        self.standing[job_id].due_ms = self.now_ms + delay_ms if delay_ms else 0
