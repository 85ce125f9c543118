"""PostgreSQL for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.support.servers.process import Server, ServerNotReady, Setting, find_binary, unprivileged_user
from tests.support.servers.templates import copy_template

INITDB = [
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--wal-segsize=4",
    "--no-sync",
]


class PostgresServer(Server):
    """A PostgreSQL that is small and flushes its log at every commit; as root it runs as an unprivileged user."""

    kind = "postgres"
    stop_signal = signal.SIGINT  # fast: SIGTERM would wait for the clients to leave
    discard_signal = signal.SIGQUIT  # at once, but unlike SIGKILL it gives its shared memory back

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def connection(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A connection of the caller's own, in autocommit mode, to be closed by it."""
        defaults = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "postgres",
            "autocommit": True,
            "connect_timeout": 5,
        }
        return psycopg.connect(dbname=database, **{**defaults, **options})

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on a connection of their own; returns the rows of the last one."""
        with self.connection() as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self) -> str:
        name = f"test_{uuid.uuid4().hex[:16]}"
        self.execute(f"CREATE DATABASE {name}")
        return f"{self.url.rpartition('/')[0]}/{name}"

    def drop_database(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)")

    def command(self) -> list[str]:
        settings: dict[str, Setting] = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "max_connections": 300,
            "shared_buffers": "32MB",
            "fsync": True,
            "dynamic_shared_memory_type": "mmap",  # in the data directory, so that a killed server leaves none behind
            "logging_collector": False,
            "jit": False,
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={_text(value)}")]
        return [_binary("postgres"), "-D", str(self.directory / "data"), *options]

    def identity(self) -> dict[str, Any]:
        return _identity()

    def prepare(self) -> None:
        version = subprocess.run(
            [_binary("postgres"), "--version"], capture_output=True, text=True, check=True
        ).stdout
        recipe = [version, *INITDB, str(_identity())]
        copy_template(self.kind, recipe, _initdb, self.directory / "data")
        _give(self.directory)

    def answers(self) -> bool:
        try:
            self.connection(connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        self._free_shared_memory_of_a_killed_server()
        super().close()

    def _free_shared_memory_of_a_killed_server(self) -> None:
        lock = self.directory / "data" / "postmaster.pid"
        if not self.running and lock.exists():
            identifier = lock.read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", identifier], check=True)


def _initdb(data: Path) -> None:
    data.mkdir()
    _give(data)
    done = subprocess.run(
        [_binary("initdb"), "-D", str(data), *INITDB],
        cwd=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **_identity(),
    )
    if done.returncode:
        raise ServerNotReady(f"initdb failed:\n{done.stdout}")


def _binary(name: str) -> str:
    """Debian keeps a version's programs off PATH; the newest is taken."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    return find_binary(name, *places)


def _identity() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = unprivileged_user("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _give(path: Path) -> None:
    if identity := _identity():
        os.chown(path, identity["user"], identity["group"])


def _text(value: Setting) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
