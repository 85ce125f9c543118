"""TaskFlow's postings on Redis: the redis board's own scripts, and a few beside them in ``lua/taskflow``.

A posting is carried in its job's entry, which the scripts hand around unread, so that each step stays one script. Its
priority is its class, and all scores are 0: each line is in the order of posting, and a page of it costs O(log n).
The keys begin with ``{namespace/taskflow}:``, where no jobrunner conductor looks; one that is pointed there is refused.

A job is known to have been consumed for ``remember`` seconds; a Redis that lost its data knows nothing of its jobs.
Every call is one round trip, but for :meth:`RedisPostings.claimed` (one more for each hundred claims).
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jobrunner.boards.redis_connection import RedisConnection
from jobrunner.boards.redis_ear import RedisEar
from jobrunner.boards.redis_health import problems
from jobrunner.boards.taskflow.posting import PRIORITIES
from jobrunner.boards.taskflow.postings import Absence, Mark, Postings, Row
from jobrunner.boards.waiting import Waiting
from jobrunner.errors import BoardUnavailable, WrongBoard

log = logging.getLogger(__name__)

CLASSES = tuple(priority.value for priority in PRIORITIES)
BOUND_TO = "taskflow"
"""What the keyspace is tied to instead of a store."""
LOOKED_AT_ONCE = 100
_ABSENT = {"": Absence.UNKNOWN, "consumed": Absence.CONSUMED, "trashed": Absence.TRASHED}


class RedisPostings(Postings):
    """Postings on a Redis server.

    :param namespace: keeps several boards in one Redis database apart
    :param remember: for how many seconds a job is known to have been consumed
    """

    def __init__(self, url: str, *, namespace: str, remember: float) -> None:
        self._redis = RedisConnection(url, prefix=f"{namespace}/taskflow")
        self._waiting = Waiting(RedisEar(self._redis))
        self._remember_ms = _ms(remember)

    def connect(self) -> None:
        bound = self._redis.run("bind", BOUND_TO)
        if bound != BOUND_TO:
            raise WrongBoard(
                f"The keys {self._redis.base}* on {self._redis.name} are a job board of jobrunner's own.",
                hint="Give one of the two boards another name: `namespace` here, board.prefix there.",
            )
        with contextlib.suppress(BoardUnavailable), self._redis.errors():  # an account may be refused INFO
            for problem in problems(self._redis.client.info()):
                if problem.severity == "error":
                    log.error("%s %s", problem.what, problem.hint)

    def post(self, job_id: str, rank: int, text: str) -> None:
        entry = {"class": CLASSES[rank], "score": 0, "available_ms": 0, "posting": text}
        self._redis.run("post", job_id, json.dumps(entry, separators=(",", ":")))

    def unclaimed(self, mark: Mark | None, limit: int) -> tuple[list[Row], Mark | None]:
        rank, start = mark or (0, "")
        more_due = True
        while more_due:
            found, more_due = self._redis.run("taskflow/page", limit, rank, start, *CLASSES)
        rows = [_row(member[16:], text) for _, member, text in found]
        return rows, (found[-1][0], found[-1][1]) if len(found) == limit else None

    def claimed(self) -> Iterator[Row]:
        job_ids = self._redis.run("taskflow/claimed")
        rows: list[Row] = []
        for start in range(0, len(job_ids), LOOKED_AT_ONCE):
            page = job_ids[start : start + LOOKED_AT_ONCE]
            answers = self._redis.run("taskflow/look", *page)
            rows += [_seen(job_id, answer) for job_id, answer in zip(page, answers, strict=True)]
        return iter(_in_order(row for row in rows if row.owner is not None))

    def look(self, job_id: str) -> Row | Absence:
        (answer,) = self._redis.run("taskflow/look", job_id)
        if answer[0] in _ABSENT:
            return _ABSENT[answer[0]]
        return _seen(job_id, answer)

    def claim(self, job_id: str, owner: str, lease: float) -> bool:
        return bool(self._redis.run("claim_these", owner, _ms(lease), 0, job_id))

    def keep(self, claims: Sequence[tuple[str, str]], lease: float) -> set[str]:
        words = [word for claim in claims for word in claim]
        return set(self._redis.run("keep", _ms(lease), *words)) if words else set()

    def release(self, job_id: str, owner: str) -> bool:
        return bool(self._redis.run("release", owner, 0, job_id))

    def consume(self, job_id: str, owner: str) -> bool:
        return bool(self._redis.run("taskflow/settle", owner, job_id, self._remember_ms))

    def trash(self, job_id: str, owner: str) -> bool:
        return bool(self._redis.run("taskflow/settle", owner, job_id, "trash"))

    def trashed(self) -> list[Row]:
        with self._redis.errors():
            found: Any = self._redis.client.hgetall(self._redis.base + "trash")
        return _in_order(_row(job_id, text) for job_id, text in found.items())

    def restore(self, job_id: str) -> bool:
        return bool(self._redis.run("taskflow/restore", job_id))

    def wait(self, timeout: float) -> None:
        self._waiting.wait(CLASSES, timeout)

    def count(self) -> int:
        return sum(self._redis.run("count"))

    def close(self) -> None:
        self._waiting.close()
        self._redis.close()


def _row(job_id: str, text: str, **claim: Any) -> Row:
    """What the scripts answer of a job; without a text if that cannot be read."""
    try:
        entry = json.loads(text[16:])
        rank, place, posting = CLASSES.index(entry["class"]), int(text[:16]), entry["posting"]
    except (TypeError, KeyError, ValueError, RecursionError):
        rank, place, posting = 0, 0, ""
    return Row(
        job_id=job_id, rank=rank, place=place, text=posting if isinstance(posting, str) else "", **claim
    )


def _seen(job_id: str, answer: Sequence[Any]) -> Row:
    _, text, owner, left_ms = answer
    return _row(job_id, text, owner=owner or None, left=left_ms / 1000 if owner else 0.0)


def _in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.rank, row.place))


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
