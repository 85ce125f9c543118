"""The checks of a job's whole life find what they are there to find; a good life passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobrunner.policies import Hold, Policies, RetryPolicy
from tests.chaos.case import Case, Kept, Kind, Line, Operation, Posted, Sent
from tests.chaos.checker import check_all
from tests.chaos.history import Change

FIRST, SECOND = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
SET = "00000000-0000-4000-8000-00000000000a"
LOCK = Hold(name="lock")
POLICIES = Policies(retry=RetryPolicy(attempts=2), holds=(LOCK,))
MS = 1_000


class Told:
    """History and evidence, ten milliseconds apart from change to change."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.lines: list[Line] = []
        self.now_us = 10**9

    def job(self, job: str, state: str, epoch: int, attempt: int = 1, **more: Any) -> int:
        self.now_us += 10 * MS
        self.changes.append(
            Change(
                seq=len(self.changes) + 1,
                at_us=self.now_us,
                connection=1,
                table="jobs",
                op="U",
                row=job,
                state=state,
                epoch=epoch,
                attempt=attempt,
                deaths=0,
                **more,
            )
        )
        return self.now_us

    def line(self, job: str, atom: str, what: str, epoch: int, attempt: int = 1, **more: Any) -> None:
        self.now_us += 5 * MS
        self.lines.append(
            Line(
                job=job,
                atom=atom,
                what=what,
                attempt=attempt,
                epoch=epoch,
                owner="alice:1/0.1",
                pid=1,
                at=self.now_us / 1e6,
                wall_us=self.now_us,
                **more,
            )
        )


def kind(**more: Any) -> Kind:
    return Kind(name="line", type="chaos_line", parameters={}, ends=("SUCCEEDED",), **more)


def good_case() -> Case:
    """A job fails, is suspended and resumed, and succeeds in its second attempt, with a signal; another follows it."""
    told = Told()
    told.job(FIRST, "WAITING", 0)
    told.job(SECOND, "BLOCKED", 0, parked="after")
    told.job(FIRST, "RUNNING", 1)
    suspended_us = told.now_us + MS
    told.job(FIRST, "SUSPENDED", 1, attempt=2, parked="held")
    resumed_us = told.now_us + MS
    told.job(FIRST, "WAITING", 2, attempt=2)
    told.job(FIRST, "RUNNING", 3, attempt=2)
    told.line(FIRST, "one", "start", 3, attempt=2)
    told.line(FIRST, "one", "end", 3, attempt=2, took="token")
    told.line(FIRST, "nap", "start", 3, attempt=2)
    told.now_us += 20 * MS
    told.line(FIRST, "nap", "end", 3, attempt=2)
    told.job(FIRST, "SUCCEEDED", 3, attempt=2)
    decided_ms = told.job(SECOND, "WAITING", 0) // 1000
    told.job(SECOND, "RUNNING", 1)
    told.line(SECOND, "step", "start", 1)
    told.job(SECOND, "SUCCEEDED", 1)
    first = Posted(job=FIRST, kind=kind(policies=POLICIES, signals=1, waits=0.02), at_us=0, jobset=SET)
    second = Posted(
        job=SECOND,
        kind=kind(policies=Policies(holds=(LOCK,))),
        at_us=0,
        jobset=SET,
        after=((FIRST, "success"),),
    )
    return Case(
        lease=2.0,
        posted={FIRST: first, SECOND: second},
        evidence=told.lines,
        history=told.changes,
        operations=[
            Operation(job=FIRST, what="suspend", began_us=suspended_us - MS, at_us=suspended_us, done=True),
            Operation(job=FIRST, what="resume", began_us=resumed_us, at_us=resumed_us + MS, done=True),
        ],
        sent=[Sent(job=FIRST, token="token"), Sent(job=FIRST, token="more")],
        kept=Kept(
            attempts=[(FIRST, 1, "FAILED")],
            signals=[(FIRST, "token", True), (FIRST, "more", False)],
            decisions=[(SECOND, decided_ms)],
            members=[(SET, FIRST, "SUCCEEDED", False), (SET, SECOND, "SUCCEEDED", False)],
            jobsets={SET: ("SUCCEEDED", {"SUCCEEDED": 2})},
        ),
    )


