"""What about a Redis endangers jobs: its version, role, memory and snapshots, from one INFO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobrunner.boards.board import BoardProblem

OLDEST = (6, 2)
NEARLY_FULL = 0.9


def problems(info: Mapping[str, Any]) -> list[BoardProblem]:
    """The problems that Redis's own account of itself shows, errors first."""
    found = [*_version(info), *_role(info), *_memory(info), *_persistence(info)]
    return sorted(found, key=lambda problem: problem.severity != "error")


def _error(what: str, hint: str) -> BoardProblem:
    return BoardProblem(severity="error", what=what, hint=hint)


def _warning(what: str, hint: str) -> BoardProblem:
    return BoardProblem(severity="warning", what=what, hint=hint)


def _version(info: Mapping[str, Any]) -> list[BoardProblem]:
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers >= OLDEST:
        return []
    return [
        _error(f"Redis {version or 'of unknown version'} is too old.", "Use Redis 6.2 or newer, or Valkey.")
    ]


def _role(info: Mapping[str, Any]) -> list[BoardProblem]:
    if info.get("role", "master") == "master":
        return []
    return [
        _error(
            "This Redis is a replica, which takes no writes.",
            "Point board.url at the primary, or at the sentinels: redis+sentinel://host:26379/service/0",
        )
    ]


def _memory(info: Mapping[str, Any]) -> list[BoardProblem]:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    found = []
    if policy != "noeviction":
        found.append(
            _error(
                f"Redis may throw jobs and claims away: maxmemory-policy is {policy}.",
                "Set it: redis-cli config set maxmemory-policy noeviction, and in redis.conf.",
            )
        )
    if limit and used >= NEARLY_FULL * limit:
        found.append(
            _warning(
                f"Redis uses {used * 100 // limit} % of its maxmemory; when it is full it takes no jobs.",
                "Raise maxmemory. Jobs that do not fit wait in the database.",
            )
        )
    return found


def _persistence(info: Mapping[str, Any]) -> list[BoardProblem]:
    """Redis may keep all or nothing, but not an old board, on which jobs that run are in line (docs/reliability.md)."""
    if info.get("aof_enabled") or int(info.get("rdb_last_bgsave_time_sec", -1)) < 0:
        return []
    return [
        _warning(
            "Redis keeps snapshots only: a restart brings an old board back, and running jobs may be interrupted.",
            "No job is lost, and nothing is done twice but the interrupted tasks. Let Redis keep everything "
            "(`appendonly yes`), or nothing (`save ''`): then running jobs go on.",
        )
    ]
