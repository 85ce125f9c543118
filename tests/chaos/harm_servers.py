"""Faults of the servers: they die, hang, forget, are full, lock, and let transactions lose against each other."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, ClassVar

import psycopg
import pymysql
import redis

from tests.chaos.faults import Fault, NothingToBreak
from tests.support.servers import MariaDbServer, Server

SQL_ERRORS = (pymysql.err.Error, psycopg.Error)
SCRATCH = "chaos_scratch"
SCRATCH_ROWS = 2000
LOCK_PATIENCE_S = 2


class OfServer(Fault):
    """A fault of one server; raises NothingToBreak while that has another."""

    disturbs = True
    busy: ClassVar[set[int]] = set()
    """Servers that have a fault: each has one at a time."""
    _mending: threading.Thread | None = None

    @property
    def server(self) -> Server:
        return self.world.stage.board

    def start(self) -> str:
        if id(self.server) in self.busy:
            raise NothingToBreak("it has another fault already")
        self.busy.add(id(self.server))
        self.breaks()
        return self.server.kind

    def may_end(self) -> bool:
        """A server takes its time to start, in a thread of its own: meanwhile others go on being killed."""
        if self._mending is None:
            self._mending = threading.Thread(target=self.mends, name="mending", daemon=True)
            self._mending.start()
        return not self._mending.is_alive()

    def heal(self) -> None:
        self.busy.discard(id(self.server))

    def breaks(self) -> None:
        """What happens to it."""

    def mends(self) -> None:
        """And how that ends."""


class OfStore(OfServer):
    """A fault of the SQL server."""

    @property
    def server(self) -> Server:
        return self.world.stage.store


class KillBoard(OfServer):
    """Redis dies, and comes back with what it kept, if it keeps anything."""

    name = "kill redis"

    def breaks(self) -> None:
        self.server.kill()

    def mends(self) -> None:
        self.server.start()


class PauseBoard(OfServer):
    """Redis hangs."""

    name = "pause redis"

    def breaks(self) -> None:
        self.server.pause()

    def mends(self) -> None:
        self.server.resume()


class FlushBoard(OfServer):
    """Redis forgets everything."""

    name = "flush redis"
    weight = 6
    lasts = (0.0, 0.0)

    def breaks(self) -> None:
        with self.world.stage.board.client() as client:
            client.flushall()


class FillBoard(OfServer):
    """Redis has no memory left, and evicts nothing."""

    name = "fill redis"

    def breaks(self) -> None:
        self._limit("1")

    def mends(self) -> None:
        self._limit("0")

    def _limit(self, bytes_: str) -> None:
        with self.world.stage.board.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", bytes_)


class JunkBoard(OfServer):
    """Entries of the board are removed, or overwritten with what nobody wrote."""

    name = "corrupt redis"
    lasts = (0.0, 0.0)
    keys = 6

    def breaks(self) -> None:
        with self.world.stage.board.client() as client:
            # Whose board it is, is no entry: with that changed, conductors are right to leave.
            keys = sorted(key for key in client.scan_iter() if not key.endswith("store"))
            for key in self.rng.sample(keys, min(self.keys, len(keys))):
                with contextlib.suppress(redis.ResponseError):  # it changed its kind meanwhile
                    self._spoil(client, key)

    def _spoil(self, client: redis.Redis, key: str) -> None:
        kind = client.type(key)
        if kind == "hash":
            fields = sorted(client.hkeys(key))
            for name in self.rng.sample(fields, min(3, len(fields))):
                if self.rng.random() < 0.5:
                    client.hdel(key, name)
                else:
                    client.hset(key, name, "{junk")
        elif kind == "zset":
            members = sorted(client.zrange(key, 0, -1))
            for member in self.rng.sample(members, min(3, len(members))):
                client.zrem(key, str(member))
            client.zadd(key, {"junk": 1.0})
        elif kind == "set":
            client.sadd(key, "junk")
        else:
            client.delete(key)


class KillStore(OfStore):
    """The SQL server dies, and recovers what was committed."""

    name = "kill sql"

    def breaks(self) -> None:
        self.server.kill()

    def mends(self) -> None:
        self.server.start()


class PauseStore(OfStore):
    """The SQL server hangs, its locks held."""

    name = "pause sql"
    lasts = (5.0, 20.0)

    def breaks(self) -> None:
        self.server.pause()

    def mends(self) -> None:
        self.server.resume()


class HoldsRows(Fault):
    """Somebody else's transaction locks rows of running jobs."""

    disturbs = True
    _held: Any = None

    def _begin(self, *, heavy: bool) -> list[str]:
        """Open the transaction; the ids of running jobs, of which at least two are needed."""
        if id(self.world.stage.store) in OfServer.busy:
            raise NothingToBreak("the server has another fault already")
        try:
            rows = self.world.stage.query("SELECT id FROM jobs WHERE state = 'RUNNING' ORDER BY id LIMIT 200")
            if len(rows) < 2:
                raise NothingToBreak("too few jobs run")
            self._held = self.world.stage.connection(autocommit=False)
            mysql = isinstance(self.world.stage.store, MariaDbServer)
            name = "innodb_lock_wait_timeout" if mysql else "lock_timeout"
            self._run(f"SET {name} = {LOCK_PATIENCE_S if mysql else LOCK_PATIENCE_S * 1000}")
            if heavy:
                self._weigh()
        except SQL_ERRORS as error:
            self._let_go()
            raise NothingToBreak(str(error)) from error
        return sorted(str(row[0]) for row in rows)

    def _weigh(self) -> None:
        """Of two that dead-lock MariaDB ends the one that changed less."""
        values = ", ".join(f"({number})" for number in range(SCRATCH_ROWS))
        self._run(f"INSERT INTO {SCRATCH} VALUES {values}")

    def _lock(self, job: str) -> None:
        self._run("SELECT id FROM jobs WHERE id = %s FOR UPDATE", (job,))

    def _run(self, statement: str, parameters: tuple[Any, ...] = ()) -> None:
        with self._held.cursor() as cursor:
            cursor.execute(statement, parameters)

    def _let_go(self) -> None:
        """Without a rollback, which would wait for a server that hangs by now; that does it when it sees the end."""
        if self._held is not None:
            with contextlib.suppress(*SQL_ERRORS):  # the server may have ended it
                self._held.close()


