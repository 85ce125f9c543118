"""The boards on which stock TaskFlow conductors run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stock_conductors import Stage
from tests.support.taskflow_boards import BOARD_KINDS, NETWORKED_KINDS, board_conf

LEASE = 1.5


def staged(request: pytest.FixtureRequest, directory: Path) -> Iterator[Stage]:
    stage = Stage(directory, board_conf(request, request.param, lease=LEASE))
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture(params=BOARD_KINDS)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    yield from staged(request, tmp_path)


@pytest.fixture(params=NETWORKED_KINDS)
def networked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    yield from staged(request, tmp_path)
