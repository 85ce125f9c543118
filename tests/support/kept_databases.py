"""Databases with tables, made once for a run's process and emptied for each test: a tenth of the time of new ones.

Import the fixtures into a ``conftest.py``: ``ready_url`` is each of SQLite, MariaDB and PostgreSQL in turn. Tests that
change tables, or what belongs to a database as such (its version, its identity), take ``store_url`` instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import metadata, settings, taskflow_metadata
from tests.support.servers import MariaDbServer


@pytest.fixture(scope="session")
def kept_databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """The URL of a database of that kind which has tables, and may still have the last test's rows."""
    urls: dict[str, str] = {}
    servers: dict[str, Any] = {}

    def url_of(kind: str) -> str:
        if kind not in urls:
            if kind == "sqlite":
                urls[kind] = f"sqlite:///{tmp_path_factory.mktemp('kept')}/empty.sqlite"
            else:
                servers[kind] = request.getfixturevalue(f"{kind}_server")
                urls[kind] = servers[kind].create_database()
            if kind == "mariadb":
                urls[kind] += (
                    "?ssl_disabled=true"  # saves loading the machine's certificates for each connection
                )
            database = Database(urls[kind])
            upgrade(database)
            database.close()
        return urls[kind]

    yield url_of
    for kind, server in servers.items():
        server.drop_database(urls[kind].partition("?")[0])


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ]
)
def ready_url(
    request: pytest.FixtureRequest, kept_databases: Callable[[str], str], tmp_path: Path
) -> Iterator[str]:
    """A database with its tables and nothing in them."""
    yield from ready(request.param, kept_databases, tmp_path)


def ready(kind: str, kept_databases: Callable[[str], str], directory: Path) -> Iterator[str]:
    """The same of one kind; when it comes to its end nobody may be connected any more."""
    url = kept_databases(kind)
    if kind == "sqlite":
        shutil.copy(url.removeprefix("sqlite:///"), directory / "jobrunner.sqlite")
        yield f"sqlite:///{directory}/jobrunner.sqlite"
        return
    yield url
    empty(url)


@pytest.fixture(scope="session")
def mariadb_recipe(mariadb_server: MariaDbServer) -> list[str]:
    """Statements that make in a new MariaDB database what ``upgrade`` does: an eighth of its time."""
    url = mariadb_server.create_database()
    database = Database(f"{url}?ssl_disabled=true")
    upgrade(database)
    with database.read() as connection:
        names = sa.inspect(connection).get_table_names()
        tables = [connection.exec_driver_sql(f"SHOW CREATE TABLE {name}").one()[1] for name in names]
        made = {name: connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in names}
    database.close()
    mariadb_server.drop_database(url)
    rows = [
        f"INSERT INTO {name} VALUES ({', '.join(map(repr, row))})" for name in names for row in made[name]
    ]
    return [
        "SET foreign_key_checks = 0",
        *tables,
        *rows,
        "UPDATE jobrunner_settings SET value = UUID() WHERE name = 'store_id'",
    ]


def with_tables(url: str, recipe: list[str]) -> str:
    """The same database, once its tables are made by the recipe."""
    database = Database(url, pool_size=1)
    with database.write() as connection:
        for statement in recipe:
            connection.exec_driver_sql(statement)
    database.close()
    return url


def empty(url: str) -> None:
    """Delete all rows but the database's identity; nobody may be connected any more."""
    database = Database(url, pool_size=1)
    with database.write() as connection:
        for table in (*reversed(taskflow_metadata.sorted_tables), *metadata.sorted_tables):
            if table is not settings:
                connection.execute(table.delete())
    database.close()
