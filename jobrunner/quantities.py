"""Durations, rates and sizes as people write them: ``2h``, ``1h30m``, ``PT2H``; ``10/1m``; ``500MB``, ``2GiB``."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

DURATION_EXPECTED = "a duration such as 90s, 10m, 2h, 1d, 1h30m or PT2H (a plain number is seconds)"
RATE_EXPECTED = "a rate such as 10/1m or 100/1h: so many starts in that time"
SIZE_EXPECTED = "a size such as 500MB, 2GiB or a number of bytes"

MOST_STARTS = 1000
"""A rate may allow so many starts in its period: the time of each is kept."""
LONGEST_PERIOD_S = 31 * 86_400.0

SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
BYTES_PER_UNIT = {"": 1, "B": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("KMGTP", start=1)
    for suffix, base in (("", 1024), ("B", 1000), ("iB", 1024))
}

_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
_PARTS = re.compile(rf"(?:{_NUMBER}\s*(?:ms|[smhdw])\s*)+", re.IGNORECASE)
_PART = re.compile(rf"({_NUMBER})\s*(ms|[smhdw])", re.IGNORECASE)
_ISO = re.compile(
    rf"P(?=.)(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=.)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.IGNORECASE,
)
_SIZE = re.compile(rf"({_NUMBER})\s*([KMGTP]?(?:iB|B)?)", re.IGNORECASE)


def parse_duration(value: str | int | float | timedelta) -> float:
    """Seconds of a duration that a person wrote.

    A sign in front makes it negative; numbers are seconds. Raises ValueError if it is not a duration.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is not {DURATION_EXPECTED}")
    seconds = _text_to_seconds(value) if isinstance(value, str) else float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{value!r} is not {DURATION_EXPECTED}")
    return seconds


def _text_to_seconds(text: str) -> float:
    bare = text.strip()
    sign = -1.0 if bare.startswith("-") else 1.0
    bare = bare[1:] if bare[:1] in ("+", "-") else bare
    if re.fullmatch(_NUMBER, bare):
        return sign * float(bare)
    if _PARTS.fullmatch(bare):
        return sign * sum(
            float(number) * SECONDS_PER_UNIT[unit.lower()] for number, unit in _PART.findall(bare)
        )
    if iso := _ISO.fullmatch(bare):
        per_group = (SECONDS_PER_UNIT[unit] for unit in "wdhms")
        return sign * sum(
            float(number or 0) * unit for number, unit in zip(iso.groups(), per_group, strict=True)
        )
    raise ValueError(f"{text!r} is not {DURATION_EXPECTED}")


def format_duration(seconds: float) -> str:
    """The duration in the units in which people write it: ``5400`` is ``1h30m``."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1 and seconds > 0:
        return f"{seconds * 1000:.0f}ms" if seconds >= 0.001 else f"{seconds * 1000:g}ms"
    rest, text = seconds, ""
    for unit in "dhm":
        count, rest = divmod(rest, SECONDS_PER_UNIT[unit])
        text += f"{count:.0f}{unit}" if count else ""
    return text + (f"{round(rest, 3):g}s" if rest or not text else "")


def parse_rate(text: str) -> tuple[int, float]:
    """How many starts are allowed in how many seconds: ``10/1m``; raises ValueError."""
    number, separator, period = text.partition("/")
    if not separator or not number.strip().isdecimal():
        raise ValueError(f"{text!r} is not {RATE_EXPECTED}")
    try:
        return check_rate(int(number), parse_duration(period))
    except ValueError as error:
        raise ValueError(f"{text!r} is no rate: {error}") from None


def check_rate(starts: Any, period: float) -> tuple[int, float]:
    """The rate, if it can be kept; raises ValueError."""
    if isinstance(starts, bool) or not isinstance(starts, int) or not 1 <= starts <= MOST_STARTS:
        raise ValueError(f"a rate has 1 to {MOST_STARTS:,} starts; for more, choose a shorter time")
    if not 0.001 <= period <= LONGEST_PERIOD_S:
        raise ValueError("the time of a rate is 1 ms to 31 days")
    return starts, float(period)


def parse_size(value: str | int) -> int:
    """Bytes of a size that a person wrote: ``MB`` is 1000², ``MiB`` and ``M`` are 1024².

    Raises ValueError if it is not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not {SIZE_EXPECTED}")
    number, unit = match.groups()
    factor = next(factor for name, factor in BYTES_PER_UNIT.items() if name.lower() == unit.lower())
    return int(float(number) * factor)


def format_size(size: float) -> str:
    """The size to three digits: ``1536`` is ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PiB"
