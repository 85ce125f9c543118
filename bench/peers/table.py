"""The peers' table."""

from __future__ import annotations

from typing import Any

from bench.table import number

HEAD = ("", "version", "jobs kept in", "jobs/s", "idle p50 ms", "idle p99 ms", "steps/s")


def cells(peer: dict[str, Any]) -> tuple[str, ...]:
    """A peer's line."""
    if peer.get("error"):
        return (peer["name"], "", "FAILED", "", "", "", "")
    figures = (number(peer[key]) for key in ("jobs_per_s", "idle_p50_ms", "idle_p99_ms", "steps_per_s"))
    return (peer["name"], peer["version"], peer["keeps"], *figures)
