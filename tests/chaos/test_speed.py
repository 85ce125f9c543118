"""The check of whether dead workers' jobs are handed back tells that from leases that run out."""

from __future__ import annotations

import pytest

from tests.chaos.checker import Tally
from tests.chaos.speed import ENOUGH, are_handed_back

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
