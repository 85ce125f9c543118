"""The redis board: lines, leases and delayed jobs in sorted sets, every step one Lua script on the server.

Works with Redis from 6.2 on and with Valkey: ``redis://``, ``rediss://``, ``unix://``, ``valkey://`` and
``redis+sentinel://host:26379,host:26379/service/0``. All keys begin with ``{prefix}:`` and so share a cluster's slot.

Round trips: each call one; ``post`` one per 200 entries; ``claim``, ``peek`` and ``wait`` one more for each hundred
jobs that became due at once; ``check`` one; ``clear`` one per thousand keys on the server. A claim costs the server
O(classes + limit x log jobs). ``wait`` does not poll; a due time is kept to the millisecond.

If the answer to a claim is lost with the connection, the claimed jobs are offered again when their leases end.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from jobrunner.boards.board import Board, BoardCounts, BoardProblem, BoardRow, News
from jobrunner.boards.entries import class_of, is_id, to_entry, to_text
from jobrunner.boards.redis_connection import RedisConnection
from jobrunner.boards.redis_ear import RedisEar
from jobrunner.boards.redis_health import problems
from jobrunner.boards.waiting import Waiting, news_of
from jobrunner.errors import WrongBoard
from jobrunner.model import BoardEntry, JobClass

if TYPE_CHECKING:
    from jobrunner.persistence.server.database import Database

log = logging.getLogger(__name__)

POSTED_AT_ONCE = 200
SHOWN_CHARACTERS = 200


class RedisBoard(Board):
    """A board on a Redis server.

    :param url: where the server is
    :param database: not used here; drivers are made alike
    :param prefix: keeps several boards in one Redis database apart
    """

    def __init__(self, url: str, *, database: Database | None = None, prefix: str = "jobrunner") -> None:
        self._redis = RedisConnection(url, prefix=prefix)
        self._waiting = Waiting(RedisEar(self._redis))

    def bind(self, store_id: str) -> None:
        bound = self._redis.run("bind", store_id)
        if bound != store_id:
            raise WrongBoard(
                f"The job board {self._redis.name} belongs to the database {bound[:8]}, this one is {store_id[:8]}.",
                hint="Let persistence.url name the same database on every machine, or give this board a prefix "
                "of its own (board.prefix).",
            )

    def post(self, entries: Sequence[BoardEntry]) -> int:
        added = 0
        for start in range(0, len(entries), POSTED_AT_ONCE):
            page = entries[start : start + POSTED_AT_ONCE]
            added += self._redis.run(
                "post", *(text for entry in page for text in (entry.job_id, to_text(entry)))
            )
        return added

    def claim(self, owner: str, classes: Collection[JobClass], *, limit: int, lease: float) -> list[str]:
        keys = sorted({job_class.key for job_class in classes})
        if not keys or limit < 1:
            return []
        while True:
            claimed, dropped, more = self._redis.run("claim", owner, _ms(lease), limit, *keys)
            self._report(dropped)
            good = self._without_strangers(claimed)
            if good or not (claimed or more):
                return good

    def claim_these(
        self, owner: str, job_ids: Sequence[str], *, lease: float, early: bool = False
    ) -> list[str]:
        if not job_ids:
            return []
        return list(self._redis.run("claim_these", owner, _ms(lease), int(early), *job_ids))

    def peek(self, classes: Collection[JobClass], *, limit: int, skip: int = 0) -> list[str]:
        keys = sorted({job_class.key for job_class in classes})
        while True:
            seen, dropped, more = self._redis.run("peek", limit, skip, *keys)
            self._report(dropped)
            good = self._without_strangers(seen)
            if len(good) == len(seen) and (len(seen) >= limit or not more):
                return good

    def classes(self) -> set[JobClass]:
        found, foreign = set(), []
        for key in self._redis.run("classes")[::2]:
            try:
                found.add(class_of(key))
            except ValueError:
                foreign.append(key)
        if foreign:
            log.error("The board's classes %r cannot be read; dropped.", foreign[:20])
            with self._redis.errors():
                self._redis.client.hdel(self._redis.base + "classes", *foreign)
        self._waiting.know(job_class.key for job_class in found)
        return found

    def keep(self, claims: Iterable[tuple[str, str]], *, lease: float) -> set[str]:
        words = [word for claim in claims for word in claim]
        return set(self._redis.run("keep", _ms(lease), *words)) if words else set()

    def pass_on(self, holder: str, owner: str, job_ids: Sequence[str], *, lease: float) -> list[str]:
        return list(self._redis.run("pass_on", holder, owner, _ms(lease), *job_ids)) if job_ids else []

    def release(self, owner: str, job_ids: Sequence[str], *, delay: float = 0.0) -> int:
        return int(self._redis.run("release", owner, _ms(delay), *job_ids)) if job_ids else 0

    def hasten(self, job_ids: Sequence[str]) -> int:
        return int(self._redis.run("hasten", *job_ids)) if job_ids else 0

    def call(
        self, owner: str, job_ids: Sequence[str], classes: Collection[JobClass], *, limit: int, lease: float
    ) -> list[str]:
        if not job_ids:
            return []
        keys = sorted({job_class.key for job_class in classes})
        return list(self._redis.run("call", owner, _ms(lease), limit, len(job_ids), *job_ids, *keys))

    def release_owner(self, owner: str) -> list[str]:
        return list(self._redis.run("release_owner", owner))

    def consume(self, owner: str, job_ids: Sequence[str]) -> int:
        return int(self._redis.run("consume", owner, *job_ids)) if job_ids else 0

    def withdraw(self, job_ids: Sequence[str]) -> int:
        return int(self._redis.run("withdraw", *job_ids)) if job_ids else 0

    def known(self, job_ids: Sequence[str]) -> set[str]:
        return set(self._redis.run("known", *job_ids)) if job_ids else set()

    def owners(self, job_ids: Sequence[str]) -> dict[str, str]:
        answer = self._redis.run("owners", *job_ids) if job_ids else []
        return dict(zip(answer[::2], answer[1::2], strict=True))

    def wait(self, classes: Collection[JobClass], *, timeout: float) -> News:
        by_key = {job_class.key: job_class for job_class in classes}
        return news_of(by_key, self._waiting.wait(by_key, timeout))

    def wake(self) -> None:
        self._waiting.wake()

    def count(self) -> BoardCounts:
        waiting, delayed, claimed = self._redis.run("count")
        return BoardCounts(waiting=waiting, delayed=delayed, claimed=claimed)

    def check(self) -> list[BoardProblem]:
        with self._redis.errors():
            return problems(self._redis.client.info())

    def _without_strangers(self, job_ids: Sequence[str]) -> list[str]:
        """Those of the ids that a job can have; the others are dropped."""
        strange = [job_id for job_id in job_ids if not is_id(job_id)]
        if strange:
            self._report(strange)
            self.withdraw(strange)
        return [job_id for job_id in job_ids if job_id not in strange]

    def list(self, *, after: str | None = None, limit: int = 100) -> tuple[list[BoardRow], str | None]:
        answer = self._redis.run("list", after or "", limit + 1)
        rows, unreadable = [], []
        for job_id, text, owner, lease_until_ms in answer[:limit]:
            try:
                entry = to_entry(job_id, text)
            except ValueError:
                unreadable.append(job_id)
                continue
            until = lease_until_ms if owner else None
            rows.append(BoardRow(entry=entry, owner=owner or None, lease_until_ms=until))
        if unreadable:
            self._report(unreadable)
            self.withdraw(unreadable)
        return rows, answer[limit - 1][0] if len(answer) > limit else None

    def clear(self) -> None:
        from jobrunner.boards.redis_mending import own_keys

        with self._redis.errors():
            for keys in own_keys(self._redis):
                self._redis.client.unlink(*keys)

    def close(self) -> None:
        self._waiting.close()
        self._redis.close()

    def _report(self, dropped: Sequence[str]) -> None:
        if dropped:
            log.error(
                "The board's entries %r cannot be read; dropped, to be posted again.",
                [one[:SHOWN_CHARACTERS] for one in dropped[:20]],
            )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