def found(case: Case) -> dict[str, list[str]]:
    ours = {f"I{number}" for number in range(11, 17)}
    return {
        tally.name: tally.examples for tally in check_all(case) if tally.violations and tally.name in ours
    }


def changed(case: Case, place: int, **columns: Any) -> Case:
    history = list(case.history)
    history[place] = replace(history[place], **columns)
    return replace(case, history=history)


def test_a_good_life_passes_and_is_looked_at() -> None:
    case = good_case()
    assert found(case) == {}
    assert all(tally.checks for tally in check_all(case) if tally.name in {f"I{n}" for n in range(11, 17)})


def with_kept(case: Case, **kept: Any) -> Case:
    return replace(case, kept=replace(case.kept, **kept))


BAD: dict[str, tuple[Case, str]] = {
    "an attempt is left out": (with_kept(good_case(), attempts=[]), "I11"),
    "more attempts than allowed": (
        replace(
            good_case(),
            posted={**good_case().posted, FIRST: replace(good_case().posted[FIRST], kind=kind(signals=1))},
        ),
        "I11",
    ),
    "a follower starts too early": (
        replace(
            good_case(),
            evidence=[
                replace(line, wall_us=10**9) if line.job == SECOND else line for line in good_case().evidence
            ],
        ),
        "I12",
    ),
    "a follower is decided twice": (with_kept(good_case(), decisions=[(SECOND, 1), (SECOND, 2)]), "I12"),
    "a signal is lost": (with_kept(good_case(), signals=[(FIRST, "token", True)]), "I13"),
    "a signal is there twice": (
        with_kept(
            good_case(), signals=[(FIRST, "token", True), (FIRST, "more", False), (FIRST, "more", False)]
        ),
        "I13",
    ),
    "a signal is taken by nobody": (
        with_kept(good_case(), signals=[(FIRST, "token", True), (FIRST, "more", True)]),
        "I13",
    ),
    "two atoms take a signal": (
        replace(
            good_case(),
            evidence=[
                replace(line, took="token") if line.atom == "nap" else line for line in good_case().evidence
            ],
        ),
        "I13",
    ),
    "a timer is early": (
        replace(
            good_case(),
            posted={
                **good_case().posted,
                FIRST: replace(good_case().posted[FIRST], kind=kind(policies=POLICIES, signals=1, waits=0.2)),
            },
        ),
        "I13",
    ),
    "a suspended job begins": (replace(good_case(), operations=good_case().operations[:1]), "I14"),
    "a parked job starts an atom": (changed(good_case(), 5, parked="held"), "I14"),
    "two hold one lock": (changed(good_case(), 1, state="RUNNING"), "I15"),
    "a permit is left": (with_kept(good_case(), permits=[(FIRST, "lock")]), "I15"),
    "a jobset tells another state": (
        with_kept(good_case(), jobsets={SET: ("FAILED", {"SUCCEEDED": 2})}),
        "I16",
    ),
    "a jobset lost a member": (
        with_kept(
            good_case(),
            members=[(SET, FIRST, "SUCCEEDED", False)],
            jobsets={SET: ("SUCCEEDED", {"SUCCEEDED": 1})},
        ),
        "I16",
    ),
}


@pytest.mark.parametrize(("case", "by"), BAD.values(), ids=BAD)
def test_a_bad_life_is_found_out(case: Case, by: str) -> None:
    assert by in found(case)


def test_a_retry_that_is_forgotten() -> None:
    good = good_case()
    posted = {SECOND: replace(good.posted[SECOND], kind=kind(policies=POLICIES), after=())}
    case = changed(replace(good, posted=posted), -1, state="FAILED")
    assert "after attempt 1 of 2" in found(case)["I11"][0]
