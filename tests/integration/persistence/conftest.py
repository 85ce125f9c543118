"""A database with its tables, on each kind of server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from tests.support.journals import Stage, staged
from tests.support.kept_databases import kept_databases, ready_url

__all__ = ["kept_databases", "ready_url"]


@pytest.fixture
def database(ready_url: str) -> Iterator[Database]:
    database = Database(ready_url)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def stage(ready_url: str) -> Iterator[Stage]:
    with staged(ready_url) as stage:
        yield stage
