"""The checks by owners find what they are there to find, for a system that has no epochs."""

from __future__ import annotations

from dataclasses import replace

from jobrunner.model import flow_id
from tests.chaos.case import Absence, Case, Kind, Line, Posted, Window
from tests.chaos.checker import Tally, check_all
from tests.chaos.history import Change
from tests.chaos.machines import Death

JOB = "00000000-0000-4000-8000-000000000001"
FLOW = flow_id(JOB, 1)
FIRST, SECOND = "alice:1:aa", "bob:2:bb"
DIED_US = 3_000_000


def change(seq: int, at_us: int, table: str, state: str, **said: object) -> Change:
    row = JOB if table == "jobs" else f"{said.get('name')}-id"
    known = {"attempt": 1, "deaths": 0} if table == "jobs" else {"parent": FLOW, "kind": "TASK_DETAIL"}
    return Change(
        seq=seq, at_us=at_us, connection=1, table=table, op="U", row=row, state=state, **known, **said
    )  # type: ignore[arg-type]


def line(at_us: int, owner: str, atom: str, what: str) -> Line:
    return Line(
        job=JOB,
        atom=atom,
        what=what,
        attempt=1,
        epoch=None,
        owner=owner,
        pid=1,
        at=at_us / 1e6,
        wall_us=at_us,
    )


def taken_over() -> Case:
    """An owner dies in its second atom, another one goes on a second later."""
    return Case(
        lease=2.0,
        has_epochs=False,
        posted={JOB: Posted(job=JOB, at_us=0, kind=Kind(name="line", type="t", parameters={}, ends=("SUCCEEDED",)))},
        history=[
            change(1, 1_000_000, "jobs", "WAITING"),
            change(2, 1_900_000, "jobs", "RUNNING"),
            change(3, 1_990_000, "atomdetails", "RUNNING", name="a"),
            change(4, 2_200_000, "atomdetails", "SUCCESS", name="a", was="RUNNING"),
            change(5, 2_300_000, "atomdetails", "RUNNING", name="b"),
            change(6, 4_200_000, "atomdetails", "SUCCESS", name="b", was="RUNNING"),
            change(7, 4_300_000, "jobs", "SUCCEEDED"),
        ],
        evidence=[
            line(2_000_000, FIRST, "a", "start"),
            line(2_100_000, FIRST, "a", "end"),
            line(2_400_000, FIRST, "b", "start"),
            line(4_000_000, SECOND, "b", "start"),
            line(4_100_000, SECOND, "b", "end"),
        ],
        deaths=[Death(owner="alice:1:", at_us=DIED_US)],
        machines=("alice", "bob"),
    )  # fmt: skip


def tallies(case: Case) -> dict[str, Tally]:
    return {tally.name: tally for tally in check_all(case)}


def violated(case: Case) -> set[str]:
    return {name for name, tally in tallies(case).items() if tally.violations}


def test_a_takeover_in_time_is_fine() -> None:
    found = tallies(taken_over())
    assert violated(taken_over()) == set()
    assert (found["I4"].checks, found["I8"].checks, found["E"].checks) == (3, 1, 1)
    assert not {"I6", "C"} & found.keys()


def test_a_former_owner_that_starts_another_atom_is_found() -> None:
    case = taken_over()
    late = line(4_050_000, FIRST, "b", "start")
    assert "I4" in violated(replace(case, evidence=sorted([*case.evidence, late], key=lambda each: each.at)))


def test_what_a_former_owner_still_had_under_way_is_left_out() -> None:
    case = taken_over()
    late = [line(4_050_000, FIRST, "b", "end"), line(4_200_000, FIRST, "b", "revert")]
    assert (
        violated(replace(case, evidence=sorted([*case.evidence, *late], key=lambda each: each.at))) == set()
    )


def test_a_job_that_nobody_takes_over_is_found() -> None:
    case = taken_over()
    stuck = replace(case, evidence=case.evidence[:3], history=case.history[:5])
    assert violated(stuck) == {"I1", "I8"}


def test_a_takeover_that_comes_late_is_found_unless_something_held_it_up() -> None:
    case = taken_over()
    began_us = 9_000_000
    late = [*case.evidence[:3], line(began_us, SECOND, "b", "start"), line(began_us + 1, SECOND, "b", "end")]
    ends = [replace(each, at_us=each.at_us + 6_000_000) for each in case.history[5:]]
    slow = replace(case, evidence=late, history=[*case.history[:5], *ends])
    assert violated(slow) == {"I8"}
    window = Window(begin_us=DIED_US, end_us=DIED_US + 1, why="redis was away")
    assert violated(replace(slow, windows=[window])) == set()
    away = Absence(machine="bob", begin_us=DIED_US - 1, end_us=began_us)
    assert violated(replace(slow, absences=[away])) == set()


def test_an_end_that_its_type_does_not_have_is_found() -> None:
    case = taken_over()
    failed = [*case.history[:-1], replace(case.history[-1], state="FAILED")]
    assert violated(replace(case, history=failed)) == {"E"}
