"""Limits: how many units a semaphore has, and how many jobs that hold it may start in a time.

A semaphore that nobody set a limit for is there all the same, as the jobs that name it say: a mutex, or what their type
says. What is set here goes before that, for jobs that wait already too; who holds it keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobrunner.errors import LimitNotFound, UsageError
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.offering import call
from jobrunner.names import may_be_stored
from jobrunner.persistence.permits import limits, passing
from jobrunner.persistence.permits.configured import NODE
from jobrunner.persistence.permits.limits import Limit as Limit
from jobrunner.plugins.holds import TYPE, check_name
from jobrunner.policies import ANY_NUMBER
from jobrunner.quantities import check_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many starts within so many seconds; no starts is any number."""

    starts: int
    period: float


NO_RATE = Rate(starts=0, period=0.0)


def list_limits(context: JobContext) -> list[Limit]:
    """The semaphores that have a limit, or are held or waited for, by name."""
    return limits.read(context.database)


def set_limit(context: JobContext, name: str, *, count: int | None = None, rate: Rate | None = None) -> Limit:
    """Set a limit, or change it: what is not given stays as it is, or is no limit. Those who now may begin, do.

    Raises UsageError.
    """
    try:
        check_name(name)
        if rate is not None and rate != NO_RATE:
            check_rate(rate.starts, rate.period)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    if count is not None and not 0 <= count <= ANY_NUMBER:
        raise UsageError(f"{count!r} is no number of units.", hint="Give 0 or more, or `any`.")
    if count is None and rate is None:
        raise UsageError(f"Nothing was said of {name}.", hint="Give a number of units, or a rate, or both.")
    if name.startswith(NODE) and rate is not None:
        raise UsageError(f"{name} cannot have a rate, only a number of jobs.", hint="Leave --rate out.")
    default = None if name.startswith(TYPE) else ANY_NUMBER  # as the type says
    found = limits.write(
        context.database,
        name,
        count=count,
        default=default,
        rate=None if rate is None else (rate.starts, round(rate.period * 1000)),
    )
    call(lambda: context.board, passing.next_in_line(context.database, [name]))
    return found


def delete_limit(context: JobContext, name: str) -> None:
    """Forget what was set; raises LimitNotFound if nothing was. Those who now may begin, do."""
    if not may_be_stored(name) or not limits.forget(context.database, name):
        raise LimitNotFound(
            f"There is no limit of the name {name!r}.", hint="`jobrunner limits list` shows those there are."
        )
    call(lambda: context.board, passing.next_in_line(context.database, [name]))
