"""The checker finds what it is there to find: a good history passes, each bad one is caught by its own invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobrunner.model import flow_id
from tests.chaos.case import Absence, Case, Harm, Kind, Line, Posted, Report, Use, Window
from tests.chaos.checker import check, check_all
from tests.chaos.history import Change
from tests.chaos.machines import Death
from tests.chaos.records import TASK

JOB = "00000000-0000-4000-8000-000000000001"
FLOW = flow_id(JOB, 1)
FIRST, SECOND = "alice:1:aa/0.11", "bob:2:bb/0.22"
SECOND_US = 1_000_000


class History:
    """Makes changes one after the other, ten milliseconds apart unless told otherwise."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.now_us = 1_000 * SECOND_US

    def job(self, state: str, epoch: int, owner: str | None = None, **more: Any) -> Change:
        said = {"attempt": 1, "deaths": 0, "name": "chaos_line", **more}
        return self._add(table="jobs", row=JOB, state=state, epoch=epoch, owner=owner, **said)

    def atom(self, name: str, state: str, epoch: int | None, **more: Any) -> Change:
        return self._add(
            table="atomdetails", row=f"{name}-id", parent=FLOW, name=name, state=state, epoch=epoch, kind=TASK, **more
        )  # fmt: skip

    def _add(self, **said: Any) -> Change:
        self.now_us += 10_000
        before = [change for change in self.changes if change.row == said["row"]]
        was = before[-1].state if before else None
        change = Change(
            seq=len(self.changes) + 1, at_us=self.now_us, connection=7, op="U" if before else "I", was=was, **said
        )  # fmt: skip
        self.changes.append(change)
        return change


