"""Board and store against the model: whatever people, conductors, servers and time do, in whatever order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.model.conftest import Parts
from tests.conformance.model.sequences import PARTS, run_part
from tests.conformance.model.world import World


@pytest.mark.parametrize("part", range(PARTS))
def test_board_and_store_do_what_the_model_does(
    parts: Parts, make_world: Callable[..., World], part: int
) -> None:
    run_part(make_world(parts), part)
