"""The databases on which the journal keeps its promises: another one adds a parameter to ``ready_url``, no tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.journals import Stage, staged
from tests.support.kept_databases import kept_databases, ready_url

__all__ = ["kept_databases", "ready_url"]


@pytest.fixture
def stage(ready_url: str) -> Iterator[Stage]:
    with staged(ready_url) as stage:
        yield stage
