"""The servers of a run: started for it, on a real disk, flushing every commit."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from tests.support.servers import MariaDbServer, PostgresServer, RedisServer, Server

IN_MEMORY = ("tmpfs", "ramfs")

# What the tests' servers have is made for starting fast; these are what MariaDB and PostgreSQL come with or recommend
# for a small server, so that what is measured is neither starved nor tuned.
MARIADB: dict[str, str | int | bool] = {
    "innodb_flush_log_at_trx_commit": 1,
    "innodb_buffer_pool_size": "512M",
    "innodb_log_file_size": "96M",
}
POSTGRESQL: dict[str, str | int | bool] = {
    "shared_buffers": "256MB",
    "fsync": True,
    "synchronous_commit": "on",
    "full_page_writes": True,
}


class NotOnDisk(Exception):
    """The directory is in memory, where a commit costs nothing."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The run's servers, PostgreSQL if it was asked for; ``directory`` is where the run may put files of its own."""

    directory: Path
    redis: RedisServer
    mariadb: MariaDbServer
    postgresql: PostgresServer | None


@contextlib.contextmanager
def running(place: Path, *, postgresql: bool = False) -> Iterator[Servers]:
    """Servers with their data below ``place``, removed at the end.

    Raises NotOnDisk, BinaryMissing or ServerNotReady.
    """
    require_disk(place)
    signal.signal(signal.SIGTERM, _leave)
    directory = Path(tempfile.mkdtemp(prefix="jobrunner-bench-", dir=place))
    directory.chmod(0o711)  # PostgreSQL runs as another user, and must get to its data
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        redis = RedisServer(directory / "redis")
        # A MariaDB that starts clears its temporary directory, whoever else uses it: so not /tmp.
        mariadb = MariaDbServer(
            directory / "mariadb", watch=None, tmpdir=str(directory / "mariadb"), **MARIADB
        )
        wanted: list[Server] = [redis, mariadb]
        postgres = PostgresServer(directory / "postgresql", watch=None, **POSTGRESQL) if postgresql else None
        if postgres is not None:
            wanted.append(postgres)
        for server in wanted:
            stack.callback(server.close)
            server.start()
        yield Servers(directory=directory, redis=redis, mariadb=mariadb, postgresql=postgres)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End like an interrupted program: servers are closed, and files removed, on the way out."""
    sys.exit(128 + number)


def require_disk(place: Path) -> None:
    """Raise NotOnDisk if ``place`` is in memory."""
    kind = filesystem_of(place)
    if kind in IN_MEMORY:
        raise NotOnDisk(f"{place} is in memory ({kind}); name a directory on a disk: --directory")


def filesystem_of(place: Path) -> str:
    """The kind of file system that ``place`` is on."""
    parts = [part for part in psutil.disk_partitions(all=True) if _holds(part.mountpoint, place)]
    return max(parts, key=lambda part: len(part.mountpoint)).fstype if parts else "unknown"


def _holds(mountpoint: str, place: Path) -> bool:
    return place.resolve().is_relative_to(mountpoint)
