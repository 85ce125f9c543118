"""The placement among a job's policies."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.policies import Placement, Policies


def test_it_is_read_back_as_it_was_written() -> None:
    policies = Policies(placement=Placement(prefer="alice", failover=90.0))
    assert Policies.from_json(policies.to_json()) == policies


def test_the_time_counts_from_when_the_job_can_be_had() -> None:
    assert Placement(prefer="alice", failover=1.5).failover_ms(10_000) == 11_500


@pytest.mark.parametrize(
    "data",
    [
        {"prefer": 3},
        {"failover": "soon"},
        {"failover": -1},
        {"failover": float("nan")},
        {"failover": float("inf")},
    ],
)
def test_nonsense_in_a_row_is_an_error_of_that_row_only(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no placement"):
        Policies.from_json({"placement": data})
