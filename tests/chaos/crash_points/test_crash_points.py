"""A crash at any write of the journal changes nothing: on SQLite here, on the servers by ``make crash``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.crash_points.one import report_of
from tests.chaos.crash_points.shapes import SHAPES

LONGEST = "retried waiting"
"""Has twice the writes of any other: it is left to `make crash`."""
THOROUGH = ("retried job", "in vain")


def _param(shape: str) -> Any:
    return pytest.param(shape, marks=pytest.mark.thorough) if shape in THOROUGH else shape


@pytest.mark.parametrize("shape", [_param(name) for name in SHAPES if name != LONGEST])
def test_a_crash_at_any_write_changes_nothing(shape: str, sqlite_url: str, tmp_path: Path) -> None:
    report = report_of(sqlite_url, shape, tmp_path)
    assert report.differences == []
    assert report.repeated == 0
    least = SHAPES[shape].least_writes
    assert report.writes >= least
    assert report.lost_answers >= least
    # Before each write, after it, and at one of these before a successor dies too.
    assert report.kills >= 3 * least
    assert report.kills > report.runs - report.lost_answers  # some successors did


@pytest.mark.thorough
@pytest.mark.parametrize("shape", ["retry Times", "retry gives up"])
def test_nor_does_one_after_any_single_change(shape: str, sqlite_url: str, tmp_path: Path) -> None:
    report = report_of(sqlite_url, shape, tmp_path, changes=True)
    assert report.differences == []
    assert report.repeated == 0
    assert report.writes >= 2 * SHAPES[shape].least_writes
    assert report.kills >= report.writes


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("late", ["it is not recorded that it began", "with a result of a that is not recorded"]),
        ("resultless", ["with a result of a that is not recorded", "/atoms/a/results is None"]),
        ("startless", ["it is not recorded that it began"]),
        ("forgetful", ["a executes once more, though it is recorded as done", "/two rows is "]),
    ],
)
def test_what_breaks_a_promise_is_found_out(
    broken: str, found: list[str], sqlite_url: str, tmp_path: Path
) -> None:
    report = report_of(sqlite_url, "linear", tmp_path, broken=broken)
    for what in found:
        assert any(what in difference for difference in report.differences), report.differences[:20]
    assert report.repeated > 0 or broken != "forgetful"
