"""INSERTs of rows some of which may be there already; each dialect has its own words for them.

A process imports the dialect that it uses: all of them would cost it 3 MB of memory.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

from jobrunner.persistence.pipelines.statement import Statement


@functools.cache
def insert_new(dialect: str, table: sa.Table, columns: tuple[str, ...]) -> Statement:
    """Insert rows; one that is there already, by a unique index, is left as it is.

    On MariaDB and MySQL the values must be known to fit: one that is too long would be cut without an error.
    """
    return Statement(leaving_known(dialect, table), columns=columns)


def leaving_known(dialect: str, table: sa.Table) -> sa.Insert:
    """The INSERT of :func:`insert_new`, for those who execute it themselves."""
    if dialect == "mysql":
        return mysql.insert(table).prefix_with("IGNORE")
    return _with_conflicts(dialect, table).on_conflict_do_nothing()


@functools.cache
def upsert(
    dialect: str, table: sa.Table, columns: tuple[str, ...], *, key: tuple[str, ...], changed: tuple[str, ...]
) -> Statement:
    """Insert rows; of one that is there already, by its key, the ``changed`` columns are set.

    :param key: the columns of a unique index; MariaDB and MySQL go by any unique index
    """
    if dialect == "mysql":
        # VALUES(), not the newer alias, which MariaDB does not know.
        values = {name: sa.func.VALUES(sa.literal_column(name)) for name in changed}
        return Statement(mysql.insert(table).on_duplicate_key_update(values), columns=columns)
    insert = _with_conflicts(dialect, table)
    updated = insert.on_conflict_do_update(
        index_elements=key, set_={name: insert.excluded[name] for name in changed}
    )
    return Statement(updated, columns=columns)


def _with_conflicts(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
