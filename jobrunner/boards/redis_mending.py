"""What is done when somebody wrote into the redis board's keys: wrong ones are removed, the rest is made whole.

Rare, and therefore allowed to cost a pass over the whole board.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobrunner.boards.redis_connection import RedisConnection

log = logging.getLogger(__name__)

SCANNED_AT_ONCE = 1000

TYPES = {
    "store": "string",
    "seq": "string",
    "entries": "hash",
    "ids": "zset",
    "classes": "hash",
    "delayed": "zset",
    "leases": "zset",
    "owners": "hash",
    "line": "zset",
    "held": "set",
}


def mend(connection: RedisConnection) -> None:
    """Remove the keys that are not what they should be, then put every job that lost its place back into line."""
    for key in _damaged(connection):
        log.error("The board's key %s holds what is not ours; it is removed, and the board mended.", key)
        connection.client.unlink(key)
    dropped = connection.call("mend")
    if dropped:
        log.error("The board's entries %r cannot be read; dropped, to be posted again.", dropped[:20])


def own_keys(connection: RedisConnection) -> Iterator[list[str]]:
    """All the board's keys, page by page."""
    cursor, pattern = -1, _literally(connection.base) + "*"
    while cursor != 0:
        cursor, keys = connection.client.scan(max(cursor, 0), match=pattern, count=SCANNED_AT_ONCE)
        if keys:
            yield [str(key) for key in keys]


def _damaged(connection: RedisConnection) -> Iterator[str]:
    client, base = connection.client, connection.base
    for keys in own_keys(connection):
        with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.type(key)
            types = pipeline.execute()
        for key, found in zip(keys, types, strict=True):
            expected = TYPES.get(key.removeprefix(base).partition(":")[0], found)
            if found not in (expected, "none") or (key == base + "seq" and not _is_number(client.get(key))):
                yield key


def _is_number(value: object) -> bool:
    return re.fullmatch(r"\d{1,15}", str(value)) is not None


def _literally(text: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)
