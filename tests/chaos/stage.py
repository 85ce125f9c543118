"""The stage: the servers of a run, a proxy between each client and each server, and the way around them."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.chaos.proxy import Network, Proxy
from tests.chaos.systems import Servers
from tests.support.servers import MariaDbServer, PostgresServer, RedisServer

STORE, BOARD = "store", "board"
USERS = "users"


class Stage:
    """Servers that can be broken, and proxies by client and server.

    :param database: ``mariadb`` or ``postgresql``
    """

    def __init__(self, directory: Path, database: str, rng: random.Random) -> None:
        self.directory = directory
        self.network = Network()
        self.redis_keeps = rng.random() < 0.5
        self.board = RedisServer(directory / "redis", appendonly=self.redis_keeps)
        self.store: MariaDbServer | PostgresServer
        if database == "mariadb":
            self.store = MariaDbServer(directory / "mariadb", innodb_autoinc_lock_mode=2)
        else:
            self.store = PostgresServer(directory / "postgres")
        self.proxies: dict[tuple[str, str], Proxy] = {}
        self.store_url = ""

    def start(self) -> None:
        """Start the servers and make a database."""
        self.board.start()
        self.store.start()
        self.store_url = self.store.create_database()

    @property
    def database_name(self) -> str:
        return urlsplit(self.store_url).path[1:]

    def servers_for(self, client: str) -> Servers:
        """Where this client reaches the servers: through proxies of its own."""
        store, board = (
            self._proxy(client, STORE, self.store.port),
            self._proxy(client, BOARD, self.board.port),
        )
        return Servers(
            store_url=_with_port(self.store_url, store.port), board_url=_with_port(self.board.url, board.port)
        )

    def _proxy(self, client: str, server: str, port: int) -> Proxy:
        if (client, server) not in self.proxies:
            self.proxies[client, server] = self.network.proxy(port)
        return self.proxies[client, server]

    def proxies_of(self, clients: list[str], server: str) -> list[Proxy]:
        """The proxies between these clients and this server, or both servers."""
        wanted = itertools.product(clients, (STORE, BOARD))
        return [self.proxies[key] for key in wanted if server in (key[1], "both")]

    # Around the proxies: the harness itself

    def query(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own; the rows, if there are any."""
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def connection(self, **options: Any) -> Any:
        """A connection of the caller's own. It waits no longer than this for what another fault has locked: the same
        thread would have to let that go."""
        if isinstance(self.store, MariaDbServer):
            return self.store.connection(database=self.database_name, read_timeout=4, **options)
        return self.store.connection(self.database_name, options="-c lock_timeout=4s", **options)

    def dead_locks(self) -> int:
        """How many the server has found since it was started."""
        if isinstance(self.store, MariaDbServer):
            return int(self.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0][1])
        return int(
            self.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]
        )

    def close(self) -> None:
        """End everything. Closing twice is fine."""
        self.network.close()
        self.board.close()
        self.store.close()


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = host.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user + '@' if user else ''}{name}:{port}"))
