"""Semaphores as people write them: ``db``, ``db:2``, ``db:shared``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobrunner.names import is_name
from jobrunner.policies import ANY_NUMBER, Hold
from jobrunner.quantities import check_rate, parse_rate

NAME_LIMIT = 200
"""Characters in a semaphore's name."""
MOST_UNITS = 1_000_000
TYPE = "type:"
"""What the name of a job type's own semaphore begins with."""


def parse_hold(text: Any) -> Hold:
    """What somebody wants to hold: ``NAME`` is one unit, ``NAME:2`` two, ``NAME:shared`` a share; raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no semaphore's name")
    name, separator, how = text.strip().rpartition(":")
    if separator and how == "shared":
        return Hold(name=check_name(name), shared=True)
    if separator and how.isdecimal():
        return Hold(name=check_name(name), units=check_units(int(how)))
    return Hold(name=check_name(text.strip()))


def check_name(name: object) -> str:
    """The name, if a semaphore can have it; raises ValueError."""
    if not is_name(name, NAME_LIMIT):
        raise ValueError(
            f"{repr(name)[:60]} cannot name a semaphore: up to {NAME_LIMIT} printable characters, no blanks around them"
        )
    return str(name)


def check_units(units: Any) -> int:
    """The number, if a job can hold so many units; raises ValueError."""
    if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= MOST_UNITS:
        raise ValueError(f"{units!r} units cannot be held: 1 to {MOST_UNITS:,} can")
    return units


def check_hold(hold: Hold) -> Hold:
    """The hold, if it can be kept; raises ValueError."""
    check_name(hold.name)
    check_units(hold.units)
    if hold.starts:
        check_rate(hold.starts, hold.period)
    if not 0 <= hold.count <= ANY_NUMBER:
        raise ValueError(f"a semaphore cannot have {hold.count!r} units")
    return hold


def holds_of(given: str | Hold | Iterable[str | Hold]) -> tuple[Hold, ...]:
    """Holds as a plugin gives them: one or several, as text or as they are. Raises ValueError."""
    each = [given] if isinstance(given, (str, Hold)) else list(given)
    holds = [check_hold(one) if isinstance(one, Hold) else parse_hold(one) for one in each]
    return merged(holds)


def hold_of_type(name: str, max_running: int | None, rate: str | None) -> Hold | None:
    """The semaphore of a job type that says how many of its jobs run, or start in a time; raises ValueError."""
    if max_running is None and rate is None:
        return None
    starts, period = (0, 0.0) if rate is None else parse_rate(rate)
    count = ANY_NUMBER if max_running is None else check_units(max_running)
    return Hold(name=f"{TYPE}{name}", count=count, starts=starts, period=period)


def merged(*several: Iterable[Hold]) -> tuple[Hold, ...]:
    """The holds, one a name; the last given stays."""
    by_name = {hold.name: hold for holds in several for hold in holds}
    return tuple(by_name[name] for name in sorted(by_name))
