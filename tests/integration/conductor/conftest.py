"""What the conductor's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.conductors import Cluster, cluster
from tests.support.kept_databases import kept_databases, mariadb_recipe, ready, with_tables
from tests.support.runs import Runs

__all__ = ["kept_databases", "mariadb_recipe"]


@pytest.fixture
def sqlite_url(kept_databases: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    """A new SQLite file that has its tables."""
    yield from ready("sqlite", kept_databases, tmp_path)


@pytest.fixture
def mariadb_url(mariadb_url: str, mariadb_recipe: list[str]) -> str:
    """A new database on the run's MariaDB that has its tables."""
    return with_tables(mariadb_url, mariadb_recipe)


@pytest.fixture
def runs(sqlite_url: str) -> Iterator[Runs]:
    found = Runs(sqlite_url)
    yield found
    found.close()


@pytest.fixture
def embedded(tmp_path: Path, sqlite_url: str) -> Iterator[Cluster]:
    """Board and store in one SQLite file."""
    with cluster(tmp_path, store_url=sqlite_url) as found:
        yield found


@pytest.fixture
def networked(tmp_path: Path, mariadb_url: str, redis_url: str) -> Iterator[Cluster]:
    """Board on Redis, store on MariaDB."""
    with cluster(tmp_path, store_url=mariadb_url, board_url=redis_url) as found:
        yield found


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_url: str) -> Iterator[Cluster]:
    """Board and store on PostgreSQL."""
    with cluster(tmp_path, store_url=postgres_url) as found:
        yield found


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.thorough),
        pytest.param("networked", marks=[pytest.mark.redis, pytest.mark.mariadb]),
        pytest.param("on_postgres", marks=[pytest.mark.postgresql, pytest.mark.thorough]),
    ]
)
def anywhere(request: pytest.FixtureRequest) -> Cluster:
    """Each kind of cluster in turn."""
    found: Cluster = request.getfixturevalue(request.param)
    return found


@pytest.fixture(
    params=["embedded", pytest.param("networked", marks=[pytest.mark.redis, pytest.mark.mariadb])]
)
def both(request: pytest.FixtureRequest) -> Cluster:
    """The two kinds that differ most."""
    found: Cluster = request.getfixturevalue(request.param)
    return found
