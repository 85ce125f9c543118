"""Making and upgrading the tables, and telling whether a database has them.

TaskFlow's migrations make TaskFlow's tables, ours make ours, one after the other under one lock of the database, so
that several machines may upgrade at once. Old and new conductors run together for one release: a migration adds, and
the next release takes away.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from jobrunner.errors import ConfigError, SchemaOutOfDate
from jobrunner.persistence.server.database import ENCODING_HINT, Database
from jobrunner.persistence.server.faults import is_passing
from jobrunner.persistence.tables import metadata, settings

HEAD = "0003"
"""The newest migration in ``migrations/versions``; a test compares it with what Alembic finds there."""

VERSION_TABLE = "jobrunner_version"
_MYSQL_LOCK = "CONCAT('jobrunner_schema_', LEFT(SHA2(DATABASE(), 256), 40))"
"""Such locks are the whole server's; this one is the database's."""
_LOCK_NUMBER = 0x6A6F6272
LOCK_TIMEOUT_S = 60


class SchemaState(str, enum.Enum):
    """What a database holds of our tables."""

    ABSENT = "absent"  # none of them
    OLDER = "older"  # made by an earlier version: `jobrunner db upgrade`
    CURRENT = "current"  # fits this version
    NEWER = "newer"  # made by a later version; it runs, for one release


def schema_state(database: Database) -> SchemaState:
    """Look at the version that the database says it has; two small queries at most."""
    version = schema_version(database)
    if version is None:
        return SchemaState.ABSENT
    if version == HEAD:
        return SchemaState.CURRENT
    return SchemaState.NEWER if version > HEAD else SchemaState.OLDER


def schema_version(database: Database) -> str | None:
    """The database's migration, or None if it has none of our tables."""
    with database.read() as connection:
        return _version(connection)


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return str(found) if found else None


def require_schema(database: Database) -> None:
    """Raise SchemaOutOfDate unless the database fits; a new SQLite file is made on the way."""
    state = schema_state(database)
    if state is SchemaState.ABSENT and database.dialect == "sqlite":
        upgrade(database)
    elif state is SchemaState.ABSENT:
        raise SchemaOutOfDate(
            f"The database {database.name} has no tables of jobrunner yet.",
            hint="Make them: jobrunner db upgrade",
        )
    elif state is SchemaState.OLDER:
        raise SchemaOutOfDate(
            f"The database {database.name} was made by an earlier version of jobrunner.",
            hint="Bring it up to date: jobrunner db upgrade (conductors of the last release may go on running)",
        )


def upgrade(database: Database) -> None:
    """Make or update all tables; safe to run from several machines at once, and again.

    Raises StoreUnavailable if the server is away, SchemaOutOfDate if somebody else upgrades for longer than
    LOCK_TIMEOUT_S, ConfigError if another program's tables are in the way, or the database cannot hold all text.
    """
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    if database.dialect == "sqlite":
        with database.write() as connection:
            _upgrade_all(connection, database.name)
        return
    # Making an index of a large table takes its time: no answer is too late here.
    patient = Database(database.url.render_as_string(hide_password=False), pool_size=1, answer_timeout=None)
    try:
        with (
            patient.errors(),
            patient.engine.connect() as connection,
            _only_one(connection, database.dialect),
        ):
            _upgrade_all(connection, database.name)
            connection.commit()
    finally:
        patient.close()


def foreign_tables(connection: Connection) -> list[str]:
    """Tables of another program whose names ours have; none where ours are, or began to be made.

    The version's table is made before all the others. TaskFlow's may be there without ours.
    """
    inspector = sa.inspect(connection)
    if inspector.has_table(VERSION_TABLE):
        return []
    return sorted(set(metadata.tables) & set(inspector.get_table_names()))


def not_ours(name: str, tables: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"The database {name} has tables of another program, with names that jobrunner's have: {', '.join(tables)}.",
        hint="Give jobrunner a database of its own, and name that in persistence.url.",
    )


def _upgrade_all(connection: Connection, name: str) -> None:
    if tables := foreign_tables(connection):
        raise not_ours(name, tables)
    _require_encoding(connection, name)
    _upgrade_taskflow(connection)
    _upgrade_ours(connection)
    _give_identity(connection)


def _require_encoding(connection: Connection, name: str) -> None:
    """Refuse to make tables in a PostgreSQL database that cannot hold all text; those that are there are kept up."""
    if connection.dialect.name != "postgresql" or _version(connection) is not None:
        return
    encoding = str(connection.exec_driver_sql("SHOW server_encoding").scalar())
    if encoding != "UTF8":
        raise ConfigError(
            f"The database {name} has the encoding {encoding}: text of other alphabets cannot be stored there.",
            hint=ENCODING_HINT,
        )


def _upgrade_taskflow(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # TaskFlow itself does not migrate SQLite but creates from its tables' descriptions.
        from taskflow.persistence.backends.sqlalchemy import tables as taskflow_tables

        described = sa.MetaData()
        taskflow_tables.fetch(described)
        described.create_all(connection)
    else:
        from taskflow.persistence.backends.sqlalchemy import migration

        migration.db_sync(connection)
    _index_parents(connection)


def _index_parents(connection: Connection) -> None:
    """Index the columns by which a job's atoms are found; TaskFlow's tables lack it on PostgreSQL and SQLite."""
    for table in ("flowdetails", "atomdetails"):
        indexes = sa.inspect(connection).get_indexes(table)
        if not any(index["column_names"][:1] == ["parent_uuid"] for index in indexes):
            connection.execute(sa.text(f"CREATE INDEX jobrunner_{table}_parent ON {table} (parent_uuid)"))


def _upgrade_ours(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    version = _version(connection)
    if version is not None and version > HEAD:
        return  # made by a later version, which this one can use, and whose migrations it does not know
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _give_identity(connection: Connection) -> None:
    import uuid

    found = connection.execute(sa.select(settings.c.value).where(settings.c.name == "store_id")).scalar()
    if found is None:
        connection.execute(settings.insert().values(name="store_id", value=str(uuid.uuid4())))


@contextlib.contextmanager
def _only_one(connection: Connection, dialect: str) -> Iterator[None]:
    """Hold the lock under which tables are made; it belongs to the connection, so it goes when that breaks."""
    mysql = dialect == "mysql"
    if not (_lock_mysql(connection) if mysql else _lock_postgres(connection)):
        raise SchemaOutOfDate(
            "Another process is upgrading the database and has not finished.", hint="Try again when it has."
        )
    try:
        yield
    finally:
        connection.rollback()
        call = f"RELEASE_LOCK({_MYSQL_LOCK})" if mysql else f"pg_advisory_unlock({_LOCK_NUMBER})"
        connection.execute(sa.text(f"SELECT {call}"))
        connection.commit()


def _lock_mysql(connection: Connection) -> bool:
    lock = sa.text(f"SELECT GET_LOCK({_MYSQL_LOCK}, :seconds)")
    return bool(connection.execute(lock, {"seconds": LOCK_TIMEOUT_S}).scalar())


def _lock_postgres(connection: Connection) -> bool:
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
    try:
        connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK_NUMBER})
    except DBAPIError as error:
        if not is_passing(error):
            raise
        connection.rollback()
        return False
    connection.commit()  # ends the timeout, and keeps the lock
    return True
