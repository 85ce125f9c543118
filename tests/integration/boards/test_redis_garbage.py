"""The redis board when somebody else has written into its keys: what is damaged harms itself only."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from jobrunner.boards import open_board
from jobrunner.boards.board import Board
from tests.support.boards import ALICE, BOB, LONG, OTHER, PLAIN, entry, until

BASE = "{jobrunner}:"
GARBAGE = ["", "garbage", "0" * 16, "0" * 16 + "null", "0" * 16 + '{"class":7,"score":1}', b"\xff\xfe\x00"]
GARBAGE += ["0" * 16 + json.dumps({"class": "x", "score": score}) for score in (None, "1", 1e300, [])]
KEYS = [
    "store",
    "seq",
    "entries",
    "ids",
    "classes",
    "delayed",
    "leases",
    "owners",
    f"line:{PLAIN.key}",
    f"held:{BOB}",
]


@pytest.fixture
def board(redis_url: str) -> Iterator[Board]:
    board = open_board(redis_url)
    yield board
    board.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_entry_that_cannot_be_read_is_dropped_and_can_be_posted_again(
    board: Board, client: redis.Redis, garbage: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    board.post([entry("bad", age=9), entry("good", age=1)])
    client.hset(BASE + "entries", "bad", garbage)
    assert board.known(["bad", "good"]) == {"good"}
    assert board.peek([PLAIN], limit=5) == ["good"]
    assert board.claim(ALICE, [PLAIN], limit=5, lease=LONG) == ["good"]
    assert "bad" in caplog.text
    assert board.post([entry("bad")]) == 1
    assert board.claim(BOB, [PLAIN], limit=5, lease=LONG) == ["bad"]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("state", ["claimed", "delayed"])
def test_so_is_one_that_becomes_due(
    board: Board, client: redis.Redis, garbage: str | bytes, state: str
) -> None:
    board.post([entry("bad", OTHER, delay=0.2 if state == "delayed" else None), entry("good")])
    board.claim(ALICE, [OTHER], limit=1, lease=0.2)
    client.hset(BASE + "entries", "bad", garbage)
    until(
        lambda: (
            board.claim(BOB, [PLAIN, OTHER], limit=5, lease=LONG) in (["good"], [])
            and not board.known(["bad"])
        )
    )
    assert board.keep([("good", BOB)], lease=LONG) == set()
    assert client.exists(f"{BASE}held:{ALICE}") == 0


@pytest.mark.parametrize("garbage", GARBAGE)
def test_listing_leaves_it_out_and_drops_it(board: Board, client: redis.Redis, garbage: str | bytes) -> None:
    board.post([entry("a"), entry("b"), entry("c")])
    client.hset(BASE + "entries", "b", garbage)
    assert [row.entry.job_id for row in board.list()[0]] == ["a", "c"]
    assert client.hexists(BASE + "entries", "b") == 0


@pytest.mark.parametrize("member", ["x", "", "0" * 16, "0" * 16 + "unknown", "0" * 16 + "good", b"\xff" * 20])
def test_strangers_in_a_line_are_removed(board: Board, client: redis.Redis, member: str | bytes) -> None:
    board.post([entry("good")])
    client.zadd(f"{BASE}line:{PLAIN.key}", {member: 0})
    assert board.claim(ALICE, [PLAIN], limit=5, lease=LONG) == ["good"]
    assert client.zcard(f"{BASE}line:{PLAIN.key}") == 0
    assert board.owners(["good"]) == {"good": ALICE}


def test_a_claimed_job_put_into_line_by_hand_is_not_claimed_twice(board: Board, client: redis.Redis) -> None:
    board.post([entry("job")])
    ((member, score),) = client.zrange(f"{BASE}line:{PLAIN.key}", 0, 0, withscores=True)
    board.claim(ALICE, [PLAIN], limit=5, lease=LONG)
    client.zadd(f"{BASE}line:{PLAIN.key}", {member: score})
    assert board.claim(BOB, [PLAIN], limit=5, lease=LONG) == []
    assert board.keep([("job", ALICE)], lease=LONG) == set()


@pytest.mark.parametrize("key", ["x", "[]", '["t",7,[]]', b"\xff"])
def test_a_class_that_cannot_be_read_is_dropped(board: Board, client: redis.Redis, key: str | bytes) -> None:
    board.post([entry()])
    client.hset(BASE + "classes", key, 1)
    assert board.classes() == {PLAIN}
    assert client.hlen(BASE + "classes") == 1


@pytest.mark.parametrize("message", [b"", b"x", b"~", b"~x", b"+", b"\xff\xfe", b"~99999999999999999999"])
def test_foreign_messages_on_the_channel_are_passed_over(
    board: Board, client: redis.Redis, message: bytes, redis_url: str
) -> None:
    board.wait([PLAIN], timeout=0)
    assert client.publish(f"{BASE}news:{redis_url.rpartition('/')[2]}", message) == 1
    board.wait([PLAIN], timeout=0.2)
    board.post([entry()])
    assert board.wait([PLAIN], timeout=20)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_another_type_is_removed_and_jobs_go_on(
    board: Board, client: redis.Redis, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    board.bind("store")
    jobs = [entry("claimed", age=3), entry("waiting", age=1), entry("delayed", delay=LONG)]
    board.post(jobs)
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    client.delete(BASE + key)
    client.lpush(BASE + key, "garbage")
    board.bind("store")
    board.post([entry("new", age=2), *jobs])
    board.classes()
    assert {row.entry.job_id for row in board.list()[0]} == {"claimed", "waiting", "delayed", "new"}
    lost = board.keep([("claimed", ALICE)], lease=LONG)
    freed = board.claim(BOB, [PLAIN], limit=9, lease=LONG)
    assert "waiting" in freed
    assert "new" in freed
    assert ("claimed" in freed) == bool(lost)
    assert board.keep([(job_id, BOB) for job_id in freed], lease=LONG) == set()
    assert sorted(board.release_owner(BOB)) == sorted(freed)
    board.count()
    assert BASE + key in caplog.text
    assert client.type(BASE + key) != b"list"


@pytest.mark.parametrize(("key", "value"), [("seq", "x"), ("seq", "-5"), ("seq", "1.5")])
def test_a_counter_that_is_no_number_starts_anew(
    board: Board, client: redis.Redis, key: str, value: str
) -> None:
    client.set(BASE + key, value)
    assert board.post([entry("a", age=1), entry("b")]) == 2
    assert board.claim(ALICE, [PLAIN], limit=5, lease=LONG) == ["a", "b"]


def test_a_class_count_that_is_no_number_is_counted_anew(board: Board, client: redis.Redis) -> None:
    board.post([entry("a"), entry("b", OTHER)])
    client.hset(BASE + "classes", PLAIN.key, "many")
    assert board.withdraw(["a"]) <= 1
    board.post([entry("c")])
    board.withdraw(["a", "c"])
    assert board.classes() == {OTHER}
