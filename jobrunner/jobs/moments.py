"""Times as people write them: ISO dates and times, ``18:30``, ``tomorrow 6:00``, ``monday 9:00``, ``in 10m``.

A zone is named as in ``2027-01-01 06:00 Europe/Berlin`` (IANA's names) or by its offset from UTC; without one it is the
machine's own. Where clocks are put forward, a time that they leave out counts by the clock before; where they are put
back, a time that comes twice is the first of the two. Either is said in the moment's note.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from jobrunner.errors import UsageError
from jobrunner.quantities import parse_duration
from jobrunner.times import LAST_MS

FORMS = "2027-01-31 06:00, 2027-01-31T06:00+01:00, 18:30, tomorrow 6:00, monday 9:00 or in 10m"
HINT = f"Write it as {FORMS}; a zone may follow, as Europe/Berlin or UTC."
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SHOWN_ZONES = 3

_DAY = r"(?P<day>\d{4}-\d{1,2}-\d{1,2}|today|tomorrow|" + "|".join(WEEKDAYS) + ")"
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,6}))?)?"
_OFFSET = r"(?P<offset>z|[+-]\d{2}:?\d{2})"
_MOMENT = re.compile(rf"(?:{_DAY})?(?:[t\s]\s*)?(?:{_CLOCK}\s*{_OFFSET}?)?", re.IGNORECASE)
_ZONE = re.compile(r"(?P<rest>.*\S)\s+(?P<zone>[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+)*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A time that somebody meant; ``note`` says how it was taken where that is not plain."""

    at_ms: int
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    """A time's parts as they were written."""

    day: str | None
    clock: time | None
    offset: tzinfo | None


def parse_moment(text: str, *, zone: str | None = None, now: datetime | None = None) -> Moment:
    """The moment that ``text`` means; a clock time alone is the next one.

    :param zone: for a text that names none; None is the machine's own
    :param now: with its zone

    Raises UsageError, with what can be written, for anything else and for a zone that nobody knows.
    """
    now = now or datetime.now(timezone.utc)
    bare, named = _apart(text.strip())
    if named is not None and zone is not None and named != zone:
        raise UsageError(f"{text!r} names another zone than {zone!r}.", hint="Give the zone once.")
    known = _known_zone(named or zone)
    if bare.lower().startswith("in "):
        return Moment(at_ms=after(now, bare[3:]))
    written = _written(bare, text)
    if written.offset is not None and (named or zone):
        raise UsageError(f"{text!r} has an offset from UTC, and a zone as well.", hint="Give one of them.")
    try:
        return _with_offset(written, now) if written.offset is not None else _in_zone(written, known, now)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{text!r} is too long ago, or too far away: {error}.", hint=HINT) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class When:
    """When a job may start, and until when; ``notes`` say how times were taken where that is not plain."""

    available_ms: int | None = None
    expires_ms: int | None = None
    notes: tuple[str, ...] = ()


def read_when(
    *,
    at: str | None = None,
    delay: float | None = None,
    expires: str | None = None,
    zone: str | None = None,
    now: datetime | None = None,
) -> When:
    """When a job is to start, and to expire, as people say it.

    :param delay: seconds, in the place of ``at``
    :param expires: a time, or a duration from when the job may start

    Raises UsageError for what cannot be read, for a start that is past, and for an expiry before the start.
    """
    now = now or datetime.now(timezone.utc)
    if at is not None and delay is not None:
        raise UsageError("A job starts at a time or after a delay, not both.", hint="Leave one of them out.")
    start = _start(at, delay, zone, now)
    end = None if expires is None else _end(expires, zone, start, now)
    if end is not None and end.at_ms <= max(_in_ms(now), start.at_ms if start else 0):
        raise UsageError(
            f"With {expires!r} the job would expire before it may start.", hint="Let it expire later."
        )
    return When(
        available_ms=start.at_ms if start else None,
        expires_ms=end.at_ms if end else None,
        notes=tuple(moment.note for moment in (start, end) if moment and moment.note),
    )


def _start(at: str | None, delay: float | None, zone: str | None, now: datetime) -> Moment | None:
    if at is None:
        return None if delay is None else Moment(at_ms=after(now, delay))
    start = parse_moment(at, zone=zone, now=now)
    if start.at_ms < _in_ms(now):
        past = datetime.fromtimestamp(start.at_ms / 1000, timezone.utc)
        raise UsageError(f"{at!r} is past: it was {_shown(past)}.", hint="Leave it out to start the job now.")
    return start


def _end(expires: str, zone: str | None, start: Moment | None, now: datetime) -> Moment:
    begin_ms = max(_in_ms(now), start.at_ms if start else 0)
    try:
        seconds = parse_duration(expires)
    except ValueError:
        return parse_moment(expires, zone=zone, now=now)
    if begin_ms + seconds * 1000 > LAST_MS:
        raise UsageError(
            f"{expires!r} is too far away: there is no year 10000.", hint="Let it expire sooner."
        )
    return Moment(at_ms=begin_ms + round(seconds * 1000))


