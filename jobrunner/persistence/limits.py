"""The limits that people set, and how semaphores stand; see semaphores.py for what they mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from jobrunner.persistence.database import Database
from jobrunner.persistence.passing import terms_said
from jobrunner.persistence.permits import semaphore_of_row
from jobrunner.persistence.tables import permits, semaphores


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A semaphore as people see it."""

    name: str
    count: int
    """ANY_NUMBER if there is no limit."""
    starts: int = 0
    """0 is any number."""
    period: float = 0.0
    """Seconds."""
    is_set: bool = False
    """Whether somebody set it; else it is as jobs say."""
    held: int = 0
    """Units that are held by jobs alone, and those that are shared, as one job's."""
    holders: int = 0
    """Jobs that hold it."""
    waiting: int = 0
    """Jobs that were refused, and wait for it."""


def read(database: Database) -> list[Limit]:
    """All that have a limit, or are held or waited for, by name."""
    counted = sa.select(
        permits.c.semaphore,
        permits.c.granted,
        permits.c.shared,
        sa.func.count().label("jobs"),
        sa.func.sum(permits.c.units).label("alone"),
        sa.func.max(permits.c.units).label("together"),
    ).group_by(permits.c.semaphore, permits.c.granted, permits.c.shared)
    with database.read() as connection:
        rows = connection.execute(sa.select(semaphores).order_by(semaphores.c.name)).mappings().all()
        stand: dict[str, list[Any]] = {}
        for row in connection.execute(counted):
            stand.setdefault(row.semaphore, []).append(row)
    found = [_limit(row, stand.get(row["name"], [])) for row in rows]
    return [limit for limit in found if limit.is_set or limit.holders or limit.waiting]


def _limit(row: Any, stand: list[Any]) -> Limit:
    one = semaphore_of_row(row)
    terms = one.terms(terms_said(row["said"]))
    granted = [part for part in stand if part.granted]
    return Limit(
        name=one.name,
        count=terms.count,
        starts=terms.starts,
        period=terms.period_ms / 1000,
        is_set=_is_set(row),
        held=sum(int(part.together if part.shared else part.alone) for part in granted),
        holders=sum(part.jobs for part in granted),
        waiting=sum(part.jobs for part in stand if not part.granted),
    )


def _is_set(row: Any) -> bool:
    return row["count"] is not None or row["starts"] is not None


def write(
    database: Database, name: str, *, count: int | None, default: int | None, rate: tuple[int, int] | None
) -> Limit:
    """Set a limit; what is None stays as it is, but a count that never was set becomes ``default``.

    :param rate: starts, and milliseconds
    """

    def work(connection: Connection) -> None:
        locked = sa.select(semaphores).where(semaphores.c.name == name).with_for_update()
        row = connection.execute(locked).mappings().first()
        said: dict[str, Any] = {} if rate is None else {"starts": rate[0], "period_ms": rate[1]}
        if count is not None or row is None or row["count"] is None:
            said["count"] = default if count is None else count
        if row is None:
            connection.execute(semaphores.insert().values(name=name, **said))
        else:
            connection.execute(semaphores.update().where(semaphores.c.name == name).values(**said))

    try:
        database.retrying(work)
    except IntegrityError:  # somebody made it in the same moment
        database.retrying(work)
    return next(limit for limit in read(database) if limit.name == name)


def forget(database: Database, name: str) -> bool:
    """Forget what was set of a semaphore; whether anything was. Its row goes when nobody needs it any more."""

    def work(connection: Connection) -> bool:
        locked = sa.select(semaphores).where(semaphores.c.name == name).with_for_update()
        row = connection.execute(locked).mappings().first()
        if row is None or not _is_set(row):
            return False
        values: dict[str, Any] = {"count": None, "starts": None, "period_ms": None}
        values["said"] = row["said"] or json.dumps({"count": 1})
        connection.execute(semaphores.update().where(semaphores.c.name == name).values(**values))
        return True

    return database.retrying(work)
