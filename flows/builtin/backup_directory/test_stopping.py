"""What happens to a backup that is asked to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.builtin.backup_directory.testing import (
    POINTS,
    Point,
    Run,
    broken,
    make_old,
    names_in,
    with_sidecars,
)
from jobrunner import stopping


@pytest.mark.parametrize("point", [POINTS[0], POINTS[2], POINTS[5], POINTS[7]], ids=str)
def test_a_cancelled_job_stops_within_an_atom(run: Run, destination: Path, point: Point) -> None:
    old = make_old(destination, 1)
    signal_ = stopping.StopSignal()
    token = stopping.bind(signal_)
    try:
        with broken(point, lambda: signal_.set("cancel")), pytest.raises(stopping.Stopped):
            run()
    finally:
        stopping._current.reset(token)
    assert names_in(destination) == with_sidecars(old)


def test_a_conductor_that_shuts_down_lets_an_atom_finish(run: Run) -> None:
    signal_ = stopping.StopSignal()
    token = stopping.bind(signal_)
    try:
        with broken(POINTS[2], lambda: signal_.set("suspend")):
            assert run(max_rate="5MB")["files"] == 5
    finally:
        stopping._current.reset(token)
