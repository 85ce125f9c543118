"""May this account do with the tables what jobrunner does, and can their columns hold what it writes?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from jobrunner.jobs.health.finding import Finding, Reporter
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.server.faults import is_refused
from jobrunner.persistence.tables import metadata, taskflow_metadata

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
TASKFLOW = tuple(sorted(taskflow_metadata.tables))
"""TaskFlow makes these; a text of ours in them is ASCII, but for the names of atoms and flows."""
OURS = tuple(sorted(metadata.tables))
SHOWN = 5
"""So many tables or columns are named; of more, how many there are."""

_RIGHTS_OF_POSTGRES = sa.text(
    "SELECT t.name, r.name FROM unnest(CAST(:tables AS text[])) AS t(name), unnest(CAST(:rights AS text[])) AS r(name) "
    "WHERE to_regclass(t.name) IS NOT NULL AND NOT has_table_privilege(to_regclass(t.name), r.name) "
    "UNION ALL SELECT s.relname, 'USAGE' FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype = 'a' "
    "WHERE d.refobjid IN (SELECT to_regclass(t) FROM unnest(CAST(:tables AS text[])) AS t) "
    "AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') ELSE false END ORDER BY 1, 2"
)
_CHARACTER_SETS_OF_MYSQL = sa.text(
    "SELECT table_name, column_name, character_set_name FROM information_schema.columns "
    "WHERE table_schema = DATABASE() AND character_set_name IS NOT NULL AND character_set_name <> 'utf8mb4' "
    "AND (table_name IN :ours AND character_set_name <> 'ascii' "
    "OR table_name IN :taskflow AND character_set_name NOT IN ('utf8mb3', 'utf8')) ORDER BY 1, 2"
).bindparams(sa.bindparam("ours", expanding=True), sa.bindparam("taskflow", expanding=True))


def look_at_tables(database: Database, report: Reporter) -> Iterator[Finding]:
    """What is wrong with the tables, or with this account's rights to them; nothing is changed."""
    if database.dialect == "sqlite":
        return
    with database.read() as connection:
        find = _missing_in_postgres if database.dialect == "postgresql" else _missing_in_mysql
        missing = find(connection)
        odd = _odd_columns(connection) if database.dialect == "mysql" else []
    if missing:
        yield report.error(
            f"The account {database.url.username} lacks rights: {_some(missing)}.", _GRANTS[database.dialect]
        )
    else:
        yield report.ok("This account has all rights to the tables that it needs.")
    if odd:
        yield report.error(
            f"Columns have lost their character set, and cannot hold all text: {_some(odd)}.",
            "Give each its own back: ALTER TABLE ... MODIFY ..., with CHARACTER SET utf8mb4 COLLATE utf8mb4_bin.",
        )


def _missing_in_postgres(connection: Connection) -> list[str]:
    wanted = {"tables": [*OURS, *TASKFLOW], "rights": list(RIGHTS)}
    return _by_name(connection.execute(_RIGHTS_OF_POSTGRES, wanted).tuples().all())


def _missing_in_mysql(connection: Connection) -> list[str]:
    """Found by trying: what an account may do can also come from roles, and be given for single columns."""
    return _by_name(
        [
            (name, right)
            for name in (*OURS, *TASKFLOW)
            for right in RIGHTS
            if not _may(connection, name, right)
        ]
    )


def _may(connection: Connection, name: str, right: str) -> bool:
    table = (taskflow_metadata if name in TASKFLOW else metadata).tables[name]
    columns = list(table.columns)
    statement = {
        "SELECT": sa.select(*columns).where(sa.false()),
        "INSERT": sa.insert(table).from_select(columns, sa.select(*columns).where(sa.false())),
        "UPDATE": sa.update(table).values({column.name: column for column in columns}).where(sa.false()),
        "DELETE": sa.delete(table).where(sa.false()),
    }[right]
    try:
        connection.execute(statement)
    except DBAPIError as error:
        if not is_refused(error):
            raise
        return False
    return True


def _odd_columns(connection: Connection) -> list[str]:
    found = connection.execute(_CHARACTER_SETS_OF_MYSQL, {"ours": OURS, "taskflow": TASKFLOW}).tuples()
    return [f"{table}.{column} ({characters})" for table, column, characters in found]


def _by_name(missing: Sequence[tuple[str, str]]) -> list[str]:
    rights: dict[str, list[str]] = {}
    for name, right in missing:
        rights.setdefault(name, []).append(right)
    return [f"{', '.join(found)} on {name}" for name, found in rights.items()]


def _some(found: Sequence[str]) -> str:
    more = len(found) - SHOWN
    return "; ".join(found[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


_GRANTS = {
    "mysql": "Give them to it, for all tables of the database: GRANT SELECT, INSERT, UPDATE, DELETE ON ...",
    "postgresql": "Give them to it, as the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN "
    "SCHEMA ... TO ..., and GRANT USAGE ON ALL SEQUENCES IN SCHEMA ... TO ...",
}
