"""Passwords in URLs, which nobody is to read."""

from __future__ import annotations

import pytest

from jobrunner.boards.redis_connection import RedisConnection
from jobrunner.config import Config
from jobrunner.passwords import hide_password
from jobrunner.persistence.server.database import Database


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://me:secret@[::1]:6379/0?socket_timeout=3", "redis://me:***@[::1]:6379/0?socket_timeout=3"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("rediss://host/0?ssl_password=secret", "rediss://host/0?ssl_password=***"),
        (
            "redis+sentinel://me:secret@a:1,b:2/main/0?sentinel_password=secret",
            "redis+sentinel://me:***@a:1,b:2/main/0?sentinel_password=***",
        ),
        ("unix:///run/redis.sock?db=2&password=secret", "unix:///run/redis.sock?db=2&password=***"),
        (
            "mysql+pymysql://me:secret@host/db?charset=utf8mb4",
            "mysql+pymysql://me:***@host/db?charset=utf8mb4",
        ),
        ("postgresql://host/db?sslpassword=secret", "postgresql://host/db?sslpassword=***"),
        ("mysql+pymysql://me:sec/ret@host/db", "mysql+pymysql://me:***@host/db"),
        ("mysql+pymysql://me:sec#ret@host/db", "mysql+pymysql://me:***@host/db"),
        ("mysql+pymysql://me:s@ecret@host/db", "mysql+pymysql://me:***@host/db"),
        ("sqlite:////srv/a:b@c/jobs.sqlite", "sqlite:////srv/a:b@c/jobs.sqlite"),
        ("redis://me:secret@[::1/0", "redis://me:***@[::1/0"),
    ],
)
def test_a_password_in_a_url_is_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_the_redis_board_has_a_name_without_it() -> None:
    connection = RedisConnection("redis://me:secret@host/0?ssl_cert_reqs=none", prefix="x")
    assert connection.name == "redis://me:***@host/0?ssl_cert_reqs=none"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:secret@host/db",
        "postgresql+psycopg://host/db?user=me&password=secret",
        "postgresql+psycopg://me@host/db?sslpassword=secret",
        "mysql+pymysql://me@host/db?passwd=secret",
    ],
)
def test_the_database_has_a_name_without_it(url: str) -> None:
    database = Database(url)
    assert "secret" not in database.name
    assert "host/db" in database.name
    assert "***" in database.name
    database.close()


@pytest.mark.parametrize("section", ["board", "persistence"])
def test_a_host_that_cannot_be_one_is_said_without_it(section: str) -> None:
    with pytest.raises(ValueError, match=rf"{section}\.url is not a URL: ") as raised:
        Config.model_validate({section: {"url": "redis://me:secret@[::1/0"}})
    assert "secret" not in str(raised.value).partition("[type=")[0]
