"""What one process has in hand in the state machine, and how its findings are compared with the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobrunner.conductor.worker.ended import EndedJobs
from tests.conformance.model.expected import ATOMS, Entry, Returned
from tests.support.journals import Recorded


class Differs(AssertionError):
    """Board or store did what the model does not allow."""


def same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Differs(f"{what}: it is {found!r}, and should be {expected!r}")


@dataclass
class Run:
    """One owner's run of a job, alive in its own eyes."""

    recorded: Recorded
    entry: Entry

    @property
    def job_id(self) -> str:
        return self.recorded.job.id

    @property
    def epoch(self) -> int:
        return self.recorded.job.epoch


class Hand:
    """What one process has in hand: claims that it has not begun, runs, and ends that it has not told the board."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.claimed: list[str] = []
        self.runs: dict[str, Run] = {}
        self.finished: list[str] = []
        self.returned: list[Returned] = []
        self.left: list[str] = []
        """Jobs that ended, or await signals, of which one may have come meanwhile: what follows from that is done once
        the board was told.
        """
        self.ended = EndedJobs(name, _Deaf())  # type: ignore[arg-type]

    def goes_back(self, run: Run, delay: float) -> None:
        self.ended.job_goes_back(run.recorded.job, delay=delay)
        self.returned.append(Returned(run.entry, in_ms(delay), was_begun=True))
        del self.runs[run.job_id]

    def gives_back(self, entry: Entry, delay: float) -> None:
        """A claim that could not be begun goes back as it came."""
        self.ended.goes_back([entry.job_id], delay=delay)
        self.returned.append(Returned(entry, in_ms(delay), was_begun=False))

    def is_done_with(self, *job_ids: str) -> None:
        self.ended.finished(job_ids)
        self.finished += job_ids


class _Deaf:
    """In the place of the line to a supervisor."""

    def send(self, kind: str, **content: Any) -> bool:
        return True


def nothing_done() -> dict[str, tuple[str, object]]:
    return dict.fromkeys(ATOMS, ("PENDING", None))


def in_ms(seconds: float) -> int:
    return round(seconds * 1000)
