"""What a decorator is told of a job type, read and checked: each raises PluginError, which names the function."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jobrunner.errors import PluginError
from jobrunner.model import Priority
from jobrunner.plugins.placing import placement
from jobrunner.plugins.retrying import retries
from jobrunner.plugins.run_limits import Duration, run_limits
from jobrunner.policies import Hold, Placement, RetryPolicy, RunLimits
from jobrunner.quantities import parse_duration

Function = Callable[..., Any]

ENGINES = ("serial", "parallel")
CRITICAL = "CRITICAL"
"""In the place of a priority: a critical job."""


def read_timeout(timeout: Duration | None, function: Function) -> float | None:
    if timeout is None:
        return None
    with _told(f"the timeout of {function.__qualname__}"):
        seconds = parse_duration(timeout)
    if seconds <= 0:
        raise PluginError(
            f"the timeout of {function.__qualname__} is {timeout!r}, and has to be more than nothing"
        )
    return seconds


def read_engine(engine: str, max_workers: int | None, function: Function) -> str:
    if engine not in ENGINES:
        raise PluginError(
            f"the engine of {function.__qualname__} is {engine!r}, and can be {' or '.join(ENGINES)}"
        )
    if max_workers is not None and (isinstance(max_workers, bool) or max_workers < 1):
        raise PluginError(
            f"max_workers of {function.__qualname__} is {max_workers!r}, and has to be at least 1"
        )
    return engine


def read_priority(priority: Priority | str | int | None, function: Function) -> Priority | None:
    if priority is None:
        return None
    try:
        if isinstance(priority, str):
            return Priority[priority.upper().replace("-", "_")]
        return Priority(priority)
    except (KeyError, ValueError):
        names = ", ".join([CRITICAL, *(level.name for level in Priority)])
        raise PluginError(
            f"the priority of {function.__qualname__} is {priority!r}, and can be {names}"
        ) from None


def is_critical(priority: Priority | str | int | None) -> bool:
    return isinstance(priority, str) and priority.upper() == CRITICAL


def read_placement(prefer: str | None, failover: Duration | None, function: Function) -> Placement | None:
    with _told(f"the placement of {function.__qualname__}"):
        return placement(prefer, failover)


def read_retry(retry: int | RetryPolicy | None, function: Function) -> RetryPolicy | None:
    if retry is None or isinstance(retry, RetryPolicy):
        return retry
    with _told(f"the retry of {function.__qualname__}"):
        return retries(retry)


def read_run_limits(function: Function, **given: Any) -> RunLimits | None:
    with _told(f"the limits of {function.__qualname__}"):
        return run_limits(**given)


def read_holds(
    name: str | None,
    holds: str | Hold | Iterable[str | Hold],
    max_running: int | None,
    rate: str | None,
    function: Function,
) -> tuple[Hold, ...]:
    from jobrunner.plugins.holds import hold_of_type, holds_of, merged

    with _told(f"what {function.__qualname__} holds"):
        own = hold_of_type(name or function.__name__, max_running, rate)
        return merged(holds_of(holds), [] if own is None else [own])


def read_unique(unique: bool | Iterable[str], function: Function) -> bool | tuple[str, ...]:
    if isinstance(unique, bool):
        return unique
    names = (unique,) if isinstance(unique, str) else tuple(unique)
    known = inspect.signature(function).parameters
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise PluginError(
            f"{function.__qualname__} cannot be unique by {', '.join(map(repr, unknown)) or 'nothing'}: "
            f"name some of its parameters ({', '.join(known) or 'it has none'}), or say True for all"
        )
    return tuple(sorted(names))


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise PluginError(f"{what}: {error}") from None
