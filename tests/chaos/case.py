"""What a run leaves for the checker: evidence, history, what users posted and were told, and what was done to it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobrunner.model import After
from jobrunner.policies import NO_POLICIES, Policies
from tests.chaos.history import Change
from tests.chaos.machines import Death

START, END, REVERT = "start", "end", "revert"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of evidence; see ``flows/chaos/leaving.py``."""

    job: str
    atom: str
    what: str
    attempt: int
    epoch: int | None
    owner: str
    pid: int
    at: float
    wall_us: int
    after: tuple[str, ...] = ()
    got: dict[str, str] = field(default_factory=dict)
    gave: str | None = None
    took: str | None = None


def read_evidence(directory: Path) -> list[Line]:
    """All lines that tasks left, by time; a last line that was cut off by its writer's death is left out."""
    found: list[Line] = []
    for path in directory.glob("*.jsonl"):
        text = path.read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            said = json.loads(line)
            found.append(Line(**{**said, "after": tuple(said.get("after", ()))}))
    return sorted(found, key=lambda line: line.at)


@dataclass(frozen=True, kw_only=True, slots=True)
class Beats:
    """When a command that a job had started lived, as it said itself: its first word and its last."""

    job: str
    attempt: int
    epoch: int
    owner: str
    first_us: int
    last_us: int


def read_beats(directory: Path) -> list[Beats]:
    """Of all commands that came so far as to say anything, in the order in which they began."""
    found: list[Beats] = []
    for path in directory.glob("*.beats"):
        text = path.read_text()
        whose, *beats = text[: text.rfind("\n") + 1].splitlines() or [""]
        if beats:
            said = json.loads(whose)
            found.append(Beats(**said, first_us=int(beats[0]), last_us=int(beats[-1])))
    return sorted(found, key=lambda one: one.first_us)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a user posts: a type with parameters, and how such a job may end.

    ``words`` must stand in the error of a job that ends badly. ``deadly`` jobs take their owners with them. ``runs`` is
    how many attempts a job of it needs to come to its end, ``signals`` how many signals it takes, ``waits`` for how
    many seconds it waits for a time. One with ``members`` is a jobset of those, each of which comes after others of
    them by their places. One with a ``node`` is pinned to it, one that is for several (``on``) is a jobset with a job
    for each. One that ``expires`` does so in so many seconds. Of those with one word in ``only`` one is open at
    most.
    """

    name: str
    type: str
    parameters: dict[str, Any]
    ends: tuple[str, ...]
    words: str = ""
    deadly: bool = False
    poison: bool = False
    victim: bool = False
    policies: Policies = NO_POLICIES
    runs: int = 1
    signals: int = 0
    waits: float = 0.0
    after: tuple[After, ...] = ()
    members: tuple[Kind, ...] = ()
    node: str | None = None
    on: tuple[str, ...] = ()
    expires: float = 0.0
    only: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing but to be run: a conductor of another kind can do that, too."""
        more = (self.members, self.after, self.signals, self.waits, self.runs > 1, *self._conditions)
        return not any(more) and self.policies == NO_POLICIES

    @property
    def _conditions(self) -> tuple[object, ...]:
        return self.node, self.on, self.expires, self.only


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """A post that was acknowledged."""

    job: str
    kind: Kind
    at_us: int
    after: tuple[tuple[str, str], ...] = ()
    """The jobs that it comes after, each with the condition."""
    jobset: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """Something that a user did to a job after it was posted: suspend, resume, cancel, retry or delete it.

    ``done`` is false if it was refused, and None if nobody knows: then it may take effect at any time after.
    """

    job: str
    what: str
    began_us: int
    at_us: int
    done: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A signal that was acknowledged, however often it was sent."""

    job: str
    token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What the tables hold in the end, beside jobs and atoms; each a list of rows."""

    attempts: list[tuple[str, int, str]] = field(default_factory=list)
    """Of each attempt that was followed by another: job, number and state."""
    signals: list[tuple[str, str, bool]] = field(default_factory=list)
    """Of each signal, in the order in which they came: job, token, and whether a task took it."""
    permits: list[tuple[str, str]] = field(default_factory=list)
    """Jobs with the semaphores that they hold, or wait for."""
    decisions: list[tuple[str, int]] = field(default_factory=list)
    """Jobs that went on since others had ended, and when, in milliseconds."""
    members: list[tuple[str, str, str, bool]] = field(default_factory=list)
    """Of the members of each jobset: set, job, state, and whether it was skipped."""
    times: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    """When each job expires, and when its present attempt was started; in milliseconds."""
    customers: dict[str, str] = field(default_factory=dict)
    """For whom each job is of which there is one at a time for each of them."""
    jobsets: dict[str, tuple[str, dict[str, int]]] = field(default_factory=dict)
    """What a user is told of each jobset: its state, and how many of its jobs are in which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a user was told of a job: when it was asked, and when it was answered."""

    job: str
    state: str
    terminal: bool
    began_us: int
    at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Harm:
    """What the harness did to a job's rows, and what a user is told of it in the end.

    ``terminal`` and ``words`` are from that look; both are empty if nobody could be asked.
    """

    job: str
    what: str
    at_us: int
    state: str = ""
    terminal: bool = False
    words: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A time in which takeovers may take longer, and why."""

    begin_us: int
    end_us: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Absence:
    """A time in which a machine could take nothing over: it was dead, stood still, or was only starting again."""

    machine: str
    begin_us: int
    end_us: int
    stood_still: bool = False
    """It did not die: what it had under way went on after that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """What processes of one role use: file descriptors, threads, kilobytes of memory."""

    descriptors: int
    threads: int
    memory_kb: int

    @classmethod
    def most(cls, uses: Iterable[Use]) -> Use:
        """The most of each."""
        found = list(uses)
        return cls(
            descriptors=max(use.descriptors for use in found),
            threads=max(use.threads for use in found),
            memory_kb=max(use.memory_kb for use in found),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A whole run.

    ``seen`` is what a user is told of each acknowledged job in the end. ``before`` is what processes used at the start,
    by role, and ``behind`` what each used after a rest at the end. ``starts`` counts the conductors that were started,
    ``given_up`` tells of those that ended though nobody wanted them to, ``exit_codes`` are those of the others.
    ``bites`` counts how often a fault met what it was meant for. ``operations`` are what users did to jobs, ``sent``
    the signals that were acknowledged, and ``kept`` is what the tables hold in the end. ``beats`` are of the commands
    that jobs in processes of their own had started.
    """

    lease: float
    has_epochs: bool = True
    posted: dict[str, Posted] = field(default_factory=dict)
    evidence: list[Line] = field(default_factory=list)
    history: list[Change] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    harms: dict[str, Harm] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    machines: tuple[str, ...] = ()
    absences: list[Absence] = field(default_factory=list)
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    before: dict[str, Use] = field(default_factory=dict)
    behind: list[tuple[str, str, Use]] = field(default_factory=list)
    starts: int = 0
    given_up: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    bites: dict[str, int] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    kept: Kept = field(default_factory=Kept)
    beats: list[Beats] = field(default_factory=list)
