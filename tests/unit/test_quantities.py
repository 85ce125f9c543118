from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobrunner.quantities import format_duration, format_size, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86_400),
        ("1w", 604_800),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("250ms", 0.25),
        ("PT2H", 7200),
        ("P1DT1H", 90_000),
        ("P2W", 1_209_600),
        ("pt1m30.5s", 90.5),
        ("30", 30),
        (" 30 ", 30),
        ("-5m", -300),
        (45, 45),
        (1.5, 1.5),
        (timedelta(minutes=2), 120),
    ],
)
def test_reads_durations_as_people_write_them(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "written",
    ["", "h", "2 hours", "P", "PT", "1x", "2h x", "--5s", "nan", "inf", "1e3", True, None, float("nan")],
)
def test_refuses_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 90s, 10m, 2h"):
        parse_duration(written)  # type: ignore[arg-type]


@given(st.integers(min_value=0, max_value=10**9))
def test_formats_durations_so_that_they_can_be_read_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (5400, "1h30m"), (86_400, "1d"), (0.25, "250ms"), (61.5, "1m1.5s"), (-60, "-1m")],
)
def test_formats_durations_in_the_units_of_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("10/1m", (10, 60.0)),
        ("1/90s", (1, 90.0)),
        ("5 / 1.5s", (5, 1.5)),
        (" 2/1h30m ", (2, 5400.0)),
        ("1000/31d", (1000, 2_678_400.0)),
        ("1/1ms", (1, 0.001)),
        ("10/60", (10, 60.0)),
    ],
)
def test_reads_rates_as_people_write_them(written: str, rate: tuple[int, float]) -> None:
    assert parse_rate(written) == rate


@pytest.mark.parametrize("written", ["10", "/1m", "x/1m", "1.5/1m", "-1/1m"])
def test_refuses_what_is_no_rate(written: str) -> None:
    with pytest.raises(ValueError, match="is not a rate such as 10/1m"):
        parse_rate(written)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("10/", "'' is not a duration"),
        ("10/1y", "'1y' is not a duration"),
        ("0/1m", "1 to 1,000 starts"),
        ("1001/1m", "choose a shorter time"),
        ("1/0s", "1 ms to 31 days"),
        ("1/-1s", "1 ms to 31 days"),
        ("1/1000d", "1 ms to 31 days"),
    ],
)
def test_says_what_is_wrong_with_a_rate(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        parse_rate(written)
    assert str(raised.value).startswith(f"{written!r} is no rate: ")


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("2GiB", 2 * 1024**3),
        ("500MB", 500_000_000),
        ("500M", 500 * 1024**2),
        ("1.5 kib", 1536),
        ("10", 10),
        ("10B", 10),
        (7, 7),
    ],
)
def test_reads_sizes(written: str | int, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "GiB", "-1MB", "1XB", "1 MB MB", -1, True, None])
def test_refuses_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="is not a size such as 500MB"):
        parse_size(written)  # type: ignore[arg-type]


def test_formats_sizes() -> None:
    assert [format_size(size) for size in (0, 1536, 5 * 1024**3)] == ["0 B", "1.5 KiB", "5.0 GiB"]
