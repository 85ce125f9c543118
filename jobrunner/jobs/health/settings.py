"""The settings of SQL servers on which the promises rest, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from jobrunner.jobs.health.finding import Finding, Health, Reporter

MIB = 1024 * 1024
PACKET_BYTES = 16 * MIB
Values = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is wrong when ``wrong`` says so of all the settings that were read; ``why`` and ``hint`` are for people."""

    name: str
    wrong: Callable[[Values], bool]
    health: Health = Health.ERROR
    why: str
    hint: str


def _differs(name: str, *fine: str) -> Callable[[Values], bool]:
    return lambda values: name in values and values[name].lower() not in fine


MYSQL = (
    Setting(
        name="innodb_flush_log_at_trx_commit",
        wrong=_differs("innodb_flush_log_at_trx_commit", "1"),
        why="what it confirmed can be lost when its machine loses power, and posted jobs with it",
        hint="Set innodb_flush_log_at_trx_commit=1.",
    ),
    Setting(
        name="sql_mode",
        wrong=lambda values: (
            "sql_mode" in values
            and not {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"} & set(values["sql_mode"].upper().split(","))
        ),
        why="values that are too long would be cut off without a word",
        hint="Add STRICT_TRANS_TABLES to sql_mode.",
    ),
    Setting(
        name="binlog_format",
        wrong=lambda values: (
            values.get("log_bin", "OFF").upper() in ("ON", "1")
            and values.get("binlog_format", "ROW").upper() == "STATEMENT"
        ),
        why="InnoDB refuses every write at READ COMMITTED then",
        hint="Set binlog_format=ROW (or MIXED).",
    ),
    Setting(
        name="read_only",
        wrong=_differs("read_only", "off", "0"),
        why="it is a replica, or was made read-only",
        hint="Let persistence.url name the server that takes writes.",
    ),
    Setting(
        name="max_allowed_packet",
        wrong=lambda values: int(values.get("max_allowed_packet", PACKET_BYTES)) < PACKET_BYTES,
        health=Health.WARNING,
        why="atoms with large results, and jobs with much output, fail",
        hint="Set max_allowed_packet=16M or more.",
    ),
    Setting(
        name="wsrep_on",
        wrong=_differs("wsrep_on", "off", "0"),
        health=Health.WARNING,
        why="a Galera cluster that is written to at several nodes loses committed transactions",
        hint="Let every conductor and every client name the same node of the cluster, and only that one.",
    ),
)

POSTGRESQL = (
    Setting(
        name="fsync",
        wrong=_differs("fsync", "on"),
        why="what it confirmed can be lost, and its files ruined, when its machine loses power",
        hint="Set fsync=on.",
    ),
    Setting(
        name="synchronous_commit",
        wrong=_differs("synchronous_commit", "on", "local", "remote_write", "remote_apply"),
        why="what it confirmed can be lost when it crashes, and posted jobs with it",
        hint="Set synchronous_commit=on for the account or the database.",
    ),
    Setting(
        name="full_page_writes",
        wrong=_differs("full_page_writes", "on"),
        health=Health.WARNING,
        why="a page that was half written when the machine lost power stays broken",
        hint="Set full_page_writes=on, unless its file system writes whole pages (ZFS).",
    ),
    Setting(
        name="server_encoding",
        wrong=_differs("server_encoding", "utf8"),
        why="parameters, results and output with characters that it does not have cannot be stored",
        hint="Make a database with ENCODING 'UTF8' TEMPLATE template0, and move its data there: pg_dump, pg_restore.",
    ),
    Setting(
        name="transaction_read_only",
        wrong=lambda values: "on" in (values.get("in_recovery"), values.get("default_transaction_read_only")),
        why="it is a standby, or was made read-only",
        hint="Let persistence.url name the primary.",
    ),
)

SQLITE = (
    Setting(
        name="journal_mode",
        wrong=_differs("journal_mode", "wal"),
        why="readers and writers of several processes stand in one another's way",
        hint="Put the file on a file system that can share memory between processes: a local disk.",
    ),
)

ISOLATION = Setting(
    name="isolation level",
    wrong=_differs("isolation level", "read committed", "serializable"),
    why="dead locks and old views of rows slow jobs down",
    hint="Take the isolation level out of persistence.url: jobrunner asks for READ COMMITTED itself.",
)
"""SQLite has no READ COMMITTED; what it calls SERIALIZABLE is one writer at a time."""

TABLES = {"mysql": MYSQL, "postgresql": POSTGRESQL, "sqlite": SQLITE}


def server_settings(connection: Connection, report: Reporter) -> Iterator[Finding]:
    """What is wrong with the settings of the connection's server, or one good word about all of them."""
    values = read_settings(connection)
    found = list(wrong_settings(connection.dialect.name, values, report))
    yield from found
    if not found:
        checked = [setting.name for setting in TABLES[connection.dialect.name] if setting.name in values]
        yield report.ok(f"Its settings are fine: {', '.join(checked)}.")


def wrong_settings(dialect: str, values: Values, report: Reporter) -> Iterator[Finding]:
    for setting in (*TABLES[dialect], ISOLATION):
        if setting.wrong(values):
            value = values.get(setting.name, "on")
            yield Finding(
                area=report.area,
                health=setting.health,
                what=f"{setting.name} is {value}: {setting.why}.",
                hint=setting.hint,
            )


def read_settings(connection: Connection) -> dict[str, str]:
    """The settings that the tables above ask for, as the server has them for a connection like ours."""
    dialect = connection.dialect.name
    read = {"mysql": _read_mysql, "postgresql": _read_postgresql, "sqlite": _read_sqlite}[dialect]
    return {**read(connection), "isolation level": str(connection.get_isolation_level())}


def _read_mysql(connection: Connection) -> dict[str, str]:
    names = {*(setting.name for setting in MYSQL), "log_bin"}
    listed = ", ".join(f"'{name}'" for name in sorted(names))
    rows = connection.exec_driver_sql(f"SHOW VARIABLES WHERE Variable_name IN ({listed})").all()
    return {str(name): str(value) for name, value in rows}


def _read_postgresql(connection: Connection) -> dict[str, str]:
    names = (
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "default_transaction_read_only",
        "server_encoding",
    )
    values = {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in names}
    in_recovery = connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar()
    return {**values, "in_recovery": "on" if in_recovery else "off"}


def _read_sqlite(connection: Connection) -> dict[str, str]:
    return {"journal_mode": str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())}
