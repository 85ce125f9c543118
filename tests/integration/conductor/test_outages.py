"""Servers that go away, hang, or forget: no job is lost, and each ends once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobrunner.model import JobState
from tests.support.conductors import Cluster, cluster
from tests.support.servers import MariaDbServer, RedisServer


@pytest.fixture
def redis(private_redis: Callable[..., RedisServer]) -> RedisServer:
    return private_redis(appendonly=True)


@pytest.fixture
def on_redis(tmp_path: Path, sqlite_url: str, redis: RedisServer) -> Iterator[Cluster]:
    with cluster(tmp_path, store_url=sqlite_url, board_url=redis.url) as found:
        yield found


def test_redis_is_away_for_longer_than_a_lease(on_redis: Cluster, redis: RedisServer) -> None:
    conductor = on_redis.start(conductor__processes=2)
    held = on_redis.post("steps", hold=2, gate=on_redis.gate())
    on_redis.started("step2")
    redis.kill()
    waiting = on_redis.post_many("quick", count=5)  # posting works all the same
    on_redis.until(lambda: "not kept in time" in conductor.log, "the lease is given up")
    on_redis.open(on_redis.gate())
    on_redis.in_state(held, JobState.SUSPENDED)
    redis.start()
    on_redis.succeeded(held, *waiting, within=15)
    on_redis.check_evidence([held, *waiting])
    assert len(on_redis.evidence(job=held, what="start")) == 3
    assert conductor.log.count("claiming jobs: The job board") <= 2 * 2, (
        conductor.tail()
    )  # said once, not each second


def test_redis_forgets_everything(on_redis: Cluster, redis: RedisServer) -> None:
    """What runs goes on with the same owner; what waited is posted again."""
    conductor = on_redis.start(conductor__jobs=2)
    held = [on_redis.post("steps", hold=2, gate=on_redis.gate()) for _ in range(2)]
    for job_id in held:
        on_redis.started("step2", job=job_id)
    waiting = on_redis.post_many("steps", count=5)
    with redis.client() as client:
        client.flushall()
    on_redis.until(lambda: "are claimed again" in conductor.log, "the running jobs are claimed again")
    on_redis.until(
        lambda: on_redis.context.board.known(waiting) == set(waiting), "the others are posted again"
    )
    on_redis.open(on_redis.gate())
    on_redis.succeeded(*held, *waiting)
    assert [len(on_redis.owner_changes(job_id)) for job_id in held] == [1, 1], conductor.tail()
    assert len(on_redis.evidence(what="start")) == 7 * 3
    on_redis.check_evidence([*held, *waiting])


def test_redis_forgets_while_another_conductor_has_room(on_redis: Cluster, redis: RedisServer) -> None:
    """Whoever is quicker, the job ends once."""
    on_redis.start("alice")
    on_redis.start("bob")
    ids = [on_redis.post("steps", hold=2, gate=on_redis.gate()) for _ in range(4)]
    for job_id in ids:
        on_redis.started("step2", job=job_id)
    with redis.client() as client:
        client.flushall()
    on_redis.until(lambda: on_redis.context.board.count().claimed == 4, "all are claimed again")
    on_redis.open(on_redis.gate())
    on_redis.succeeded(*ids)
    on_redis.check_evidence(ids)


def test_a_redis_that_hangs_does_not_keep_a_conductor_from_leaving(
    on_redis: Cluster, redis: RedisServer
) -> None:
    conductor = on_redis.start(conductor__processes=2, conductor__grace=1.0)
    on_redis.post("steps", hold=2, gate=on_redis.gate())
    on_redis.started("step2")
    redis.pause()
    conductor.signal(signal.SIGTERM)
    began = time.monotonic()
    assert conductor.wait(15) == 0, conductor.tail()
    assert time.monotonic() - began < 10
    redis.resume()


def test_redis_is_away_at_the_start(on_redis: Cluster, redis: RedisServer) -> None:
    redis.stop()
    job_id = on_redis.post("quick")
    conductor = on_redis.start(ready=False)
    on_redis.until(lambda: "tried again until" in conductor.log, "it says what it waits for")
    assert conductor.process.poll() is None
    redis.start()
    on_redis.succeeded(job_id)


def test_redis_is_away_at_the_start_with_once(on_redis: Cluster, redis: RedisServer) -> None:
    redis.stop()
    conductor = on_redis.start(once=True)
    assert conductor.wait() == 75, conductor.tail()


def test_a_board_of_another_store_is_refused(on_redis: Cluster, tmp_path: Path) -> None:
    on_redis.succeeded(on_redis.post("quick")) if on_redis.start() else None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with cluster(
        elsewhere, store_url=f"sqlite:///{elsewhere}/other", board_url=on_redis.config.board_url
    ) as other:
        conductor = other.start(ready=False)
        assert conductor.wait() == 2, conductor.tail()
        assert "belongs to the database" in conductor.log


def test_sql_is_away_for_a_while(
    tmp_path: Path, private_mariadb: Callable[..., MariaDbServer], redis_url: str
) -> None:
    mariadb = private_mariadb()
    with cluster(tmp_path, store_url=mariadb.create_database(), board_url=redis_url, lease=3.0) as found:
        conductor = found.start(conductor__processes=2)
        held = [found.post("steps", hold=2, gate=found.gate()) for _ in range(3)]
        for job_id in held:
            found.started("step2", job=job_id)
        waiting = found.post_many("steps", count=20, hold=1, gate=found.gate())
        mariadb.stop()
        found.open(found.gate())
        found.until(
            lambda: len({line.job for line in found.evidence(atom="step2", what="end")} & set(held)) == 3,
            "the tasks ended while SQL was away",
        )
        assert not found.evidence(job=held[0], atom="step3"), (
            "no atom starts before its predecessor is recorded"
        )
        mariadb.start()
        found.succeeded(*held, *waiting)
        for job_id in held:
            assert [line.atom for line in found.evidence(job=job_id, what="start")] == [
                "step1",
                "step2",
                "step3",
            ]
        found.check_evidence([*held, *waiting])
        assert conductor.process.poll() is None
