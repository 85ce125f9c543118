"""What a run may use, as people write it: ``memory="512MB"``, ``dead_after="10m"``, ``run_as="www-data:www-data"``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jobrunner.policies import RunLimits
from jobrunner.quantities import parse_duration, parse_size

Duration = str | int | float | timedelta


def run_limits(
    *,
    isolation: str | None = None,
    memory: str | int | None = None,
    dead_after: Duration | None = None,
    dead_below: float | None = None,
    run_as: str | None = None,
    grace: Duration | None = None,
) -> RunLimits | None:
    """The limits, None if none is given; raises ValueError, which names what is wrong."""
    user, group = _account(run_as)
    limits = RunLimits(
        isolation=isolation,
        memory=_read("memory", parse_size, memory),
        dead_after=_read("dead_after", parse_duration, dead_after),
        dead_below=dead_below,
        user=user,
        group=group,
        grace=_read("grace", parse_duration, grace),
    )
    return limits if limits.to_json() else None


def _read(name: str, parse: Callable[[Any], Any], value: Any) -> Any:
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _account(run_as: str | None) -> tuple[str | None, str | None]:
    if run_as is None:
        return None, None
    user, separator, group = str(run_as).partition(":")
    if not user or (separator and not group):
        raise ValueError(f"run_as is {run_as!r}, and has to be user or user:group")
    return user, group or None
