"""What a run leaves for the checker: evidence, history, what users posted and were told, and what was done to it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
class Kind:
    """What a user posts: a type with parameters, and how such a job may end.

    ``words`` must stand in the error of a job that ends badly. ``deadly`` jobs take their owners with them.
    """

    name: str
    type: str
    parameters: dict[str, Any]
    ends: tuple[str, ...]
    words: str = ""
    deadly: bool = False
    poison: bool = False
    victim: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """A post that was acknowledged."""

    job: str
    kind: Kind
    at_us: int


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
    ``bites`` counts how often a fault met what it was meant for.
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
