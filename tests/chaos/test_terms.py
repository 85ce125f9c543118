"""The checks of what was posted under conditions find what they are there to find; what fits passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobrunner.policies import Placement, Policies
from tests.chaos.case import Absence, Beats, Case, Kept, Kind, Line, Posted, Window
from tests.chaos.checker import check_all
from tests.chaos.history import Change
from tests.chaos.machines import Death
from tests.chaos.records import named_deaths

APART, PINNED, PREFERS, EXPIRES, ONE, OTHER = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(6))
ALICE, BOB = "alice:1:aa/0.1", "bob:2:bb/0.1"
SECOND_US = 1_000_000
OURS = ("I17", "I18", "I19", "I20")


class Told:
    """History and evidence, a tenth of a second apart from one to the next."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.lines: list[Line] = []
        self.now_us = 10 * SECOND_US

    def job(self, job: str, state: str, epoch: int = 0, owner: str | None = None, **more: Any) -> int:
        self.now_us += SECOND_US // 10
        said = {"connection": 1, "table": "jobs", "op": "U", "attempt": 1, "deaths": 0, **more}
        change = Change(
            seq=len(self.changes) + 1, at_us=self.now_us, row=job, state=state, epoch=epoch, owner=owner, **said
        )  # fmt: skip
        self.changes.append(change)
        return self.now_us

    def line(self, job: str, epoch: int, owner: str) -> int:
        self.now_us += SECOND_US // 10
        self.lines.append(
            Line(
                job=job, atom="step", what="start", attempt=1, epoch=epoch, owner=owner, pid=epoch,
                at=self.now_us / 1e6, wall_us=self.now_us,
            )
        )  # fmt: skip
        return self.now_us


def kind(**more: Any) -> Kind:
    return Kind(name="line", type="chaos_line", parameters={}, ends=("SUCCEEDED", "EXPIRED"), **more)