class Evidence:
    """Makes lines, each a millisecond after the history's last change."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.lines: list[Line] = []

    def line(self, atom: str, what: str, epoch: int, **more: Any) -> Line:
        self.history.now_us += 3_000
        wall_us = self.history.now_us
        owner = FIRST if epoch == 1 else SECOND
        line = Line(
            job=JOB, atom=atom, what=what, attempt=1, epoch=epoch, owner=owner, pid=epoch, at=wall_us / 1e6,
            wall_us=wall_us, **more,
        )  # fmt: skip
        self.lines.append(line)
        return line


def kind(*ends: str, **more: Any) -> Kind:
    return Kind(name="line", type="chaos_line", parameters={}, ends=ends or ("SUCCEEDED",), **more)


def good_case() -> Case:
    """A job of two atoms: its first owner dies in the second atom, another goes on with it."""
    history = History()
    evidence = Evidence(history)
    history.job("WAITING", 0)
    history.job("RUNNING", 1, FIRST)
    history.atom("a", "RUNNING", 1, starts=1)
    history.atom("b", "PENDING", None)
    evidence.line("a", "start", 1)
    evidence.line("a", "end", 1, gave="token")
    history.atom("a", "SUCCESS", 1, starts=1, digest="d")
    history.atom("b", "RUNNING", 1, starts=1)
    evidence.line("b", "start", 1, after=("a",), got={"a": "token"})
    died_us = history.now_us
    history.now_us += SECOND_US
    history.job("RUNNING", 2, SECOND, deaths=1)
    history.atom("b", "RUNNING", 2, starts=2)
    evidence.line("b", "start", 2, after=("a",), got={"a": "token"})
    evidence.line("b", "end", 2, gave="other")
    history.atom("b", "SUCCESS", 2, starts=2, digest="e")
    history.job("SUCCEEDED", 2)
    end_us = history.now_us
    return Case(
        lease=2.0,
        posted={JOB: Posted(job=JOB, kind=kind(), at_us=0)},
        evidence=evidence.lines,
        history=history.changes,
        reports=[
            Report(job=JOB, state="RUNNING", terminal=False, began_us=died_us, at_us=died_us + 1),
            Report(job=JOB, state="SUCCEEDED", terminal=True, began_us=end_us + 1, at_us=end_us + 9_000),
        ],
        deaths=[Death(owner="alice:1:", slot="0", at_us=died_us)],
        seen={JOB: ("SUCCEEDED", "")},
        before={"worker": Use(descriptors=20, threads=10, memory_kb=90_000)},
        behind=[("worker", "alice", Use(descriptors=22, threads=12, memory_kb=99_000))],
        starts=2,
        exit_codes=[0],
    )


def undone_case() -> Case:
    """The same as far as it was one atom only, and that was undone."""
    good = good_case()
    history = History()
    evidence = Evidence(history)
    history.job("WAITING", 0)
    history.job("RUNNING", 1, FIRST)
    history.atom("a", "RUNNING", 1, starts=1)
    evidence.line("a", "start", 1)
    history.atom("a", "FAILURE", 1, starts=1)
    history.atom("a", "REVERTING", 1, starts=1)
    evidence.line("a", "revert", 1)
    history.atom("a", "REVERTED", 1, starts=1)
    history.job("REVERTED", 1)
    return replace(
        good,
        posted={JOB: Posted(job=JOB, kind=kind("REVERTED", words="meant to"), at_us=0)},
        evidence=evidence.lines,
        history=history.changes,
        reports=[],
        deaths=[],
        seen={JOB: ("REVERTED", "as it is meant to")},
    )


def violated(case: Case) -> dict[str, list[str]]:
    """The invariants that do not hold, with the words for it."""
    return {tally.name: tally.examples for tally in check_all(case) if tally.violations}


def changed(case: Case, wanted: Callable[[Change], bool], **to: Any) -> Case:
    """The case with the changes that are wanted made into others; there must be some."""
    assert any(wanted(change) for change in case.history)
    return replace(
        case, history=[replace(change, **to) if wanted(change) else change for change in case.history]
    )


def without(case: Case, wanted: Callable[[Change], bool]) -> Case:
    assert any(wanted(change) for change in case.history)
    return replace(case, history=[change for change in case.history if not wanted(change)])


def appended(case: Case, make: Callable[[History], object]) -> Case:
    history = History()
    history.changes = list(case.history)
    history.now_us = case.history[-1].at_us
    make(history)
    return replace(case, history=history.changes)


@pytest.mark.parametrize("make", [good_case, undone_case])
def test_a_good_history_passes(make: Callable[[], Case]) -> None:
    case = make()
    assert violated(case) == {}
    checks = {tally.name: tally.checks for tally in check_all(case)}
    idle = {"C", "I12", "I13", "I14", "I16", "I17", "I18", "I19", "I20"} | (
        set() if make is good_case else {"I2", "I8", "I9"}
    )
    assert {name for name, count in checks.items() if not count} == idle


def test_takeovers_are_counted() -> None:
    assert check(good_case())[1] == 1
    assert check(undone_case())[1] == 0


def test_i1_a_post_that_is_not_in_sql() -> None:
    case = good_case()
    lost = "00000000-0000-4000-8000-000000000002"
    case.posted[lost] = Posted(job=lost, kind=kind(), at_us=0)
    assert "is not in SQL" in violated(case)["I1"][0]


def test_i1_a_job_that_never_ends() -> None:
    case = without(good_case(), lambda change: change.state == "SUCCEEDED")
    assert "is RUNNING in the end" in violated(case)["I1"][0]


def test_i2_an_atom_that_runs_again_after_its_success() -> None:
    def again(history: History) -> None:
        history.atom("a", "RUNNING", 2, starts=2)

    assert "after SUCCESS it became RUNNING" in violated(appended(good_case(), again))["I2"][0]


def test_i2_a_result_that_changes() -> None:
    def other(history: History) -> None:
        history.atom("a", "SUCCESS", 1, starts=1, digest="another")

    assert "its result changed" in violated(appended(good_case(), other))["I2"][0]


def test_i2_an_atom_that_was_given_something_else_the_second_time() -> None:
    case = good_case()
    *before, start, end = case.evidence
    case = replace(
        case,
        evidence=[
            *before[:2],
            replace(before[1], gave="twin"),
            *before[2:],
            replace(start, got={"a": "twin"}),
            end,
        ],
    )
    assert "result was another" in violated(case)["I2"][0]


def test_i2_an_atom_that_was_given_what_nobody_gave() -> None:
    case = good_case()
    case = replace(
        case,
        evidence=[replace(line, got={"a": "forged"}) if line.got else line for line in case.evidence],
    )
    assert "never gave" in violated(case)["I2"][0]


def test_i3_an_atom_that_starts_before_that_is_recorded() -> None:
    case = changed(
        good_case(), lambda change: change.name == "b" and change.epoch == 1, at_us=1_002 * SECOND_US
    )
    assert "b started in epoch 1 before that was recorded" in violated(case)["I3"][0]


def test_i3_an_atom_that_starts_before_what_it_needs_is_recorded() -> None:
    case = good_case()
    success = next(change for change in case.history if change.name == "a" and change.state == "SUCCESS")
    rest = [change for change in case.history if change is not success]
    at = next(place for place, change in enumerate(rest) if change.name == "b" and change.epoch == 1) + 1
    late = replace(success, at_us=rest[at - 1].at_us + 100_000)
    numbered = [replace(change, seq=n) for n, change in enumerate([*rest[:at], late, *rest[at:]], 1)]
    assert "while a was recorded as RUNNING" in violated(replace(case, history=numbered))["I3"][0]


def test_i3_what_the_same_transaction_recorded_is_in_time() -> None:
    """Rows of one transaction are written in any order."""
    case = good_case()
    history = list(case.history)
    place = next(n for n, change in enumerate(history) if change.name == "a" and change.state == "SUCCESS")
    one, two = history[place], history[place + 1]
    history[place : place + 2] = [replace(two, seq=one.seq), replace(one, seq=two.seq, at_us=two.at_us + 10)]
    assert violated(replace(case, history=history)) == {}


def test_i4_an_epoch_that_falls() -> None:
    case = changed(good_case(), lambda change: change.state == "SUCCEEDED", epoch=1)
    assert "fell from 2 to 1" in violated(case)["I4"][0]


def test_i4_a_former_owner_that_records() -> None:
    case = good_case()
    place = next(n for n, change in enumerate(case.history) if change.table == "jobs" and change.epoch == 2)
    zombie = replace(
        case.history[place - 1], seq=0, state="SUCCESS", was="RUNNING", at_us=case.history[place].at_us + 1
    )
    history = [*case.history[: place + 1], zombie, *case.history[place + 1 :]]
    case = replace(case, history=[replace(change, seq=n) for n, change in enumerate(history, 1)])
    assert "the owner of epoch 1 recorded b as SUCCESS in epoch 2" in violated(case)["I4"][0]


def test_i5_a_job_that_ends_twice() -> None:
    def twice(history: History) -> None:
        history.job("RUNNING", 3, FIRST)
        history.job("FAILED", 3)

    found = violated(appended(good_case(), twice))["I5"]
    assert "went on after it was SUCCEEDED" in found[0]
    assert "ended 2 times" in found[1]


def test_i5_a_job_that_is_claimed_after_its_end() -> None:
    def claimed(history: History) -> None:
        history.job("SUCCEEDED", 3, FIRST)

    assert "went on after it was SUCCEEDED" in violated(appended(good_case(), claimed))["I5"][0]


def test_i5_an_attempt_of_its_own_may_end_too() -> None:
    def retried(history: History) -> None:
        history.job("WAITING", 3, attempt=2)
        history.job("RUNNING", 4, FIRST, attempt=2)
        history.job("SUCCEEDED", 4, attempt=2)

    assert "I5" not in violated(appended(undone_case(), retried))


def test_i6_an_effect_too_many_in_one_epoch() -> None:
    case = good_case()
    case.evidence.append(replace(case.evidence[-2], at=case.evidence[-1].at + 1))
    assert "b took effect 2 times in epoch 2, recorded 1 starts" in violated(case)["I6"][0]


def test_i6_an_effect_in_an_epoch_that_nobody_claimed() -> None:
    case = without(good_case(), lambda change: change.table == "jobs" and change.deaths == 1)
    assert "b took effect in 2 epochs of 1 owners" in violated(case)["I6"][0]


def test_i7_an_effect_that_was_not_undone() -> None:
    case = undone_case()
    case = replace(case, evidence=[line for line in case.evidence if line.what != "revert"])
    assert "is REVERTED, and the last of its a is a start" in violated(case)["I7"][0]


def test_i7_success_without_an_effect_at_its_end() -> None:
    case = good_case()
    case = replace(case, evidence=[line for line in case.evidence if line.what != "end"])
    assert "is SUCCEEDED" in violated(case)["I7"][0]


def test_i7_leaves_out_what_a_former_owner_did_late() -> None:
    case = good_case()
    late = replace(
        case.evidence[2], what="revert", at=case.evidence[-1].at + 1, wall_us=case.evidence[-1].wall_us + 1
    )
    case.evidence.append(late)
    (tally,) = (tally for tally in check_all(case) if tally.name == "I7")
    assert tally.violations == 0
    assert "1 reverts" in tally.note


def test_i8_a_takeover_that_takes_too_long() -> None:
    case = good_case()
    case = replace(case, deaths=[replace(case.deaths[0], at_us=case.deaths[0].at_us - 4 * SECOND_US)])
    history = [replace(change, at_us=change.at_us - 5 * SECOND_US) for change in case.history[:8]]
    case = replace(case, history=[*history, *case.history[8:]])
    assert "was taken over after 5.0" in violated(case)["I8"][0]
    window = Window(begin_us=case.deaths[0].at_us + 1, end_us=case.deaths[0].at_us + 2, why="sql was away")
    assert "I8" not in violated(replace(case, windows=[window]))


def slow_case() -> Case:
    """A takeover that takes five seconds."""
    case = good_case()
    history = [replace(change, at_us=change.at_us - 4 * SECOND_US) for change in case.history[:8]]
    died_us = case.deaths[0].at_us - 4 * SECOND_US
    return replace(
        case,
        history=[*history, *case.history[8:]],
        deaths=[replace(case.deaths[0], at_us=died_us)],
        machines=("alice", "bob"),
    )


def test_i8_is_not_measured_when_nobody_was_there_to_take_over() -> None:
    case = slow_case()
    assert "was taken over after 5.0" in violated(case)["I8"][0]
    died_us = case.deaths[0].at_us
    away = Absence(machine="bob", begin_us=died_us - 1, end_us=died_us + 1)
    assert "I8" not in violated(replace(case, absences=[away]))
    assert "I8" in violated(replace(case, absences=[replace(away, machine="alice")]))


def test_i8_is_not_measured_from_another_death_than_its_owner_s() -> None:
    """A worker in the same place had taken work before that death: the owner was dead already."""
    case = slow_case()
    other = "00000000-0000-4000-8000-000000000003"
    first = replace(
        case.history[1], seq=0, row=other, owner="alice:1:aa/0.33", at_us=case.deaths[0].at_us - 1
    )
    assert "I8" not in violated(replace(case, history=[first, *case.history]))


def test_i9_an_end_that_is_reported_too_early() -> None:
    case = good_case()
    case.reports.insert(0, Report(job=JOB, state="SUCCEEDED", terminal=True, began_us=0, at_us=1))
    assert "before SQL said so" in violated(case)["I9"][0]


def test_i9_an_end_that_does_not_stay() -> None:
    case = good_case()
    at_us = case.reports[-1].at_us
    case.reports.append(Report(job=JOB, state="RUNNING", terminal=False, began_us=at_us + 1, at_us=at_us + 2))
    assert "was reported as RUNNING after it had been SUCCEEDED" in violated(case)["I9"][0]


@pytest.mark.parametrize(("what", "much"), [("descriptors", 300), ("threads", 200), ("memory_kb", 2_000_000)])
def test_i10_what_does_not_return_to_where_it_was(what: str, much: int) -> None:
    case = good_case()
    role, who, use = case.behind[0]
    case.behind[0] = (role, who, replace(use, **{what: much}))
    assert str(much) in violated(case)["I10"][0]


def test_a_job_that_ends_otherwise_than_its_type_is_meant_to() -> None:
    case = good_case()
    case.posted[JOB] = Posted(job=JOB, kind=kind("REVERTED"), at_us=0)
    assert "(line) is SUCCEEDED" in violated(case)["E"][0]


def test_a_job_that_does_not_say_why() -> None:
    case = undone_case()
    case.seen[JOB] = ("REVERTED", "")
    assert "does not say why" in violated(case)["E"][0]


def test_a_job_whose_owners_were_killed_five_times_may_be_set_aside() -> None:
    case = changed(good_case(), lambda change: change.state == "SUCCEEDED", state="FAILED", deaths=5)
    case.seen[JOB] = ("FAILED", "The process that ran this job died 5 times")
    assert "E" not in violated(case)


def test_a_corrupted_job_of_which_nobody_speaks() -> None:
    case = good_case()
    case.harms[JOB] = Harm(job=JOB, what="its atoms deleted", at_us=0, state="RUNNING")
    assert set(violated(case)) == {"C"}
    case.harms[JOB] = replace(case.harms[JOB], words="The row of job ... cannot be read")
    assert violated(case) == {}


def test_a_conductor_that_gives_up() -> None:
    assert violated(replace(good_case(), given_up=["alice ended with 1"]))["S"] == ["alice ended with 1"]
    assert violated(replace(good_case(), exit_codes=[0, 1]))["S"] == ["left with exit code 1"]
