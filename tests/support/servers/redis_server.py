"""Redis (or Valkey) for tests."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.servers.process import Server, Setting, find_binary

DATABASES = 10000
COUNTER = "jobrunner-tests:databases"


class RedisServer(Server):
    """A Redis that keeps nothing, unless ``appendonly=True`` (flushed at every write) or ``save=...`` is given."""

    kind = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The same server by its unix socket."""
        return f"unix://{self.directory}/redis.sock?db=0"

    def client(self, database: int = 0) -> redis.Redis:
        """A client of the caller's own, to be closed by it; answers are text."""
        return redis.Redis(port=self.port, db=database, decode_responses=True, socket_timeout=5)

    def create_database(self) -> str:
        """The URL of a database number that nobody else of this run uses.

        Channels, scripts and blocked clients are the whole server's: a test that looks at those starts a private one.
        """
        with self.client() as client:
            number = int(client.incr(COUNTER))
        return f"redis://127.0.0.1:{self.port}/{number % DATABASES}"

    def drop_database(self, url: str) -> None:
        with self.client(int(urlsplit(url).path[1:])) as client:
            client.flushdb()

    def command(self) -> list[str]:
        settings: dict[str, Setting] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": "redis.sock",
            "databases": DATABASES,
            "save": "",
            "appendonly": False,
            "appendfsync": "always",
            **self.settings,
        }
        options = [
            part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", _text(value))
        ]
        return [find_binary("redis-server"), *options]

    def prepare(self) -> None:
        """Redis starts in an empty directory."""

    def answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except redis.RedisError:  # also while it loads its data
            return False


def _text(value: Setting) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