def after(now: datetime, duration: str | float) -> int:
    """Milliseconds since the epoch of ``now`` and a duration; raises UsageError."""
    try:
        seconds = parse_duration(duration)
        if seconds < 0:
            raise ValueError(f"{duration!r} is less than nothing")
        return _in_ms(now + timedelta(seconds=seconds))
    except OverflowError:
        raise UsageError(f"{duration!r} is too far away: there is no year 10000.", hint=HINT) from None
    except ValueError as error:
        raise UsageError(f"{error}.", hint=HINT) from None


# Taking it apart


def _apart(text: str) -> tuple[str, str | None]:
    """The text without a zone's name at its end, and that name."""
    found = _ZONE.fullmatch(text)
    if found is None or found["zone"].lower() in ("z", "today", "tomorrow", *WEEKDAYS):
        return text, None
    return (text, None) if text.lower().startswith("in ") else (found["rest"], found["zone"])


def _written(bare: str, text: str) -> _Written:
    found = _MOMENT.fullmatch(bare)
    if found is None or not (found["day"] or found["hour"]):
        raise UsageError(f"{text!r} is no time that can be read.", hint=HINT)
    try:
        return _Written(day=found["day"], clock=_clock(found), offset=_offset(found["offset"]))
    except ValueError as error:
        raise UsageError(f"{text!r} is no time: {error}.", hint=HINT) from None


def _clock(found: re.Match[str]) -> time | None:
    if found["hour"] is None:
        return None
    micros = int((found["fraction"] or "0").ljust(6, "0"))
    return time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0), micros)


def _offset(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text in "zZ":
        return timezone.utc
    digits = text[1:].replace(":", "")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-span if text[0] == "-" else span)


def _known_zone(name: str | None) -> tzinfo | None:
    """The zone of this name; None is the machine's own."""
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {name!r}{_similar(name)}", hint=_zone_hint()) from None


def _similar(name: str) -> str:
    known = zoneinfo.available_timezones()
    close = [one for one in sorted(known) if one.lower() == name.lower()]
    close += difflib.get_close_matches(name, known, n=SHOWN_ZONES)
    close += [one for one in sorted(known) if one.rpartition("/")[2].lower() == name.lower()]
    few = list(dict.fromkeys(close))[:SHOWN_ZONES]
    return f": did you mean {' or '.join(few)}?" if few else "."


def _zone_hint() -> str:
    if zoneinfo.available_timezones():
        return "Use IANA's names, as Europe/Berlin or UTC."
    return "This machine knows no time zones: install Debian's package tzdata, or Python's of that name."


# Putting it together


def _with_offset(written: _Written, now: datetime) -> Moment:
    offset = written.offset
    return _placed(
        written, now.astimezone(offset), lambda naive: Moment(at_ms=_in_ms(naive.replace(tzinfo=offset)))
    )


def _in_zone(written: _Written, zone: tzinfo | None, now: datetime) -> Moment:
    return _placed(written, now.astimezone(zone), lambda naive: _on_the_wall(naive, zone))


def _placed(written: _Written, here: datetime, place: Callable[[datetime], Moment]) -> Moment:
    """The moment on the day that was written; of a clock time, or a weekday, alone the next one."""
    clock = written.clock or time()
    day, every = _day(written.day, here.date())
    found = place(datetime.combine(day, clock))
    if every and found.at_ms <= _in_ms(here):
        found = place(datetime.combine(day + timedelta(days=every), clock))
    return found


def _day(written: str | None, today: date) -> tuple[date, int]:
    """The first day that can be meant, and after how many days it is meant again; 0 for a day that comes once."""
    if written is None:
        return today, 1
    word = written.lower()
    if word in WEEKDAYS:
        return today + timedelta(days=(WEEKDAYS.index(word) - today.weekday()) % 7), 7
    if word in ("today", "tomorrow"):
        return today + timedelta(days=word == "tomorrow"), 0
    year, month, day = map(int, word.split("-"))
    try:
        return date(year, month, day), 0
    except ValueError as error:
        raise UsageError(f"{written} is no day: {error}.", hint=HINT) from None


def _on_the_wall(naive: datetime, zone: tzinfo | None) -> Moment:
    """When clocks in the zone show this, with a word about those that show it twice, or never."""
    first, second = (_in_ms(naive.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if first == second:
        return Moment(at_ms=first)
    where = "here" if zone is None else f"in {zone}"
    taken = datetime.fromtimestamp(first / 1000, timezone.utc).astimezone(zone)
    if first > second:
        note = (
            f"{naive} does not exist {where}, since clocks are put forward; it was taken as {_shown(taken)}."
        )
    else:
        other = datetime.fromtimestamp(second / 1000, timezone.utc).astimezone(zone)
        note = (
            f"{naive} comes twice {where}, since clocks are put back; it was taken as the first, {_shown(taken)}. "
            f"The second is {_shown(other)}."
        )
    return Moment(at_ms=first, note=note)


def _shown(moment: datetime) -> str:
    return moment.isoformat(" ", "minutes" if not moment.second else "seconds")


def _in_ms(moment: datetime) -> int:
    """Milliseconds since the epoch; without a zone it is the machine's own clock that shows this."""
    return round(moment.timestamp() * 1000)
