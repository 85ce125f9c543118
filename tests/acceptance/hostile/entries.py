"""Hostile entries, as somebody with the board's password writes them straight into its keys or rows."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import redis
import sqlalchemy as sa

from jobrunner.model import JobClass
from jobrunner.persistence.server.database import Database
from tests.acceptance.hostile.postings import ESC, LUA, MODULE, PICKLE, PYTHON, SQL, TOUCH

ECHO = JobClass(type="echo").key
BASE = "{jobrunner}:"
PLACE = b"0" * 16


def text_of(class_key: str = ECHO, *, score: Any = 0, **more: Any) -> str:
    """An entry's text, with a factory that no board may name."""
    return json.dumps(
        {
            "class": class_key,
            "priority": 2,
            "posted_ms": 1,
            "available_ms": 0,
            "score": score,
            "factory": {"name": "os:system", "args": [TOUCH], "kwargs": {}},
            "flow_factory": "os.system",
            **more,
        }
    )


def key_of(type_: str) -> str:
    return JobClass(type=type_).key


@dataclass(frozen=True)
class Entry:
    """An entry of the board that stands in the line of its class."""

    text: str | bytes = field(default_factory=text_of)
    job_id: str | bytes = field(default_factory=lambda: str(uuid.uuid4()))
    class_key: str = ECHO
    score: float = 0

    @property
    def raw_id(self) -> bytes:
        return self.job_id if isinstance(self.job_id, bytes) else self.job_id.encode()

    @property
    def raw_text(self) -> bytes:
        return self.text if isinstance(self.text, bytes) else self.text.encode()


ENTRIES: dict[str, Entry] = {
    "a foreign factory": Entry(),
    "a foreign factory under its own class": Entry(text_of("os:system"), class_key="os:system"),
    "a foreign factory as a class's type": Entry(text_of(key_of("os.system")), class_key=key_of("os.system")),
    "a private factory as a class's type": Entry(
        text_of(key_of(f"{MODULE}:_detonate")), class_key=key_of(f"{MODULE}:_detonate")
    ),
    "a factory of TaskFlow's": Entry(text_of(details={"flow_factory": ["os.system", [TOUCH], {}]})),
    "Lua as class": Entry(text_of(LUA), class_key=LUA),
    "SQL as class": Entry(text_of(key_of(SQL)), class_key=key_of(SQL)),
    "escapes as class": Entry(text_of(key_of(ESC)), class_key=key_of(ESC)),
    "a deep class": Entry(text_of("[" * 10_000), class_key="[" * 10_000),
    "no class": Entry(text_of(""), class_key=""),
    "another class than its line's": Entry(text_of(key_of("os.system"))),
    "Lua as id": Entry(job_id=LUA),
    "SQL as id": Entry(job_id=SQL),
    "escapes as id": Entry(job_id=ESC),
    "a NUL in its id": Entry(job_id="a\x00b"),
    "an id that is no text": Entry(job_id=b"\xff\xfe"),
    "an id in another script": Entry(job_id="é漢"),
    "an id that never ends": Entry(job_id="x" * 100_000),
    "an empty id": Entry(job_id=""),
    "pickle": Entry(PICKLE),
    "pickled bytes": Entry(
        b"\x80\x04\x95\x1f\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x93\x8c\x02id\x85R."
    ),
    "code": Entry(PYTHON),
    "deep JSON": Entry("[" * 100_000 + "]" * 100_000),
    "too much JSON": Entry(text_of(more="x" * 3_000_000)),
    "a score without end": Entry(text_of(score=1e300), score=1e300),
    "a score as text": Entry(text_of(score=LUA)),
    "a priority of its own": Entry(text_of(priority=-99), score=-(2**50)),
    "a time as text": Entry(text_of(available_ms="soon")),
}
"""By what is wrong with them."""


def write_to_redis(client: redis.Redis) -> None:
    """Put them in line; and foreign claims, classes, delays, owners and news around them."""
    for entry in ENTRIES.values():
        client.hset(BASE + "entries", entry.raw_id, PLACE + entry.raw_text)
        client.zadd(BASE + "ids", {entry.raw_id: 0})
        client.hincrby(BASE + "classes", entry.class_key, 1)
        client.zadd(f"{BASE}line:{entry.class_key}", {PLACE + entry.raw_id: entry.score})
    claimed, delayed = str(uuid.uuid4()), str(uuid.uuid4())
    for job_id in (claimed, delayed):
        client.hset(BASE + "entries", job_id, PLACE + text_of().encode())
        client.zadd(BASE + "ids", {job_id: 0})
    client.hset(BASE + "owners", claimed, ESC)
    client.zadd(BASE + "leases", {claimed: "inf"})
    client.sadd(f"{BASE}held:{LUA}", claimed, SQL)
    client.zadd(BASE + "delayed", {delayed: "-inf", "of nothing": 5})
    client.hset(BASE + "classes", mapping={PYTHON: 1, b"\xff": "many", "[1,2]": -5})
    client.lpush(BASE + "line:os.system", PICKLE)
    client.set(BASE + "os.system", TOUCH)
    client.set("taskflow", PICKLE)
    for news in (b"+os.system", b"~-1", b"~x", b"\xff\xfe", PICKLE.encode(), LUA.encode(), ESC.encode()):
        client.publish(f"{BASE}news:{client.connection_pool.connection_kwargs.get('db') or 0}", news)


def write_to_table(database: Database) -> None:
    """Put those into the table ``board`` that text can say, and some in states that there are not."""
    statement = sa.text(
        "INSERT INTO board (job_id, class_key, status, score, due_ms, owner, entry) "
        "VALUES (:job_id, :class_key, :status, :score, 0, :owner, :entry)"
    )
    with database.write() as connection:
        for number, entry in enumerate(ENTRIES.values()):
            if isinstance(entry.job_id, bytes):
                continue
            values = {
                "job_id": entry.job_id,
                "class_key": entry.class_key[:255],
                "status": "WWWWDC"[number % 6],
                "score": min(int(entry.score), 2**60),
                "owner": ESC if number % 6 == 5 else None,
                "entry": entry.raw_text.decode("utf-8", "replace"),
            }
            connection.execute(statement, values)
