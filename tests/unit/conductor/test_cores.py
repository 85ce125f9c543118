"""What is read of the machine's processor cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobrunner.conductor.turns import cores
from jobrunner.conductor.turns.cores import core_times, shares, spread

STAT = """cpu  100 0 50 800 50 0 0 0 0 0
cpu0 10 1 5 60 10 2 2 10 9 9
cpu12 0 0 0 100 0 0 0 0 0 0
intr 1 2 3
ctxt 7
"""


def test_cores_that_idle_wait_or_were_taken_away_are_not_in_use_and_guests_count_once(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT)
    assert core_times(stat) == {0: (20.0, 100.0), 12: (0.0, 100.0)}


@pytest.mark.parametrize("text", ["cpu0 1 2\n", "cpu0 a b c d e f g h\n", "cpux 1 2 3 4 5 6 7 8\n", "cpu\n"])
def test_what_cannot_be_read_is_an_error_of_the_system(text: str, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(text)
    with pytest.raises(OSError, match="proc_stat"):
        core_times(stat)


def test_there_are_none_where_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="stat"):
        core_times(tmp_path / "stat")


def test_shares_are_of_what_was_counted_between_two_looks() -> None:
    before = {0: (10.0, 100.0), 1: (10.0, 100.0), 2: (50.0, 100.0)}
    now = {0: (60.0, 200.0), 1: (10.0, 100.0), 2: (40.0, 90.0), 3: (5.0, 10.0)}
    assert shares(before, now) == {0: 0.5}


@pytest.mark.parametrize(
    ("pairs", "order"),
    [
        (["0-1", "0-1", "2-3", "2-3"], [0, 2, 1, 3]),
        (["0,2", "1,3", "0,2", "1,3"], [0, 1, 2, 3]),
        (["0", "1", "2", "3"], [0, 1, 2, 3]),
    ],
)
def test_hardware_threads_of_one_core_are_taken_last(
    pairs: list[str], order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "siblings_of", lambda core: pairs[core])
    assert spread({3, 1, 2, 0}) == order


def test_a_core_of_which_nothing_is_known_has_no_siblings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "SIBLINGS", f"{tmp_path}/cpu{{}}")
    assert spread({5, 4}) == [4, 5]