def good_case() -> Case:
    """A job of its own process has two owners; a pinned one runs, another is let go, one expires, two are the same."""
    told = Told()
    told.job(APART, "WAITING")
    told.job(APART, "RUNNING", 1, ALICE)
    began_us = told.line(APART, 1, ALICE)
    told.job(APART, "RUNNING", 2, BOB)
    again_us = told.line(APART, 2, BOB)
    end_us = told.job(APART, "SUCCEEDED", 2)
    told.job(PINNED, "WAITING", pin="bob")
    told.job(PINNED, "RUNNING", 1, BOB, pin="bob")
    told.line(PINNED, 1, BOB)
    told.job(PINNED, "SUCCEEDED", 1, pin="bob")
    told.job(PREFERS, "WAITING", pin="bob")
    told.now_us += 2 * SECOND_US
    told.job(PREFERS, "WAITING")
    told.job(PREFERS, "RUNNING", 1, ALICE)
    told.job(PREFERS, "SUCCEEDED", 1)
    expires_us = told.job(EXPIRES, "WAITING") + SECOND_US // 100
    told.job(EXPIRES, "EXPIRED")
    told.job(ONE, "WAITING")
    told.job(ONE, "SUCCEEDED", 1)
    told.job(OTHER, "WAITING")
    told.job(OTHER, "SUCCEEDED", 1)
    prefers = Policies(placement=Placement(prefer="bob", failover=2.0))
    kinds = {
        APART: kind(),
        PINNED: kind(node="bob"),
        PREFERS: kind(policies=prefers),
        EXPIRES: kind(expires=0.01),
        ONE: kind(only="one"),
    }
    first = Beats(job=APART, attempt=1, epoch=1, owner=ALICE, first_us=began_us, last_us=again_us - 1_000)
    second = Beats(job=APART, attempt=1, epoch=2, owner=BOB, first_us=again_us, last_us=end_us + 1_000)
    return Case(
        lease=2.0,
        posted={job: Posted(job=job, kind=one, at_us=0) for job, one in kinds.items()},
        evidence=told.lines,
        history=told.changes,
        beats=[first, second],
        kept=Kept(times={EXPIRES: (expires_us // 1000, None)}, customers={OTHER: "one"}),
    )


def found(case: Case) -> dict[str, list[str]]:
    return {
        tally.name: tally.examples for tally in check_all(case) if tally.violations and tally.name in OURS
    }


def place(case: Case, job: str, state: str) -> int:
    """Where the last change of a job to a state stands."""
    return max(at for at, change in enumerate(case.history) if (change.row, change.state) == (job, state))


def changed(what: tuple[str, str], **columns: Any) -> Case:
    """The good case, with another line of the history: the last by which this job came to this state."""
    case = good_case()
    history = list(case.history)
    at = place(case, *what)
    history[at] = replace(history[at], **columns)
    return replace(case, history=history)


def with_beats(number: int, *, later_us: int) -> Case:
    case = good_case()
    beats = list(case.beats)
    beats[number] = replace(beats[number], last_us=beats[number].last_us + later_us)
    return replace(case, beats=beats)


def with_line(job: str, owner: str, epoch: int = 1) -> Case:
    case = good_case()
    line = replace(case.evidence[-1], job=job, owner=owner, epoch=epoch)
    return replace(case, evidence=[*case.evidence, line])


def with_failover(seconds: float) -> Case:
    case = good_case()
    policies = Policies(placement=Placement(prefer="bob", failover=seconds))
    return replace(
        case, posted={**case.posted, PREFERS: Posted(job=PREFERS, kind=kind(policies=policies), at_us=0)}
    )


def test_what_fits_passes_and_is_looked_at() -> None:
    assert found(good_case()) == {}
    assert all(tally.checks for tally in check_all(good_case()) if tally.name in OURS)


BAD: dict[str, tuple[Case, str, str]] = {
    "a command lives on beside the next owner": (
        with_beats(0, later_us=SECOND_US),
        "I17",
        "after epoch 2 had begun",
    ),
    "a command outlives its job": (with_beats(1, later_us=10 * SECOND_US), "I17", "after its end"),
    "a job expires before its time": (
        changed(
            (EXPIRES, "EXPIRED"), at_us=good_case().history[place(good_case(), EXPIRES, "WAITING")].at_us
        ),
        "I18",
        "before",
    ),
    "a job that ran expires": (
        changed((EXPIRES, "WAITING"), state="RUNNING"),
        "I18",
        "after it had been started",
    ),
    "a job runs though it has expired": (with_line(EXPIRES, ALICE), "I18", "ran all the same"),
    "a job starts after its time": (
        replace(good_case(), kept=replace(good_case().kept, times={EXPIRES: (5, 6)})),
        "I18",
        "was started 1 ms after",
    ),
    "another node takes a pinned job": (
        changed((PINNED, "RUNNING"), owner=ALICE),
        "I19",
        "alice:1:aa/0.1 took it",
    ),
    "another node runs a pinned job": (with_line(PINNED, ALICE), "I19", "ran step"),
    "a pinned job is let go": (changed((PINNED, "SUCCEEDED"), pin=None), "I19", "was for"),
    "a job leaves the node that it prefers too early": (
        with_failover(9.0),
        "I19",
        "left bob after 2.1",
    ),
    "two that are the same are open": (changed((ONE, "SUCCEEDED"), state="RUNNING"), "I20", "beside"),
}


@pytest.mark.parametrize(("case", "by", "words"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_found_out(case: Case, by: str, words: str) -> None:
    assert words in found(case)[by][0]


def test_who_stood_still_may_be_taken_from() -> None:
    case = with_beats(0, later_us=SECOND_US)
    times = {"begin_us": case.beats[0].first_us + 1, "end_us": case.beats[0].last_us}
    still = Absence(machine="alice", stood_still=True, **times)
    assert found(replace(case, absences=[still])) == {}
    assert found(replace(case, windows=[Window(why="cut off", **times)])) == {}
    assert "I17" in found(replace(case, absences=[replace(still, machine="bob")]))
    assert "I17" in found(replace(case, absences=[replace(still, stood_still=False)]))


def test_who_was_alone_is_told_by_its_evidence() -> None:
    case = good_case()
    one, other = "alice:1:aa/alone.1", "alice:1:aa/alone.2"
    lines = [replace(case.evidence[0], owner=owner, pid=pid) for owner, pid in ((one, 7), (other, 8))]
    death = Death(owner="alice:1:", slot="alone", pid=8, at_us=lines[0].wall_us + 1)
    assert named_deaths([death], lines) == [replace(death, owner=other)]
    assert named_deaths([replace(death, pid=9)], lines) == []
    assert not named_deaths([death], lines)[0].killed(one)
