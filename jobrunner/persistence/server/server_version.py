"""Which program a database's server is, and whether it is recent enough for the store, and for a board in it."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from sqlalchemy.engine import Connection

OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0), "PostgreSQL": (13,), "SQLite": (3, 35)}
"""MariaDB and MySQL have SKIP LOCKED since then, SQLite drops columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerVersion:
    """Which program the server is."""

    product: str
    number: tuple[int, ...]
    text: str

    @property
    def is_too_old(self) -> bool:
        return self.number < OLDEST[self.product]

    @property
    def oldest(self) -> str:
        """The oldest that would do, in words: ``MariaDB 10.6``."""
        return f"{self.product} {'.'.join(map(str, OLDEST[self.product]))}"

    def __str__(self) -> str:
        return f"{self.product} {self.text}"


def server_version(connection: Connection) -> ServerVersion:
    """Ask the server; MariaDB answers with MySQL's number first to old clients (``5.5.5-10.6.12-MariaDB``)."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return ServerVersion(
            product="SQLite", number=sqlite3.sqlite_version_info, text=sqlite3.sqlite_version
        )
    if dialect == "postgresql":
        text = str(connection.exec_driver_sql("SHOW server_version").scalar())
        return ServerVersion(product="PostgreSQL", number=_number(text), text=text)
    text = str(connection.exec_driver_sql("SELECT VERSION()").scalar())
    product = "MariaDB" if "mariadb" in text.lower() else "MySQL"
    return ServerVersion(product=product, number=_number(text.removeprefix("5.5.5-")), text=text)


def _number(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
