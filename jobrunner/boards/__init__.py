"""Job boards: the contract in :mod:`~jobrunner.boards.board`, and one driver a server.

Invariants, which every driver keeps and the conformance suite tries to break:

1. A job stands in one place only: in the line of its class, among the delayed, or claimed by one owner.
2. Each step from one place to the other is atomic, also for whoever dies in the middle of it.
3. A claim belongs to an identity, and ends at its lease's end by the server's clock; nobody but its owner, in time,
   keeps, releases or consumes it.
4. What is in line is claimed first in line first, over all the classes asked for.
5. What is posted, handed back, or becomes due ends the waits for its class, also when it happened just before the wait.
6. No call blocks, and no call's cost grows, with how many jobs there are; a server that is away ends a call with
   BoardUnavailable, and the next call tries again.
7. Nothing is only here: whoever finds the board empty rebuilds it from the store.

Threads may share a board. Only one of them listens to the server at a time and tells the others
(:mod:`~jobrunner.boards.waiting`); locks are never held while a server is asked.

A driver is a callable ``(url, *, database, prefix) -> Board``, registered as an entry point in the group
``jobrunner.boards`` under the scheme of its URLs (the part before ``:`` or ``+``).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, metadata
from typing import TYPE_CHECKING, cast

from jobrunner.boards.board import Board
from jobrunner.errors import ConfigError

if TYPE_CHECKING:
    from jobrunner.persistence.server.database import Database

ENTRY_POINTS = "jobrunner.boards"

DRIVERS = {
    "redis": ("jobrunner.boards.redis", "RedisBoard"),
    "sql": ("jobrunner.boards.sql", "SqlBoard"),
}
"""Our own drivers, found without reading the entry points of everything that is installed (0.1 s)."""

SCHEMES = {
    **dict.fromkeys(("redis", "rediss", "unix", "valkey", "valkeys"), "redis"),
    **dict.fromkeys(("sqlite", "mysql", "mariadb", "postgresql", "postgres"), "sql"),
}
"""Which driver understands the URLs that begin so."""


def open_board(url: str, *, database: Database | None = None, prefix: str = "jobrunner") -> Board:
    """The board at ``url``; connects when it is first used.

    :param database: the store, for drivers that keep the board there; other drivers ignore it
    :param prefix: what keeps several boards on one server apart
    :raises ConfigError: if no driver understands the URL, or it is not valid
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if not scheme or "://" not in url:
        raise ConfigError(
            "board.url is not a URL.", hint="It looks like redis://host:6379/0, or like persistence.url."
        )
    driver = _driver(SCHEMES.get(scheme, scheme))
    return driver(url, database=database, prefix=prefix)


def _driver(name: str) -> Callable[..., Board]:
    if name in DRIVERS:
        module, attribute = DRIVERS[name]
        return cast("Callable[..., Board]", getattr(import_module(module), attribute))
    for entry_point in metadata.entry_points(group=ENTRY_POINTS, name=name):
        return cast("Callable[..., Board]", entry_point.load())
    installed = {entry_point.name for entry_point in metadata.entry_points(group=ENTRY_POINTS)}
    known = sorted(set(SCHEMES) | installed - set(DRIVERS))
    raise ConfigError(
        f"board.url begins with {name!r}, which no installed driver understands.",
        hint=f"Known are: {', '.join(known)}. A driver of its own package registers itself when that is installed.",
    )
