"""What a person reads of a Redis: its name without secrets, and its problems."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.boards.redis_connection import without_password
from jobrunner.boards.redis_health import problems

FINE = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "used_memory": 10,
    "maxmemory": 0,
    "aof_enabled": 1,
}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://me:secret@host/0", "redis://me:***@host/0"),
        ("redis://:secret@host/0?socket_timeout=3", "redis://:***@host/0?socket_timeout=3"),
        ("redis://host/0?password=secret&x=1", "redis://host/0?password=***&x=1"),
        (
            "redis+sentinel://me:secret@a:1,b:2/main/0?sentinel_password=secret",
            "redis+sentinel://me:***@a:1,b:2/main/0?sentinel_password=***",
        ),
        ("unix:///run/redis.sock?db=2&password=secret", "unix:///run/redis.sock?db=2&password=***"),
    ],
)
def test_names_the_board_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_finds_nothing_wrong_with_a_good_one() -> None:
    assert problems(FINE) == []


@pytest.mark.parametrize(
    ("change", "severity", "word"),
    [
        ({"redis_version": "6.0.16"}, "error", "6.0.16"),
        ({"redis_version": "?"}, "error", "too old"),
        ({"role": "slave"}, "error", "replica"),
        ({"maxmemory_policy": "allkeys-lru"}, "error", "allkeys-lru"),
        ({"maxmemory": 11}, "warning", "90 %"),
        ({"aof_enabled": 0}, "warning", "log its writes"),
    ],
)
def test_finds_what_is_wrong(change: dict[str, Any], severity: str, word: str) -> None:
    (problem,) = problems({**FINE, **change})
    assert problem.severity == severity
    assert word in problem.what
    assert problem.hint


def test_tells_errors_first() -> None:
    found = problems({**FINE, "aof_enabled": 0, "role": "slave"})
    assert [problem.severity for problem in found] == ["error", "warning"]
