"""Retry policies as people write them: how often, how long between, after which ends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from jobrunner.policies import BAD_ENDS, MOST_ATTEMPTS, RetryPolicy
from jobrunner.quantities import parse_duration
from jobrunner.states import JobState

BACKOFFS = {"fixed": 1.0, "exponential": 2.0}
DEFAULTS = RetryPolicy()


def retries(
    times: int,
    *,
    delay: str | float | timedelta = DEFAULTS.delay,
    backoff: str | float = "exponential",
    max_delay: str | float | timedelta = DEFAULTS.max_delay,
    jitter: float = DEFAULTS.jitter,
    on: str | JobState | Iterable[str | JobState] = BAD_ENDS,
) -> RetryPolicy:
    """Run a job again up to ``times`` times after it ended badly: ``retries(3, delay="30s", on=("failed",))``.

    :param delay: the first pause, as people write durations; a number is seconds
    :param backoff: ``fixed`` for pauses alike, ``exponential`` for each twice as long as the one before, or the factor
    :param jitter: so much of itself a pause may be longer or shorter, so that jobs that failed together come apart
    :param on: the ends that a retry follows: ``failed``, ``reverted``, ``timed-out``, ``dead``; all of them by default

    Raises ValueError, in words for people.
    """
    if type(times) is not int or not 0 <= times < MOST_ATTEMPTS:
        raise ValueError(f"{times!r} is no number of retries: it has to be 0 to {MOST_ATTEMPTS - 1}")
    return RetryPolicy(
        attempts=times + 1,
        on=on,  # type: ignore[arg-type] # it takes names as well, and makes states of them
        delay=parse_duration(delay),
        factor=_factor(backoff),
        max_delay=max(parse_duration(max_delay), parse_duration(delay)),
        jitter=jitter,
    )


def _factor(backoff: str | float) -> float:
    if isinstance(backoff, str):
        try:
            return BACKOFFS[backoff.strip().lower()]
        except KeyError:
            known = " or ".join(BACKOFFS)
            raise ValueError(f"the backoff is {backoff!r}, and can be {known}, or a factor") from None
    return backoff
