"""Times as people write them, in zones whose clocks change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from jobrunner.errors import UsageError
from jobrunner.jobs.moments import parse_moment, read_when

NOW = datetime(2027, 1, 1, 12, 0, tzinfo=timezone.utc)  # a Friday


def utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, timezone.utc).isoformat(" ").removesuffix("+00:00")


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-01 06:00 Europe/Berlin", "2027-01-01 05:00:00"),
        ("2027-07-01T06:00 Europe/Berlin", "2027-07-01 04:00:00"),
        ("2027-01-01t06:00:30.25Z", "2027-01-01 06:00:30.250000"),
        ("2027-1-2 6:00 UTC", "2027-01-02 06:00:00"),
        ("2027-01-01T06:00+05:30", "2027-01-01 00:30:00"),
        ("2027-01-01 06:00 -0800", "2027-01-01 14:00:00"),
        ("2027-01-31 America/New_York", "2027-01-31 05:00:00"),
        ("18:30 UTC", "2027-01-01 18:30:00"),
        ("6:00 UTC", "2027-01-02 06:00:00"),
        ("12:00 UTC", "2027-01-02 12:00:00"),
        ("18:30:15Z", "2027-01-01 18:30:15"),
        ("20:30 Asia/Tokyo", "2027-01-02 11:30:00"),  # it is 21:00 there
        ("21:30 Asia/Tokyo", "2027-01-01 12:30:00"),
        ("today 9:00 UTC", "2027-01-01 09:00:00"),
        ("tomorrow 6:00 UTC", "2027-01-02 06:00:00"),
        ("Tomorrow UTC", "2027-01-02 00:00:00"),
        ("tomorrow 6:00 Pacific/Auckland", "2027-01-02 17:00:00"),  # it is tomorrow there already
        ("friday 9:00 UTC", "2027-01-08 09:00:00"),
        ("friday 13:00 UTC", "2027-01-01 13:00:00"),
        ("sunday 13:00 UTC", "2027-01-03 13:00:00"),
        ("in 1h30m", "2027-01-01 13:30:00"),
    ],
)
def test_what_people_write_is_understood(text: str, expected: str) -> None:
    moment = parse_moment(text, now=NOW)
    assert (utc(moment.at_ms), moment.note) == (expected, None)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "no time that can be read", "18:30"),
        ("noonish", "no time that can be read", "tomorrow 6:00"),
        ("2027-02-30", "is no day", "2027-01-31"),
        ("25:00", "hour must be in 0..23", "18:30"),
        ("6", "no time that can be read", "18:30"),
        ("6:00 Europa/Berlin", "no time zone 'Europa/Berlin': did you mean Europe/Berlin", "IANA"),
        ("6:00 Europa/Berlin", r"Berlin.*[a-z]\?$", "IANA"),
        ("in 9999999d", "'9999999d' is too far away", "in 10m"),
        ("6:00 berlin", "did you mean Europe/Berlin", "IANA"),
        ("6:00 ../../etc/passwd", "no time that can be read", "18:30"),
        ("6:00+01:00 UTC", "and a zone as well", "one of them"),
        ("in soon", "not a duration", "in 10m"),
        ("in -5m", "less than nothing", "in 10m"),
        ("0001-01-01 00:00", "too long ago", "2027"),
    ],
)
def test_what_cannot_be_understood_is_told_with_what_can(
    in_berlin: None, text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as told:
        parse_moment(text, now=NOW)
    assert hint in (told.value.hint or "")


def test_a_zone_may_be_given_apart_but_not_another_one() -> None:
    assert parse_moment("6:00", zone="Asia/Tokyo", now=NOW) == parse_moment("6:00 Asia/Tokyo", now=NOW)
    assert parse_moment("6:00 UTC", zone="UTC", now=NOW)
    with pytest.raises(UsageError, match="names another zone"):
        parse_moment("6:00 UTC", zone="Asia/Tokyo", now=NOW)


@pytest.mark.parametrize(
    ("text", "taken", "words"),
    [
        ("2027-03-28 02:30", "2027-03-28 01:30:00", ["does not exist", "taken as 2027-03-28 03:30+02:00"]),
        ("2027-10-31 02:30", "2027-10-31 00:30:00", ["comes twice", "first, 2027-10-31 02:30+02:00", "02:30+01:00"]),
    ],
)  # fmt: skip
def test_times_that_clocks_skip_or_show_twice_are_taken_and_said(
    in_berlin: None, text: str, taken: str, words: list[str]
) -> None:
    for written, where in ((text, "here"), (f"{text} Europe/Berlin", "in Europe/Berlin")):
        moment = parse_moment(written, now=NOW)
        assert utc(moment.at_ms) == taken
        assert moment.note
        assert all(word in moment.note for word in [*words, where])


def test_without_a_zone_the_machines_own_counts(in_berlin: None) -> None:
    assert utc(parse_moment("2027-07-01 06:00", now=NOW).at_ms) == "2027-07-01 04:00:00"
    assert utc(parse_moment("12:30", now=NOW).at_ms) == "2027-01-02 11:30:00"  # it is 13:00 in Berlin


def test_an_expiry_counts_from_when_the_job_may_start() -> None:
    when = read_when(at="14:00", expires="30m", zone="UTC", now=NOW)
    assert (utc(when.available_ms or 0), utc(when.expires_ms or 0)) == (
        "2027-01-01 14:00:00", "2027-01-01 14:30:00",
    )  # fmt: skip
    assert utc(read_when(expires="30m", now=NOW).expires_ms or 0) == "2027-01-01 12:30:00"
    assert utc(read_when(delay=60.0, expires="13:00Z", now=NOW).expires_ms or 0) == "2027-01-01 13:00:00"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"at": "today 11:59 UTC"}, "is past: it was 2027-01-01 11:59"),
        ({"at": "18:00 UTC", "delay": 3.0}, "not both"),
        ({"delay": 3600.0, "expires": "12:30Z"}, "expire before it may start"),
        ({"expires": "0s"}, "expire before it may start"),
        ({"delay": 1e18}, "too far away"),
    ],
)
def test_times_that_cannot_be_are_told(said: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_when(**said, now=NOW)  # type: ignore[arg-type]
