from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobrunner.cli.room import share

FEW = st.integers(0, 30)


@given(FEW, st.lists(FEW, max_size=20), FEW, FEW)
def test_never_more_lines_than_there_are_and_none_wasted(
    lines: int, atoms: list[int], in_line: int, ended: int
) -> None:
    room = share(lines, atoms, in_line, ended)
    used = room.with_atoms + sum(room.atoms) + room.in_line + room.ended
    wanted = len(atoms) + sum(atoms) + in_line + ended
    assert used == min(lines, wanted)
    assert all(given <= want for given, want in zip(room.atoms, atoms, strict=False))
    assert len(room.atoms) == room.with_atoms


@given(st.integers(10, 30), st.lists(FEW, min_size=1, max_size=20), FEW, FEW)
def test_no_part_is_pushed_out_by_the_others(lines: int, atoms: list[int], in_line: int, ended: int) -> None:
    room = share(lines, atoms, in_line, ended)
    assert room.with_atoms > 0
    assert bool(room.in_line) == bool(in_line)
    assert bool(room.ended) == bool(ended)


def test_atoms_share_evenly() -> None:
    assert list(share(12, [10, 10, 2], 0, 0).atoms) == [4, 3, 2]


def test_without_a_limit_everything_is_shown() -> None:
    room = share(None, [50, 60], 70, 80)
    assert (room.with_atoms, list(room.atoms), room.in_line, room.ended) == (2, [50, 60], 70, 80)
