"""`jobrunner db`: tables are made once, and whether they fit is told."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from jobrunner.persistence.schema import HEAD, VERSION_TABLE
from tests.support.command_line import CommandLine


def test_upgrade_makes_the_tables_and_check_agrees(jobrunner: CommandLine, store_url: str) -> None:
    store = ("--persistence-url", store_url)
    before = jobrunner("db", "check", *store)
    assert before.code == 75
    assert "has no tables of jobrunner yet" in before.err
    assert "jobrunner db upgrade" in before.err

    made = jobrunner("db", "upgrade", *store)
    assert made.code == 0, made.err
    assert f"(version {HEAD})" in made.err
    again = jobrunner("db", "upgrade", *store)
    assert again.code == 0
    assert "up to date already" in again.err

    after = jobrunner("db", "check", "--json", *store)
    assert after.code == 0
    assert (after.json["state"], after.json["version"]) == ("current", HEAD)


@pytest.mark.parametrize(
    ("version", "code", "words"), [("0000", 75, "earlier version"), ("9999", 0, "later version")]
)
def test_check_tells_other_versions(
    jobrunner: CommandLine, sqlite_url: str, version: str, code: int, words: str
) -> None:
    jobrunner("db", "upgrade", "--persistence-url", sqlite_url)
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))
    engine.dispose()
    done = jobrunner("db", "check", "--persistence-url", sqlite_url)
    assert done.code == code
    assert words in done.err


def test_check_makes_no_file(jobrunner: CommandLine) -> None:
    file = jobrunner.home / "jobs.sqlite"
    assert jobrunner("db", "check", "--persistence-url", f"sqlite:///{file}").code == 75
    assert not file.exists()


def test_database_that_does_not_exist(jobrunner: CommandLine, mariadb_url: str) -> None:
    done = jobrunner("db", "upgrade", "--persistence-url", mariadb_url.replace("?", "_which_is_not_there?"))
    assert done.code == 75
    assert "Unknown database" in done.err
    assert "Does the database exist" in done.err


def test_server_that_is_away(jobrunner: CommandLine, free_port: int) -> None:
    done = jobrunner(
        "db", "upgrade", "--persistence-url", f"mysql+pymysql://me:secret@127.0.0.1:{free_port}/jobs"
    )
    assert done.code == 75
    assert "is not available" in done.err
    assert "secret" not in done.err
