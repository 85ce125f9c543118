"""Finding the driver for a board's URL."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from jobrunner import boards
from jobrunner.boards import open_board
from jobrunner.errors import ConfigError
from jobrunner.persistence.server.database import Database


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("redis://host:6379/0", "RedisBoard"),
        ("rediss://user:secret@host/1", "RedisBoard"),
        ("REDIS://host", "RedisBoard"),
        ("unix:///run/redis.sock?db=2", "RedisBoard"),
        ("valkey://host", "RedisBoard"),
        ("redis+sentinel://one:26379,two/main/3", "RedisBoard"),
        ("mysql+pymysql://u:p@host/db", "SqlBoard"),
        ("mariadb://u:p@host/db", "SqlBoard"),
        ("postgresql+psycopg://host/db", "SqlBoard"),
        ("sqlite:///x.sqlite", "SqlBoard"),
    ],
)
def test_the_scheme_names_the_driver(
    url: str, driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = open_board(url)
    assert type(board).__name__ == driver
    board.close()


@pytest.mark.parametrize("url", ["", "host:6379", "redis", "://x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not a URL"):
        open_board(url)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'carrier-pigeon'") as raised:
        open_board("carrier-pigeon://coop")
    assert raised.value.hint is not None
    assert "redis" in raised.value.hint
    assert "postgresql" in raised.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:port/0",
        "redis://host/jobs",
        "redis://host/0?db=x",
        "redis+sentinel://host",
        "redis+sentinel:///main",
    ],
)
def test_a_wrong_redis_url_is_a_mistake_in_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match="not valid"):
        open_board(url)


@pytest.mark.parametrize("prefix", ["", "a{b}", "a b"])
def test_a_prefix_that_would_break_the_keys_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        open_board("redis://host", prefix=prefix)


def test_our_drivers_are_those_that_we_register() -> None:
    registered = {entry.name: entry.value for entry in metadata.entry_points(group=boards.ENTRY_POINTS)}
    ours = {name: f"{module}:{attribute}" for name, (module, attribute) in boards.DRIVERS.items()}
    assert ours.items() <= registered.items()


def test_drivers_of_other_packages_are_found_by_their_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "pigeon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jobrunner.boards]\npigeon = pigeon_board:make\n")
    (tmp_path / "pigeon_board.py").write_text("def make(url, **given):\n    return url, given\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert open_board("pigeon+fast://coop", prefix="p") == (  # type: ignore[comparison-overlap]
        "pigeon+fast://coop",
        {"database": None, "prefix": "p"},
    )


def test_the_sql_board_uses_the_store_if_it_is_the_same_database(tmp_path: Path) -> None:
    from jobrunner.boards.sql import SqlBoard

    store = Database(f"sqlite:///{tmp_path}/a.sqlite")
    same = SqlBoard(f"sqlite:///{tmp_path}/a.sqlite", database=store)
    other = SqlBoard(f"sqlite:///{tmp_path}/b.sqlite", database=store)
    assert same._database is store
    assert other._database.url.database == f"{tmp_path}/b.sqlite"


def test_importing_the_boards_loads_no_driver_and_no_client() -> None:
    code = "import sys, jobrunner.boards; print({'redis', 'sqlalchemy', 'psycopg', 'stevedore'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "url", ["redis://me:se/cret@host/0", "redis://me:se#cret@host/0", "redis://:1/cret@host"]
)
def test_a_password_that_cuts_its_url_short_is_not_told(url: str) -> None:
    with pytest.raises(ConfigError, match="user or password") as refused:
        open_board(url)
    told = f"{refused.value.message} {refused.value.hint}"
    assert "cret" not in told
    assert "'se'" not in told
    assert "%2F" in told
