"""Sharing a terminal's lines among the parts of ``show``, so that what matters most is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_PART = 5
"""Each of the lesser parts is sure of the fifth part of the lines, if it needs them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Lines for each part. A part that gets fewer than it has jobs says in its last line how many more there are."""

    with_atoms: int
    in_line: int
    ended: int
    atoms: Sequence[int]
    """For each job with atoms that is shown, the lines for its atoms."""


def share(lines: int | None, atoms: Sequence[int], in_line: int, ended: int) -> Room:
    """Share ``lines`` (None: no limit) among jobs with atoms (so many each), jobs in line, and jobs that ended.

    The sum of all that is shared never exceeds ``lines``.
    """
    if lines is None:
        return Room(with_atoms=len(atoms), in_line=in_line, ended=ended, atoms=list(atoms))
    lines = max(0, lines)
    least = max(1, lines // LEAST_PART)
    line_part, ended_part = min(in_line, least), min(ended, least)
    if line_part + ended_part > lines:
        line_part, ended_part = min(in_line, lines), 0
    rest = lines - line_part - ended_part
    with_atoms = min(len(atoms), rest)
    rest -= with_atoms
    per_job = _spread(rest, atoms[:with_atoms])
    rest -= sum(per_job)
    more = min(rest, in_line - line_part)
    line_part, rest = line_part + more, rest - more
    ended_part += min(rest, ended - ended_part)
    return Room(with_atoms=with_atoms, in_line=line_part, ended=ended_part, atoms=per_job)


def _spread(lines: int, wanted: Sequence[int]) -> list[int]:
    """Lines for each, as even as can be: nobody gets more than it wants while somebody else gets less than it could."""
    given = [0] * len(wanted)
    while lines > 0:
        open_ = [number for number, want in enumerate(wanted) if given[number] < want]
        if not open_:
            break
        each = max(1, lines // len(open_))
        for number in open_:
            step = min(each, wanted[number] - given[number], lines)
            given[number] += step
            lines -= step
    return given
