"""SQL's own history: triggers that write down every change of jobs, flows and atoms, and reading it back.

The order. Each line gets its number (``seq``) from a counter when its statement runs, inside the transaction that
changes the row, and is rolled back with it. Whoever changes a row has locked it first and keeps that lock until it
commits; the next change of the row, and so the next line about it, comes after that commit. For one row, therefore, the
order of numbers is the order of commits. jobrunner locks a job's row before it writes anything of the job's flow, so
for one job as a whole the same holds over all three tables; where somebody does not, only the order of each row is
relied upon. Between different jobs the numbers tell nothing.

The time (``at_us``) is that of the statement, by the server's clock: the commit comes later, so whatever was seen
before it was seen too early.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tests.support.servers import MariaDbServer, PostgresServer

AUDIT = "chaos_audit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change of one row.

    ``table`` is ``jobs``, ``flowdetails`` or ``atomdetails``; ``op`` is I, U or D. ``row`` is the job's id, or the
    flow's or atom's; ``parent`` the flow's job or the atom's flow. ``was`` is the state before. Of an atom, ``epoch``
    and ``starts`` are those that its record names, ``digest`` is one of its result, and ``kind`` is TaskFlow's. Of a
    job, ``pin`` is the node that it waits for.
    """

    seq: int
    at_us: int
    connection: int
    table: str
    op: str
    row: str
    parent: str | None = None
    name: str | None = None
    state: str | None = None
    was: str | None = None
    epoch: int | None = None
    attempt: int | None = None
    owner: str | None = None
    deaths: int | None = None
    starts: int | None = None
    digest: str | None = None
    kind: str | None = None
    parked: str | None = None
    pin: str | None = None


COLUMNS = tuple(field.name for field in fields(Change))
_SQL_NAMES = {"connection": "conn", "table": "tab", "row": "row_id"}


def install(server: MariaDbServer | PostgresServer, database: str) -> None:
    """Write down from now on what happens to the tables that are there.

    :param database: the database's name on ``server``
    """
    run = _runner(server, database)
    mysql = isinstance(server, MariaDbServer)
    run(_TABLE.format(table=AUDIT, key=_KEY_MYSQL if mysql else _KEY_POSTGRES))
    present = {row[0] for row in run(_PRESENT.format(schema=database if mysql else "public"))}
    for table in ("jobs", "flowdetails", "atomdetails"):
        if table in present:
            for statement in (_mysql_triggers if mysql else _postgres_triggers)(table):
                run(statement)


def read(server: MariaDbServer | PostgresServer, database: str, *, after: int = 0) -> list[Change]:
    """What was written down, in order."""
    wanted = ", ".join(_SQL_NAMES.get(column, column) for column in COLUMNS)
    rows = _runner(server, database)(f"SELECT {wanted} FROM {AUDIT} WHERE seq > {after} ORDER BY seq")
    return [Change(**dict(zip(COLUMNS, row, strict=True))) for row in rows]


def _runner(server: MariaDbServer | PostgresServer, database: str) -> Callable[[str], Sequence[Any]]:
    def run(statement: str) -> Sequence[Any]:
        if isinstance(server, MariaDbServer):
            return server.execute(f"USE {database}", statement)
        with server.connection(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return run


_KEY_MYSQL = "BIGINT AUTO_INCREMENT PRIMARY KEY"
_KEY_POSTGRES = "BIGSERIAL PRIMARY KEY"
_TABLE = """CREATE TABLE {table} (
    seq {key}, at_us BIGINT NOT NULL, conn BIGINT NOT NULL, tab VARCHAR(16) NOT NULL, op CHAR(1) NOT NULL,
    row_id VARCHAR(64) NOT NULL, parent VARCHAR(64), name VARCHAR(255), state VARCHAR(255), was VARCHAR(255),
    epoch BIGINT, attempt INT, owner VARCHAR(255), deaths INT, starts INT, digest VARCHAR(64), kind VARCHAR(16),
    parked VARCHAR(16), pin VARCHAR(255))"""
_PRESENT = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'"

_SAID: dict[str, dict[str, str]] = {
    "jobs": {
        "row_id": "{row}.id", "name": "{row}.type", "state": "{row}.state", "epoch": "{row}.epoch",
        "attempt": "{row}.attempt", "owner": "{row}.owner", "deaths": "{row}.deaths",
        "parked": "{row}.parked", "pin": "{row}.node_pin",
    },
    "flowdetails": {
        "row_id": "{row}.uuid", "parent": "{row}.parent_uuid", "name": "{row}.name", "state": "{row}.state",
    },
    "atomdetails": {
        "row_id": "{row}.uuid", "parent": "{row}.parent_uuid", "name": "{row}.name", "state": "{row}.state",
        "digest": "MD5({results})", "epoch": "{epoch}", "starts": "{starts}",
        "kind": "{row}.atom_type",
    },
}  # fmt: skip


def _insert(table: str, op: str, *, now: str, connection: str, **parts: str) -> str:
    row = "OLD" if op == "D" else "NEW"
    said = {
        name: value.format(row=row, **{key: part.format(row=row) for key, part in parts.items()})
        for name, value in _SAID[table].items()
    }
    if op == "U":
        said["was"] = "OLD.state"
    names = ", ".join(["at_us", "conn", "tab", "op", *said])
    values = ", ".join([now, connection, f"'{table}'", f"'{op}'", *said.values()])
    return f"INSERT INTO {AUDIT} ({names}) VALUES ({values})"


def _mysql_triggers(table: str) -> list[str]:
    def body(op: str) -> str:
        return _insert(
            table,
            op,
            now="CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
            connection="CONNECTION_ID()",
            results="{row}.results",
            epoch="JSON_VALUE({row}.meta, '$.jobrunner.epoch')",
            starts="JSON_VALUE({row}.meta, '$.jobrunner.starts')",
        )

    return [
        f"CREATE TRIGGER {AUDIT}_{table}_{op} AFTER {event} ON {table} FOR EACH ROW {body(op)}"
        for op, event in (("I", "INSERT"), ("U", "UPDATE"), ("D", "DELETE"))
    ]


def _postgres_triggers(table: str) -> list[str]:
    def body(op: str) -> str:
        return _insert(
            table,
            op,
            now="(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
            connection="pg_backend_pid()",
            results="{row}.results::text",
            epoch="({row}.meta->'jobrunner'->>'epoch')::bigint",
            starts="({row}.meta->'jobrunner'->>'starts')::int",
        )

    function = f"{AUDIT}_{table}"
    steps = " ELSE ".join(
        f"IF TG_OP = '{event}' THEN {body(op)};" for op, event in (("I", "INSERT"), ("U", "UPDATE"))
    )
    return [
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {steps} "
        f"ELSE {body('D')}; END IF; END IF; RETURN NULL; END $$",
        f"CREATE TRIGGER {function} AFTER INSERT OR UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {function}()",
    ]


def dump(changes: Sequence[Change]) -> str:
    """The history as lines of JSON, for whoever looks into a violation."""
    return "".join(json.dumps({name: getattr(change, name) for name in COLUMNS}) + "\n" for change in changes)
