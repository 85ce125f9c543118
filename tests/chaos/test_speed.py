"""The check of whether dead workers' jobs are handed back tells that from leases that run out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.checker import Tally
from tests.chaos.history import Change
from tests.chaos.speed import ENOUGH, Claims, Takeover, are_handed_back

LEASE = 2.0
RUN_OUT = [1.5 + number / 20 for number in range(ENOUGH)]
"""A lease is kept four times before it ends, so that at least three quarters of it are left."""


def violations(seconds: list[float]) -> int:
    tally = Tally(name="I8", says="")
    are_handed_back(seconds, LEASE, tally)
    return tally.violations


def test_leases_that_run_out_are_found() -> None:
    assert violations(RUN_OUT) == 1


@pytest.mark.parametrize("late", [0, 1, ENOUGH // 2])
def test_some_that_take_longer_are_fine(late: int) -> None:
    assert violations([0.2] * (ENOUGH - late) + [3.0] * late) == 0


def test_a_few_tell_nothing() -> None:
    assert violations(RUN_OUT[1:]) == 0


def claim(at_s: float, job: str, owner: str, epoch: int) -> Change:
    return Change(
        seq=epoch, at_us=int(at_s * 1e6), connection=1, table="jobs", op="U", row=job, state="RUNNING",
        epoch=epoch, owner=owner,
    )  # fmt: skip


FORMER, NEW, OTHER = "a:1:x/1.aa", "a:1:x/1.bb", "a:1:x/0.cc"


@pytest.mark.parametrize(
    ("others", "left_out"),
    [
        ([], False),  # who took over may have been there all the time
        ([(11.0, FORMER)], True),  # it was started when the one before it had ended
        ([(11.0, FORMER), (13.98, NEW)], True),  # and took several at once
        ([(11.0, FORMER), (12.5, OTHER)], False),  # somebody was there, and took another job
        ([(11.0, FORMER), (11.5, OTHER)], True),  # but was not any more when the lease had run out
        ([(8.0, FORMER), (9.0, NEW)], False),
        ([(11.0, OTHER)], False),
    ],
)
def test_a_takeover_by_a_worker_that_had_to_be_started_first_is_not_measured(
    others: list[tuple[float, str]], left_out: bool
) -> None:
    taken = claim(14.0, "job", NEW, 2)
    jobs = {"job": [claim(5.0, "job", "dead", 1), taken]}
    for at_s, owner in others:
        jobs[f"of {owner}"] = [claim(1.0, "other", "dead", 1), claim(at_s, "other", owner, 2)]
    records: Any = SimpleNamespace(jobs=jobs, case=SimpleNamespace(lease=LEASE))
    takeover = Takeover(job="job", seconds=4.1, at_us=10_000_000, claim=taken)
    assert Claims(records).none_could(takeover) is left_out
