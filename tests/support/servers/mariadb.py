"""MariaDB for tests."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql

from tests.support.servers.process import Server, ServerNotReady, Setting, find_binary
from tests.support.servers.templates import copy_template

NO_SUCH_THREAD = 1094

# Sizes that the data directory is made with; a server with others would have to rebuild its files first.
STORAGE = [
    "--innodb-log-file-size=16M",
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-undo-tablespaces=0",
    "--aria-log-file-size=8M",
]


class MariaDbServer(Server):
    """A MariaDB that is small, reads none of the machine's own configuration, and flushes its log at every commit."""

    kind = "mariadb"

    @property
    def url(self) -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.port}"

    def connection(self, **options: Any) -> pymysql.Connection[Any]:
        """A connection of the caller's own, in autocommit mode, to be closed by it."""
        defaults = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "autocommit": True,
            "connect_timeout": 5,
        }
        # Without ssl_disabled PyMySQL loads the system's certificates for each connection: 40 ms.
        return pymysql.connect(**{**defaults, "ssl_disabled": True, **options})

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on a connection of their own; returns the rows of the last one."""
        with self.connection() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def create_database(self) -> str:
        name = f"test_{uuid.uuid4().hex[:16]}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return f"{self.url}/{name}"

    def drop_database(self, url: str) -> None:
        name = urlsplit(url).path[1:]
        # A connection that is still in a transaction holds metadata locks, for which dropping would wait.
        for (connection,) in self.execute(
            f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        ):
            self._kill_connection(connection)
        self.execute(f"DROP DATABASE IF EXISTS {name}")

    def _kill_connection(self, connection: int) -> None:
        try:
            self.execute(f"KILL {connection}")
        except pymysql.err.OperationalError as error:
            if error.args[0] != NO_SUCH_THREAD:  # it left by itself meanwhile
                raise

    def command(self) -> list[str]:
        settings: dict[str, Setting] = {
            "datadir": str(self.directory / "data"),
            # Its own: a server that starts removes what others have in a directory that they share.
            "tmpdir": str(self.directory),
            "socket": str(self.directory / "mariadb.sock"),
            "pid-file": str(self.directory / "mariadb.pid"),
            "port": self.port,
            "bind-address": "127.0.0.1",
            "skip-name-resolve": True,
            "max-connections": 500,
            "innodb-buffer-pool-size": "64M",
            "innodb-flush-log-at-trx-commit": 1,
            "innodb-stats-persistent": False,
            "performance-schema": False,
            "character-set-server": "utf8mb4",
            **{name.replace("_", "-"): value for name, value in self.settings.items()},
        }
        options = [f"--{name}={_text(value)}" for name, value in settings.items()]
        return [find_binary("mariadbd"), "--no-defaults", *_as_root(), *STORAGE, *options]

    def prepare(self) -> None:
        version = subprocess.run(
            [find_binary("mariadbd"), "--version"], capture_output=True, text=True, check=True
        )
        copy_template(self.kind, [version.stdout, *STORAGE], _bootstrap, self.directory / "data")

    def answers(self) -> bool:
        try:
            self.connection(read_timeout=2).close()
        except pymysql.err.OperationalError:
            return False
        return True


def _bootstrap(data: Path) -> None:
    command = [
        find_binary("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        *_as_root(),
        *STORAGE,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ServerNotReady(f"mariadb-install-db failed:\n{done.stdout}")


def _as_root() -> list[str]:
    """MariaDB wants to be told that it is meant to run as root."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _text(value: Setting) -> str:
    return ("ON" if value else "OFF") if isinstance(value, bool) else str(value)
