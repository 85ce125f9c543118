"""TaskFlow boards when their server dies or forgets, when a process forks, and when two kinds of boards meet."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from taskflow import exceptions as exc
from taskflow import states

from jobrunner.boards import open_board
from jobrunner.boards.taskflow.jobboard import PostingBoard
from jobrunner.errors import WrongBoard
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from tests.support.boards import until
from tests.support.servers import RedisServer, Server
from tests.support.taskflow_boards import BOARD_KINDS, board_conf, fetch_board

Open = Callable[..., PostingBoard]
BOUND = 12.0
"""Seconds in which a call ends, whatever the server does; on a busy machine."""

FORKS = """
import json, os, sys
from taskflow import exceptions, states
from tests.support.taskflow_boards import fetch_board

board = fetch_board(json.loads(sys.argv[1]))
board.connect()
job, kept = board.post("job"), board.post("kept")
board.claim(kept, "parent")
child = os.fork()
if child == 0:
    code = 1
    try:
        assert not board.connected
        try:
            board.claim(job, "child")
        except exceptions.JobFailure:
            board.connect()
            board.claim(job, "child")
            board.consume(job, "child")
            assert kept.state == states.CLAIMED
            board.close()
            code = 0
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
assert job.state == states.COMPLETE
assert board.find_owner(kept) == "parent"
board.consume(kept, "parent")
assert board.job_count == 0
board.close()
"""


@pytest.fixture
def open_at() -> Iterator[Open]:
    with ExitStack() as stack:

        def open_(conf: dict[str, Any], **settings: Any) -> PostingBoard:
            board = fetch_board(conf | settings)
            stack.callback(board.close)
            board.connect()
            return board

        yield open_


def redis_conf(server: RedisServer) -> dict[str, Any]:
    return {"board": "jobrunner-redis", "connection": server.url}


def sql_conf(server: Server) -> dict[str, Any]:
    url = server.create_database()
    database = Database(url)
    upgrade(database)
    database.close()
    return {"board": "jobrunner-sql", "connection": url}


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ]
)
def breakable(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    """A server of this test's own, with a board on it."""
    start = request.getfixturevalue(f"private_{request.param}")
    server = start(appendonly=True) if request.param == "redis" else start()
    return server, redis_conf(server) if request.param == "redis" else sql_conf(server)


def test_a_server_that_dies_fails_calls_in_time_and_is_used_again_when_it_is_back(
    breakable: tuple[Any, dict[str, Any]], open_at: Open, caplog: pytest.LogCaptureFixture
) -> None:
    server, conf = breakable
    board = open_at(conf, lease=60)
    claimed, waiting = board.post("claimed"), board.post("waiting")
    board.claim(claimed, "me")
    server.kill()
    for call in (
        lambda: board.post("job"),
        lambda: list(board.iterjobs()),
        lambda: claimed.state,
        lambda: board.consume(waiting, "me"),
        lambda: board.wait(timeout=30),
    ):
        began = time.monotonic()
        with pytest.raises(exc.JobFailure):
            call()
        assert time.monotonic() - began < BOUND
    server.start()
    assert (claimed.state, waiting.state) == (states.CLAIMED, states.UNCLAIMED)
    board.consume(claimed, "me")
    assert [job.name for job in board.wait(timeout=20)] == ["waiting"]


def test_the_keeper_outlives_an_outage(
    private_redis: Callable[..., RedisServer], open_at: Open, caplog: pytest.LogCaptureFixture
) -> None:
    server = private_redis(appendonly=True)
    board = open_at(redis_conf(server), lease=2)
    job = board.post("job")
    board.claim(job, "me")
    server.kill()
    until(lambda: "Leases cannot be kept" in caplog.text)
    server.start()
    until(lambda: job.claim.is_lost or job.expires_in() > 1.2)
    if not job.claim.is_lost:  # a slow machine may have needed more than the lease to start it
        assert job.state == states.CLAIMED
    assert caplog.text.count("Leases cannot be kept") == 1


def test_a_redis_that_forgot_everything_is_not_taken_for_one_where_all_is_done(
    redis_url: str, open_at: Open
) -> None:
    board = open_at({"board": "jobrunner-redis", "connection": redis_url})
    done, waiting = board.post("done"), board.post("waiting")
    board.claim(done, "me")
    board.consume(done, "me")
    assert done.state == states.COMPLETE
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    for job in (done, waiting):
        with pytest.raises(exc.NotFound, match="nor known to have been consumed"):
            job.wait(timeout=1)
    later = board.post("later")
    board.claim(later, "me")
    board.consume(later, "me")
    assert later.wait(timeout=1)


def test_how_long_redis_remembers_is_bounded(redis_url: str, open_at: Open) -> None:
    board = open_at({"board": "jobrunner-redis", "connection": redis_url}, remember=0.5)
    job = board.post("job")
    board.claim(job, "me")
    board.consume(job, "me")

    def is_forgotten() -> bool:
        try:
            assert job.state == states.COMPLETE
        except exc.NotFound:
            return True
        return False

    until(is_forgotten)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert set(client.scan_iter()) == {"{jobrunner/taskflow}:seq", "{jobrunner/taskflow}:store"}


def test_jobrunners_board_and_a_taskflow_board_refuse_each_others_keys(redis_url: str, open_at: Open) -> None:
    open_at({"board": "jobrunner-redis", "connection": redis_url})
    own = open_board(redis_url, prefix="jobrunner/taskflow")
    with pytest.raises(WrongBoard):
        own.bind("a store")
    own.close()
    own = open_board(redis_url, prefix="other/taskflow")
    own.bind("a store")
    own.close()
    with pytest.raises(exc.JobFailure, match="a job board of jobrunner's own"):
        open_at({"board": "jobrunner-redis", "connection": redis_url}, namespace="other")


def test_a_redis_that_may_throw_jobs_away_is_reported(
    private_redis: Callable[..., RedisServer], open_at: Open, caplog: pytest.LogCaptureFixture
) -> None:
    server = private_redis()
    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    open_at(redis_conf(server))
    assert "maxmemory-policy is allkeys-lru" in caplog.text


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ],
)
def test_a_database_without_tables_is_told_what_to_do(
    request: pytest.FixtureRequest, kind: str, open_at: Open
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    with pytest.raises(exc.JobFailure, match="jobrunner db upgrade"):
        open_at({"board": "jobrunner-sql", "connection": url})


def test_a_new_sqlite_file_gets_its_tables(sqlite_url: str, open_at: Open) -> None:
    board = open_at({"board": "jobrunner-sql", "connection": sqlite_url})
    assert board.post("job").state == states.UNCLAIMED


@pytest.mark.parametrize("kind", BOARD_KINDS)
def test_a_forked_process_connects_anew_and_leaves_its_parents_claims_alone(
    request: pytest.FixtureRequest, kind: str
) -> None:
    conf = json.dumps(board_conf(request, kind))
    done = subprocess.run([sys.executable, "-c", FORKS, conf], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
