"""Reading and locking semaphores, and what is held of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from jobrunner.persistence.permits.configured import configured_of
from jobrunner.persistence.permits.semaphores import Semaphore
from jobrunner.persistence.pipelines.inserts import insert_new
from jobrunner.persistence.pipelines.pipeline import Pipeline
from jobrunner.persistence.pipelines.statement import Statement
from jobrunner.persistence.server.database import now_ms_of
from jobrunner.persistence.tables import permits, semaphores

Ask = Callable[[Statement, Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""Sends a query; its rows by column. A pipeline's, or one that only reads."""


def locked(pipeline: Pipeline, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The rows of these semaphores, locked; those that nobody knew are made."""
    found = _rows_of(pipeline.ask, names, _lock(pipeline.dialect))
    missing = [name for name in names if name not in found]
    if missing:
        pipeline.add(
            insert_new(pipeline.dialect, semaphores, ("name",)), [{"name": name} for name in missing]
        )
        found |= _rows_of(pipeline.ask, missing, _lock(pipeline.dialect))
    return found


def look_at(ask: Ask, dialect: str, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The rows of these semaphores by name, with the time as ``now_ms``; locks nothing. One query."""
    return _rows_of(ask, names, _look(dialect))


def _rows_of(ask: Ask, names: Sequence[str], wanted: Statement) -> dict[str, Mapping[str, Any]]:
    return {row["name"]: row for row in ask(wanted, {"names": list(names)})}


def semaphore_of_row(row: Any) -> Semaphore:
    """As somebody has set it; what nobody set is as it is configured."""
    configured = configured_of(row["configured"])
    count = configured.count if row["count"] is None else row["count"]
    is_set = row["starts"] is not None
    return Semaphore(
        name=row["name"],
        count=count,
        starts=row["starts"] if is_set else configured.starts,
        period_ms=row["period_ms"] if is_set else configured.period_ms,
        started=_times(row["started"]),
    )


def _times(text: str | None) -> list[int]:
    """When jobs started; what somebody else has written there counts as nothing."""
    with suppress(ValueError):
        times = json.loads(text or "[]")
        if isinstance(times, list) and all(isinstance(time, int) for time in times):
            return times
    return []


def held(ask: Ask, rows: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Semaphore], set[str]]:
    """The semaphores of these rows by name, with what is held of them; and the jobs that hold any. One query."""
    by_name = {name: semaphore_of_row(row) for name, row in rows.items()}
    granted = ask(_GRANTED, {"names": list(by_name)})
    for row in granted:
        one = by_name[row["semaphore"]]
        one.take(row["job_id"], row["units"], bool(row["shared"]))
        if row["set_id"] is not None:
            one.sets.add(row["set_id"])
    return by_name, {row["job_id"] for row in granted}


@functools.cache
def _look(dialect: str) -> Statement:
    return Statement(_semaphores(dialect), many="names")


@functools.cache
def _lock(dialect: str) -> Statement:
    locked = _semaphores(dialect).order_by(semaphores.c.name).with_for_update()
    return Statement(locked.with_hint(semaphores, "FORCE INDEX (PRIMARY)", "mysql"), many="names")


def _semaphores(dialect: str) -> sa.Select[Any]:
    wanted = semaphores.c.name.in_(sa.bindparam("names", expanding=True))
    return sa.select(semaphores, now_ms_of(dialect).label("now_ms")).where(wanted)


_GRANTED = Statement(
    sa.select(
        permits.c.job_id, permits.c.semaphore, permits.c.units, permits.c.shared, permits.c.set_id
    ).where(permits.c.semaphore.in_(sa.bindparam("names", expanding=True)), permits.c.granted == 1),
    many="names",
)
