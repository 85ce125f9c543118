"""The redis board when its server dies, stands still, forgets, is full, or is somebody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobrunner.boards.board import Board, BoardCounts
from jobrunner.errors import BoardUnavailable
from tests.support.boards import ALICE, BOB, LONG, OTHER, PLAIN, Waiter, entry, until
from tests.support.relay import Relay
from tests.support.servers import RedisServer

Start = Callable[..., RedisServer]
Open = Callable[..., Board]
BOUND = 8.0
"""Seconds: a connect of 2, an answer of 5, and a busy machine."""


def every_call(board: Board) -> dict[str, Callable[[], object]]:
    return {
        "bind": lambda: board.bind("some store"),
        "post": lambda: board.post([entry()]),
        "claim": lambda: board.claim(ALICE, [PLAIN], limit=1, lease=LONG),
        "claim_these": lambda: board.claim_these(ALICE, ["x"], lease=LONG),
        "peek": lambda: board.peek([PLAIN], limit=1),
        "classes": board.classes,
        "keep": lambda: board.keep([("x", ALICE)], lease=LONG),
        "pass_on": lambda: board.pass_on(ALICE, BOB, ["x"], lease=LONG),
        "release": lambda: board.release(ALICE, ["x"]),
        "release_owner": lambda: board.release_owner(ALICE),
        "consume": lambda: board.consume(ALICE, ["x"]),
        "withdraw": lambda: board.withdraw(["x"]),
        "known": lambda: board.known(["x"]),
        "owners": lambda: board.owners(["x"]),
        "wait": lambda: board.wait([PLAIN], timeout=60),
        "count": board.count,
        "list": board.list,
        "check": board.check,
        "clear": board.clear,
    }


def test_every_call_says_that_a_dead_server_is_away_and_works_again_when_it_is_back(
    private_redis: Start, open_at: Open
) -> None:
    server = private_redis()
    board = open_at(server.url.replace("127.0.0.1", ":secret@127.0.0.1").replace(":secret@", ""))
    board.post([entry()])
    assert board.wait([PLAIN], timeout=20)
    server.kill()
    for name, call in every_call(board).items():
        began = time.monotonic()
        with pytest.raises(BoardUnavailable, match=r"127\.0\.0\.1") as raised:
            call()
        assert time.monotonic() - began < BOUND, name
        assert raised.value.hint
    server.start()
    for call in list(every_call(board).values())[:13]:
        call()
    board.post([entry()])
    assert board.wait([PLAIN], timeout=20)


def test_a_server_that_stands_still_counts_as_away(private_redis: Start, open_at: Open) -> None:
    server = private_redis()
    board = open_at(server.url)
    board.wait([PLAIN], timeout=0)
    calls = every_call(board)
    server.pause()
    for name in ("claim", "wait", "count"):
        began = time.monotonic()
        with pytest.raises(BoardUnavailable):
            calls[name]()
        assert time.monotonic() - began < BOUND, name
    server.resume()
    until(lambda: board.count().waiting == 0)
    assert board.post([entry()]) == 1
    assert board.wait([PLAIN], timeout=20)


def test_a_wait_that_is_under_way_ends_when_the_server_dies(private_redis: Start, open_at: Open) -> None:
    server = private_redis(appendonly=True)
    board, poster = open_at(server.url), open_at(server.url)
    with Waiter(board, PLAIN, timeout=60) as waiter:
        server.kill()
        died_at = time.monotonic()
        with pytest.raises(BoardUnavailable):
            waiter.join()
        assert waiter.ended_at - died_at < BOUND
    server.start()
    poster.post([entry("posted while nobody listened")])
    assert board.wait([PLAIN], timeout=20)
    assert board.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["posted while nobody listened"]


def test_a_subscription_that_was_cut_is_made_anew_and_nothing_is_missed(
    private_redis: Start, open_at: Open
) -> None:
    server = private_redis()
    board, poster = open_at(server.url), open_at(server.url)
    board.wait([PLAIN], timeout=0)
    with server.client() as client:
        client.client_kill_filter(_type="pubsub")
    poster.post([entry()])
    with pytest.raises(BoardUnavailable):
        board.wait([PLAIN], timeout=20)
    assert board.wait([PLAIN], timeout=20)


def test_a_subscription_that_no_longer_answers_is_given_up(
    private_redis: Start, open_at: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobrunner.boards.redis_ear.PING_AFTER_S", 0.2)
    server = private_redis()
    board = open_at(server.url)
    with Waiter(board, PLAIN, timeout=60) as waiter:
        threading.Event().wait(1.0)
        assert waiter.is_waiting  # pings were answered
        server.pause()
        with pytest.raises(BoardUnavailable, match="does not answer"):
            waiter.join()
        server.resume()


@pytest.mark.parametrize("forget", ["SCRIPT FLUSH", "FLUSHALL"])
def test_a_server_that_forgets_its_scripts_is_told_again(
    private_redis: Start, open_at: Open, forget: str
) -> None:
    server = private_redis()
    board = open_at(server.url)
    board.post([entry("a", age=1), entry("b")])
    assert board.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["a"]
    with server.client() as client:
        client.execute_command(*forget.split())
    forgot_jobs = forget == "FLUSHALL"
    assert board.keep([("a", ALICE)], lease=LONG) == ({"a"} if forgot_jobs else set())
    assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ([] if forgot_jobs else ["b"])


def test_after_flushall_everything_is_lost_and_can_be_posted_again(
    private_redis: Start, open_at: Open
) -> None:
    server = private_redis()
    board = open_at(server.url)
    board.bind("one store")
    jobs = [entry("a", age=2), entry("b", age=1), entry("c", delay=LONG)]
    board.post(jobs)
    board.claim(ALICE, [PLAIN], limit=1, lease=LONG)
    board.wait([PLAIN], timeout=0)
    with server.client() as client:
        client.flushall()
    assert board.keep([("a", ALICE)], lease=LONG) == {"a"}
    assert (board.consume(ALICE, ["a"]), board.release(ALICE, ["a"]), board.release_owner(ALICE)) == (
        0,
        0,
        [],
    )
    assert board.known(["a", "b", "c"]) == set()
    assert board.count() == BoardCounts(waiting=0, delayed=0, claimed=0)
    assert board.list() == ([], None)
    assert board.post(jobs) == 3
    assert board.wait([PLAIN], timeout=20)
    assert board.claim(BOB, [PLAIN], limit=5, lease=LONG) == ["a", "b"]
    board.bind("another store")


def test_a_full_server_takes_no_jobs_but_lets_them_be_worked_off(private_redis: Start, open_at: Open) -> None:
    server = private_redis()
    board = open_at(server.url)
    board.post([entry(f"{n:03d}", age=1000 - n) for n in range(200)])
    assert board.claim(ALICE, [PLAIN], limit=2, lease=LONG) == ["000", "001"]
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(BoardUnavailable, match="no memory left") as raised:
            board.post([entry()])
        assert "maxmemory" in str(raised.value.hint)
        assert any("maxmemory" in problem.what for problem in board.check())
        assert board.keep([("000", ALICE), ("001", ALICE)], lease=LONG) == set()
        assert board.claim(BOB, [PLAIN], limit=1, lease=LONG) == ["002"]
        assert board.claim_these(BOB, ["003"], lease=LONG) == ["003"]
        assert board.release(BOB, ["003"]) == 1
        assert board.release_owner(BOB) == ["002"]
        assert board.consume(ALICE, ["000"]) == 1
        assert board.wait([PLAIN], timeout=20)
        client.config_set("maxmemory", "0")
    assert board.post([entry()]) == 1


def test_a_replica_is_refused_with_a_hint(private_redis: Start, open_at: Open) -> None:
    primary = private_redis()
    replica = private_redis(replicaof=f"127.0.0.1 {primary.port}")
    board = open_at(replica.url)
    with pytest.raises(BoardUnavailable, match="is a replica") as raised:
        board.post([entry()])
    assert "sentinel" in str(raised.value.hint)
    assert board.check()[0].severity == "error"


def test_after_a_failover_behind_the_same_address_the_next_call_reaches_the_new_primary(
    private_redis: Start, open_at: Open
) -> None:
    """A name or an address that moves: the old primary, a replica now, leaves old connections as they are."""
    old, new = private_redis(), private_redis()
    with Relay("127.0.0.1", old.port) as relay:
        board = open_at(f"redis://127.0.0.1:{relay.port}/0")
        with ThreadPoolExecutor(3) as threads:  # several connections
            list(threads.map(lambda _: board.wait([PLAIN], timeout=0), range(3)))
            board.post([entry()])
            relay.lead_to("127.0.0.1", new.port)
            with old.client() as client:
                client.replicaof("127.0.0.1", str(new.port))
        with pytest.raises(BoardUnavailable, match="is a replica"):
            board.post([entry()])
        assert board.post([entry()]) == 1
        assert board.claim(ALICE, [PLAIN], limit=2, lease=LONG)


def test_a_wrong_password_is_told_and_not_shown(private_redis: Start, open_at: Open) -> None:
    server = private_redis()
    with server.client() as client:
        client.config_set("requirepass", "right")
    address = f"127.0.0.1:{server.port}/0"
    with pytest.raises(BoardUnavailable, match="does not let this account in") as raised:
        open_at(f"redis://:wrongsecret@{address}").count()
    assert "wrongsecret" not in raised.value.message
    assert open_at(f"redis://:right@{address}").count().waiting == 0


def test_boards_with_other_prefixes_or_databases_neither_share_jobs_nor_news(
    private_redis: Start, open_at: Open
) -> None:
    server = private_redis()
    board = open_at(server.url)
    with Waiter(board, PLAIN) as waiter:
        open_at(server.url, prefix="another").post([entry()])
        open_at(server.url.replace("/0", "/1")).post([entry()])
        threading.Event().wait(0.3)
        assert waiter.is_waiting
    assert board.count().waiting == 0
    assert board.classes() == set()


def test_speaks_through_a_unix_socket(private_redis: Start, open_at: Open) -> None:
    board = open_at(private_redis().unix_url)
    board.post([entry("job")])
    assert board.wait([PLAIN], timeout=20)
    assert board.claim(ALICE, [PLAIN], limit=1, lease=LONG) == ["job"]


@pytest.mark.parametrize("protocol", [2, 3])
def test_speaks_both_protocols(private_redis: Start, open_at: Open, protocol: int) -> None:
    board = open_at(f"{private_redis().url}?protocol={protocol}")
    with Waiter(board, PLAIN) as waiter:
        board.post([entry("job", age=1), entry("other", OTHER)])
        assert waiter.join()
    assert board.claim(ALICE, [PLAIN, OTHER], limit=5, lease=LONG) == ["job", "other"]
    assert {row.entry.job_id for row in board.list()[0]} == {"job", "other"}


def test_its_keys_fit_one_slot_of_a_cluster(private_redis: Start, open_at: Open) -> None:
    server = private_redis(cluster_enabled=True, databases=1)
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
        board = open_at(server.url)
        board.bind("store")
        board.post([entry("a", age=1), entry("b", OTHER), entry("c", delay=LONG)])
        assert board.claim(ALICE, [PLAIN, OTHER], limit=2, lease=LONG) == ["a", "b"]
        assert board.release_owner(ALICE)
        slots = {client.execute_command("CLUSTER", "KEYSLOT", key) for key in client.scan_iter()}
        assert len(slots) == 1
        board.clear()
        assert list(client.scan_iter()) == []


def test_tells_what_is_wrong_with_a_servers_settings(private_redis: Start, open_at: Open) -> None:
    good = open_at(private_redis(appendonly=True).url)
    assert good.check() == []
    server = private_redis(maxmemory_policy="allkeys-lru")
    bad = open_at(server.url)
    assert [problem.severity for problem in bad.check()] == ["error"]
    with server.client() as client:
        client.bgsave()
        until(lambda: client.info("persistence")["rdb_last_bgsave_time_sec"] >= 0)
    assert [problem.severity for problem in bad.check()] == ["error", "warning"]


def test_idle_connections_and_descriptors_are_given_back(private_redis: Start, open_at: Open) -> None:
    server = private_redis()
    with server.client() as client:
        before = len(client.client_list())
        board = open_at(server.url)
        board.post([entry()])
        board.wait([PLAIN], timeout=0)
        assert len(client.client_list()) > before
        board.close()
        until(lambda: len(client.client_list()) == before)
