"""The nodes: what each conductor says of itself, and the leases that conductors hold on one-of-a-kind work."""

from __future__ import annotations

import enum
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from jobrunner import times
from jobrunner.persistence.flows import loads
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import leases, nodes

ALIVE_MS = 5_000
SILENT_MS = 15_000
"""A node that said nothing for so long counts as gone."""


class Away(str, enum.Enum):
    """Why a node takes no jobs now."""

    GONE = "no conductor runs there"  # it said goodbye, or nothing for some time, or never anything
    DRAINED = "it is drained"  # what it runs may end there

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A conductor's last word. ``report`` holds processes, running jobs, job types, load, memory and versions.

    How long ago it spoke, or ended, is told by the database's clock, which all nodes share; ``seen_ms`` and
    ``stopped_ms`` are that long before now by the clock of whoever reads them, which may be off.
    """

    name: str
    identity: str
    started_ms: int
    seen_ms: int
    stopped_ms: int | None
    drained: bool = False
    """A person wants it to take no more jobs."""
    free: float | None = None
    """How much of it is free, from 0 to 1, as far as it said so."""
    report: Mapping[str, Any]

    def is_alive(self, now_ms: int) -> bool:
        """Whether its conductor said something a moment ago, and did not say that it ended."""
        return self.stopped_ms is None and now_ms - self.seen_ms < SILENT_MS


def report_node(
    database: Database,
    name: str,
    identity: str,
    *,
    started_ms: int,
    report: Mapping[str, Any],
    free: float | None = None,
) -> str | None:
    """Say that the node lives, by the database's clock; the identity of another conductor of this name, if one lives.

    One that said so less than ALIVE_MS ago and did not say that it ended counts as alive.
    """
    values = {
        "identity": identity,
        "started_ms": started_ms,
        "stopped_ms": None,
        "free": free,
        "report": json.dumps(report),
    }

    def work(connection: Connection) -> str | None:
        query = sa.select(nodes, database.now_ms().label("now_ms")).where(nodes.c.name == name)
        found = connection.execute(query.with_for_update()).mappings().first()
        if found is None:
            connection.execute(nodes.insert().values(name=name, seen_ms=database.now_ms(), **values))
            return None
        connection.execute(
            nodes.update().where(nodes.c.name == name).values(seen_ms=database.now_ms(), **values)
        )
        alive = found["stopped_ms"] is None and found["now_ms"] - found["seen_ms"] < ALIVE_MS
        return str(found["identity"]) if alive and found["identity"] != identity else None

    try:
        return database.retrying(work)
    except IntegrityError:  # two of a new name reported in the same moment; now the row is there
        return database.retrying(work)


def node_stopped(database: Database, name: str, identity: str) -> None:
    """Say that the node's conductor has ended."""
    database.retrying(
        lambda connection: connection.execute(
            nodes.update()
            .where(nodes.c.name == name, nodes.c.identity == identity)
            .values(stopped_ms=database.now_ms())
        )
    )


def list_nodes(database: Database) -> list[Node]:
    """All nodes that ever reported, by name."""
    query = sa.select(nodes, database.now_ms().label("now_ms")).order_by(nodes.c.name)
    here_ms = times.now_ms()
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [_node(row, here_ms) for row in rows]


def _node(row: RowMapping, here_ms: int) -> Node:
    off = here_ms - row["now_ms"]
    return Node(
        **{key: row[key] for key in ("name", "identity", "started_ms", "free")},
        seen_ms=row["seen_ms"] + off,
        stopped_ms=None if row["stopped_ms"] is None else row["stopped_ms"] + off,
        drained=bool(row["drained"]),
        report=_report(row["report"]),
    )


def clock_ms(database: Database) -> int:
    """The time by the database's clock, which is one for all nodes."""
    with database.read() as connection:
        found: int = connection.execute(sa.select(database.now_ms())).scalar_one()
    return found


def set_drained(database: Database, name: str, drained: bool) -> bool:
    """Want a node to take no more jobs, or to take them again, also after its restarts; False if there is none."""
    statement = nodes.update().where(nodes.c.name == name).values(drained=int(drained))
    return bool(database.retrying(lambda connection: connection.execute(statement)).rowcount)


def nodes_away(database: Database, names: Collection[str]) -> dict[str, Away]:
    """Those of these nodes that take no jobs now, by the database's clock, and why; one query."""
    columns = (nodes.c.name, nodes.c.seen_ms, nodes.c.stopped_ms, nodes.c.drained)
    query = sa.select(*columns, database.now_ms().label("now_ms")).where(nodes.c.name.in_(sorted(names)))
    with database.read() as connection:
        rows = {row.name: row for row in connection.execute(query)}
    away = {name: Away.GONE for name in names if name not in rows}
    for name, row in rows.items():
        if row.stopped_ms is not None or row.now_ms - row.seen_ms > SILENT_MS:
            away[name] = Away.GONE
        elif row.drained:
            away[name] = Away.DRAINED
    return away


def conductors_gone(database: Database, identities: Collection[str]) -> set[str]:
    """Those of these conductors that have ended, or do not report any more, or whose nodes have others; one query.

    Of one whose node never reported nothing is known, so it is not among them.
    """
    of_node: dict[str, set[str]] = {}
    for identity in identities:
        of_node.setdefault(identity.partition(":")[0], set()).add(identity)
    if not of_node:
        return set()
    alive = sa.and_(nodes.c.stopped_ms.is_(None), nodes.c.seen_ms > database.now_ms() - ALIVE_MS)
    query = sa.select(nodes.c.name, nodes.c.identity, alive.label("alive")).where(
        nodes.c.name.in_(sorted(of_node))
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    return {
        identity
        for row in rows
        for identity in of_node[row.name]
        if not row.alive or row.identity != identity
    }


def freest_other(database: Database, name: str) -> float | None:
    """How much is free of the freest other node that takes jobs; None if there is none. One row, by name."""
    query = sa.select(sa.func.max(nodes.c.free)).where(
        nodes.c.name != name,
        nodes.c.stopped_ms.is_(None),
        nodes.c.seen_ms > database.now_ms() - ALIVE_MS,
        sa.func.coalesce(nodes.c.drained, 0) == 0,
    )
    with database.read() as connection:
        found = connection.execute(query).scalar()
    return None if found is None else float(found)


def _report(text: Any) -> Mapping[str, Any]:
    content = loads(text)
    return content if isinstance(content, dict) else {}


def take_lease(database: Database, name: str, holder: str, *, seconds: float) -> bool:
    """Take or keep a named lease, by the database's clock; whether ``holder`` has it now."""

    def work(connection: Connection) -> bool:
        now = connection.execute(sa.select(database.now_ms())).scalar_one()
        until = now + int(seconds * 1000)
        found = (
            connection.execute(sa.select(leases).where(leases.c.name == name).with_for_update())
            .mappings()
            .first()
        )
        if found is None:
            connection.execute(leases.insert().values(name=name, holder=holder, until_ms=until))
            return True
        if found["holder"] != holder and found["until_ms"] > now:
            return False
        connection.execute(leases.update().where(leases.c.name == name).values(holder=holder, until_ms=until))
        return True

    try:
        return database.retrying(work)
    except IntegrityError:  # two took a new lease in the same moment; the other was first
        return False


def give_lease(database: Database, name: str, holder: str) -> None:
    """Give a named lease up, if ``holder`` has it."""
    database.retrying(
        lambda connection: connection.execute(
            leases.delete().where(leases.c.name == name, leases.c.holder == holder)
        )
    )
