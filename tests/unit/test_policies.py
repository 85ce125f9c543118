"""Policies as values: their pauses, their JSON, and which of two counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobrunner import RetryPolicy, retries
from jobrunner.model import JobState
from jobrunner.policies import BAD_ENDS, CRITICAL_ATTEMPTS, Hold, Policies


def test_pauses_grow_to_a_limit() -> None:
    retry = RetryPolicy(attempts=9, delay=10, factor=3, max_delay=200, jitter=0.5)
    assert [retry.pause(attempt, chance=0) for attempt in (1, 2, 3, 4, 5, 500)] == [10, 30, 90, 200, 200, 200]
    assert (retry.pause(1, chance=-1), retry.pause(1, chance=1)) == (5, 15)
    assert all(5 <= retry.pause(1) <= 15 for _ in range(50))
    assert len({retry.pause(1) for _ in range(50)}) > 10


def test_fixed_pauses_are_alike() -> None:
    retry = retries(5, delay="1m", backoff="fixed", jitter=0)
    assert {retry.pause(attempt) for attempt in range(1, 6)} == {60.0}


def test_a_retry_follows_only_the_ends_it_names_while_attempts_are_left() -> None:
    retry = retries(2, on=("failed", "timed-out"))
    assert [retry.allows_after(JobState.FAILED, attempt) for attempt in (1, 2, 3)] == [True, True, False]
    assert retry.allows_after(JobState.TIMED_OUT, 1)
    assert not retry.allows_after(JobState.REVERTED, 1)
    assert not any(RetryPolicy(attempts=9).allows_after(state, 1) for state in set(JobState) - set(BAD_ENDS))


@pytest.mark.parametrize(
    "settings",
    [
        {"attempts": 0}, {"attempts": True}, {"attempts": 1.5}, {"attempts": 10**9}, {"delay": -1}, {"delay": "1m"},
        {"delay": float("nan")}, {"max_delay": 10**12}, {"factor": 0.5}, {"jitter": 2}, {"on": ()},
        {"on": ("CANCELLED",)}, {"on": ("SUCCEEDED",)}, {"on": ("nonsense",)},
    ],
)  # fmt: skip
def test_a_retry_that_makes_no_sense_is_refused_in_words(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} is .*, and has to be "):
        RetryPolicy(**settings)


@pytest.mark.parametrize("times", [-1, True, 1.0, "3", 1000])
def test_a_number_of_retries_that_is_none_is_refused(times: Any) -> None:
    with pytest.raises(ValueError, match="no number of retries"):
        retries(times)


def test_policies_are_json_and_back() -> None:
    policies = Policies(retry=retries(3, delay="5s", on="failed"), critical=True, holds=(Hold(name="disk"),))
    assert Policies.from_json(json.loads(json.dumps(policies.to_json()))) == policies
    assert Policies.from_json({"retry": {"attempts": 2, "of a later version": 1}}).retry == RetryPolicy(
        attempts=2
    )


def test_a_critical_job_is_retried_three_times_at_least_after_any_bad_end() -> None:
    assert Policies(critical=True).retrying.attempts == CRITICAL_ATTEMPTS == 4
    own = retries(1, delay="7s", on="failed")
    retrying = Policies(critical=True, retry=own).retrying
    assert (retrying.attempts, retrying.on, retrying.delay) == (4, BAD_ENDS, 7)
    assert Policies(critical=True, retry=retries(9)).retrying.attempts == 10
    assert Policies().retrying.attempts == 1


def test_a_postings_policies_go_over_those_of_its_type() -> None:
    of_type = Policies(retry=retries(2), critical=True, holds=(Hold(name="disk"), Hold(name="net")))
    posted = Policies(retry=retries(5), holds=(Hold(name="disk", units=2),))
    found = posted.over(of_type)
    assert found.retry == retries(5)
    assert found.critical
    assert {hold.name: hold.units for hold in found.holds} == {"disk": 2, "net": 1}
    assert Policies().over(of_type) == of_type