class LockRows(HoldsRows):
    """Rows are locked for up to longer than anybody waits for a lock."""

    name = "lock rows"
    lasts = (1.0, 7.0)

    def start(self) -> str:
        ids = self._begin(heavy=False)
        try:
            for job in sorted(self.rng.sample(ids, min(5, len(ids)))):
                self._lock(job)
        except SQL_ERRORS as error:
            self._let_go()
            raise NothingToBreak(str(error)) from error
        return f"of {min(5, len(ids))} jobs"

    def heal(self) -> None:
        self._let_go()


class DeadLock(HoldsRows):
    """Rows are locked against the order in which everybody else locks them."""

    name = "dead lock"
    weight = 8
    lasts = (0.3, 1.0)

    def start(self) -> str:
        self._ids = self._begin(heavy=True)
        try:
            self._before = self.world.stage.dead_locks()
            for job in self._ids[len(self._ids) // 2 :][::-1]:
                self._lock(job)
        except SQL_ERRORS as error:
            self._let_go()
            raise NothingToBreak(str(error)) from error
        return f"over {len(self._ids)} jobs"

    def heal(self) -> None:
        if id(self.world.stage.store) in OfServer.busy:  # it may hang by now, and would not answer
            self._let_go()
            return
        with contextlib.suppress(*SQL_ERRORS):  # it may be the one that loses
            for job in self._ids[: len(self._ids) // 2][::-1]:
                self._lock(job)
        self._let_go()
        with contextlib.suppress(*SQL_ERRORS):
            self.world.bites["dead locks"] += max(0, self.world.stage.dead_locks() - self._before)


KINDS: tuple[type[Fault], ...] = (
    KillBoard,
    PauseBoard,
    FlushBoard,
    FillBoard,
    JunkBoard,
    KillStore,
    PauseStore,
    LockRows,
    DeadLock,
)
