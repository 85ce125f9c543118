"""What a person reads of a Redis: its name without secrets, and its problems."""

from __future__ import annotations

from typing import Any

import pytest

from jobrunner.boards.redis_health import problems

FINE = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "used_memory": 10,
    "maxmemory": 0,
    "aof_enabled": 1,
    "rdb_last_bgsave_time_sec": -1,
}
SNAPSHOTS = {"aof_enabled": 0, "rdb_last_bgsave_time_sec": 0}


def test_finds_nothing_wrong_with_a_good_one() -> None:
    assert problems(FINE) == []


@pytest.mark.parametrize("kept", [{"aof_enabled": 0}, {"rdb_last_bgsave_time_sec": 3}])
def test_it_may_keep_nothing_or_snapshots_beside_its_log(kept: dict[str, Any]) -> None:
    assert problems({**FINE, **kept}) == []


@pytest.mark.parametrize(
    ("change", "severity", "word"),
    [
        ({"redis_version": "6.0.16"}, "error", "6.0.16"),
        ({"redis_version": "?"}, "error", "too old"),
        ({"role": "slave"}, "error", "replica"),
        ({"maxmemory_policy": "allkeys-lru"}, "error", "allkeys-lru"),
        ({"maxmemory": 11}, "warning", "90 %"),
        (SNAPSHOTS, "warning", "snapshots only"),
    ],
)
def test_finds_what_is_wrong(change: dict[str, Any], severity: str, word: str) -> None:
    (problem,) = problems({**FINE, **change})
    assert problem.severity == severity
    assert word in problem.what
    assert problem.hint


def test_tells_errors_first() -> None:
    found = problems({**FINE, **SNAPSHOTS, "role": "slave"})
    assert [problem.severity for problem in found] == ["error", "warning"]
