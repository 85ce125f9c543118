"""The limits that people set, and how semaphores stand; see semaphores.py for what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from jobrunner.persistence.permits.configured import NODE, Configured, configured_of
from jobrunner.persistence.permits.passing import terms_said
from jobrunner.persistence.permits.rows import semaphore_of_row
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import nodes, permits, semaphores


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
    """Whether somebody set it; else it is as it is configured, or as jobs say."""
    configured_by: str | None = None
    """The node whose configuration says what it is like, where nobody set anything else."""
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
        running = _running_on(connection, [row["name"] for row in rows if row["name"].startswith(NODE)])
    found = [_limit(row, stand.get(row["name"], []), running) for row in rows]
    return [limit for limit in found if limit.is_set or limit.configured_by or limit.holders or limit.waiting]


def _running_on(connection: Connection, names: list[str]) -> dict[str, int]:
    """How many jobs run on the nodes that have limits, by the limits' names."""
    if not names:
        return {}
    on = [name.removeprefix(NODE) for name in names]
    query = sa.select(nodes.c.name, nodes.c.report).where(nodes.c.name.in_(on), nodes.c.stopped_ms.is_(None))
    return {f"{NODE}{row.name}": _running(row.report) for row in connection.execute(query)}


def _running(report: str) -> int:
    with suppress(ValueError, TypeError, AttributeError):
        return int(json.loads(report).get("running") or 0)
    return 0


def _limit(row: Any, stand: list[Any], running: Mapping[str, int]) -> Limit:
    one = semaphore_of_row(row)
    terms = one.terms(terms_said(row["said"]))
    granted = [part for part in stand if part.granted]
    return Limit(
        name=one.name,
        count=terms.count,
        starts=terms.starts,
        period=terms.period_ms / 1000,
        is_set=_is_set(row),
        configured_by=configured_of(row["configured"]).by,
        held=sum(int(part.together if part.shared else part.alone) for part in granted)
        + running.get(one.name, 0),
        holders=sum(part.jobs for part in granted) + running.get(one.name, 0),
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
        is_counted = row is not None and (
            row["count"] is not None or configured_of(row["configured"]).count is not None
        )
        if count is not None or not is_counted:
            said["count"] = default if count is None else count
        if row is None:
            connection.execute(semaphores.insert().values(name=name, **said))
        else:
            _update(connection, name, said)

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
        values["said"] = row["said"] or MUTEX
        _update(connection, name, values)
        return True

    return database.retrying(work)


def configure(database: Database, node: str, wanted: Mapping[str, Configured]) -> None:
    """Make these limits those that the node's configuration says, instead of those that it said before.

    What somebody set goes on to go before; of two nodes that say different things the one that came last counts.
    """

    with database.read() as connection:
        said = sa.select(semaphores.c.name, semaphores.c.configured).where(
            semaphores.c.configured.is_not(None)
        )
        ours = [row.name for row in connection.execute(said) if configured_of(row.configured).by == node]
    names = sorted({*wanted, *ours})
    if not names:
        return

    def work(connection: Connection) -> None:
        locked = sa.select(semaphores).where(semaphores.c.name.in_(names)).order_by(semaphores.c.name)
        rows = {row["name"]: row for row in connection.execute(locked.with_for_update()).mappings()}
        for name in names:
            if name in wanted:
                _say(connection, name, rows.get(name), replace(wanted[name], by=node).to_json())
            elif name in rows and configured_of(rows[name]["configured"]).by == node:
                _update(connection, name, {"configured": None, "said": rows[name]["said"] or MUTEX})

    try:
        database.retrying(work)
    except IntegrityError:  # somebody made one of them in the same moment
        database.retrying(work)


def _say(connection: Connection, name: str, row: Any, configured: str) -> None:
    if row is None:
        connection.execute(semaphores.insert().values(name=name, configured=configured))
    elif row["configured"] != configured:
        _update(connection, name, {"configured": configured})


MUTEX = json.dumps({"count": 1})
"""What a semaphore is that nobody says anything of: with it, the row goes when nobody needs it any more."""


def _update(connection: Connection, name: str, values: Mapping[str, Any]) -> None:
    connection.execute(semaphores.update().where(semaphores.c.name == name).values(**values))
