"""What a post costs on the way to the database, and connections that died between two uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from jobrunner.config import Config
from jobrunner.errors import StoreUnavailable
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.model import CancelMode, JobState, Posting
from jobrunner.persistence.ownership.beginning import begin
from jobrunner.persistence.ownership.ownership import request_cancels
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server import pooling
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store
from jobrunner.persistence.tables import events, jobs
from tests.support.relay import Relay
from tests.support.servers import MariaDbServer

OWNER = "alice:1:aa/0.bb"
COMMIT = {"mysql": b";\nCOMMIT", "postgresql": b"COMMIT\0"}
"""How the end of a transaction looks on the wire, with all that was sent before it."""

on_servers = pytest.mark.parametrize(
    "ready_url",
    [
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ],
    indirect=True,
)


@pytest.fixture
def relay(ready_url: str) -> Iterator[Relay]:
    url = sa.make_url(ready_url)
    assert url.port is not None
    with Relay(url.host or "127.0.0.1", url.port) as relay:
        yield relay


@pytest.fixture
def relayed(ready_url: str, relay: Relay) -> Iterator[Store]:
    url = sa.make_url(ready_url).set(host="127.0.0.1", port=relay.port)
    database = Database(url.render_as_string(hide_password=False), pool_size=1)
    yield Store(database)
    database.close()


def post(store: Store, key: str | None = None) -> str:
    ((job_id, _),) = store.insert([Posting(type="made_up", idempotency_key=key)], now_ms=1_000)
    return job_id


def rows(store: Store, table: sa.Table) -> int:
    with store.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


@on_servers
def test_a_post_is_one_round_trip(relayed: Store, relay: Relay) -> None:
    post(relayed)
    before = relay.trips
    for _ in range(10):
        post(relayed)
    assert relay.trips - before <= (10 if relayed.database.dialect == "mysql" else 30)


@on_servers
def test_a_batch_is_one_round_trip(relayed: Store, relay: Relay) -> None:
    post(relayed)
    before = relay.trips
    relayed.insert([Posting(type="made_up")] * 100, now_ms=1_000)
    portions = 1 if relayed.database.dialect == "mysql" else 20  # psycopg sends as it goes
    assert relay.trips - before <= portions
    assert rows(relayed, jobs) == rows(relayed, events) == 101


@on_servers
@pytest.mark.parametrize("mode", CancelMode)
def test_cancelling_many_takes_no_more_than_cancelling_few(
    relayed: Store, relay: Relay, mode: CancelMode
) -> None:
    ids = [job_id for job_id, _ in relayed.insert([Posting(type="made_up")] * 100, now_ms=1_000)]
    begin(relayed.database, ids[:20], owner=OWNER, node="alice")
    trips = []
    for some in (ids[15:25], ids[:15] + ids[25:]):
        before = relay.trips
        done = request_cancels(relayed.database, some, mode)
        trips.append(relay.trips - before)
        assert sum(state is JobState.CANCELLED for state, _ in done.values()) == len(
            set(some) - set(ids[:20])
        )
    assert trips[1] <= trips[0] + (
        0 if relayed.database.dialect == "mysql" else 8
    )  # psycopg sends as it goes


@on_servers
def test_waiting_for_many_that_have_ended_takes_no_more_than_for_few(relayed: Store, relay: Relay) -> None:
    ids = [job_id for job_id, _ in relayed.insert([Posting(type="made_up")] * 100, now_ms=1_000)]
    request_cancels(relayed.database, ids, CancelMode.KEEP)
    context = JobContext(Config(), relayed.database, _not_needed, _not_needed)
    trips = []
    for some in (ids[:10], ids[10:]):
        seen: list[str] = []
        before = relay.trips
        look.wait(context, some, on_end=lambda job, seen=seen: seen.append(job.id))  # type: ignore[misc]
        trips.append(relay.trips - before)
        assert sorted(seen) == sorted(some)
    assert trips[1] == trips[0]


def _not_needed() -> Any:
    raise AssertionError("the store tells all")


@on_servers
def test_reading_needs_no_sign_of_life(relayed: Store, relay: Relay) -> None:
    job_id = post(relayed)
    relayed.get(job_id)
    before = relay.trips
    for _ in range(10):
        relayed.get(job_id)
    assert relay.trips - before <= (20 if relayed.database.dialect == "mysql" else 30)  # and BEGIN


@on_servers
def test_a_connection_that_was_not_used_for_long_is_tried_out(
    relayed: Store, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(relayed)
    monkeypatch.setattr(pooling, "PING_AFTER_S", 0.0)
    before = relay.trips
    post(relayed)
    assert relay.trips - before > 1


@on_servers
def test_connections_that_were_closed_meanwhile_are_replaced(relayed: Store, relay: Relay) -> None:
    post(relayed)
    relay.cut()
    job_id = post(relayed)
    relay.cut()
    assert relayed.get(job_id).id == job_id
    relay.cut()
    assert relayed.insert([Posting(type="made_up", idempotency_key="key")], now_ms=1)[0][1]
    assert rows(relayed, jobs) == 3


@on_servers
@pytest.mark.parametrize("key", [None, "key"])
def test_a_post_whose_answer_was_lost_is_one_job(relayed: Store, relay: Relay, key: str | None) -> None:
    post(relayed)
    relay.lose_answers_to(COMMIT[relayed.database.dialect])
    ((job_id, new),) = relayed.insert([Posting(type="made_up", idempotency_key=key)], now_ms=1_000)
    assert relay.still_to_lose == 0
    assert new
    assert relayed.get(job_id).id == job_id
    assert rows(relayed, jobs) == 2
    assert [event["kind"] for event in relayed.history(job_id)] == ["posted"]
    assert rows(relayed, events) == 2


@on_servers
def test_a_post_is_not_tried_for_ever(relayed: Store, relay: Relay) -> None:
    post(relayed)
    relay.lose_answers_to(COMMIT[relayed.database.dialect], times=3)
    with pytest.raises(StoreUnavailable, match="not available"):
        post(relayed)
    assert relay.still_to_lose == 1


@on_servers
def test_what_somebody_left_open_is_rolled_back(relayed: Store) -> None:
    pooled = relayed.database.engine.raw_connection()
    with pooled.cursor() as cursor:
        cursor.execute("DELETE FROM events")
        cursor.execute("INSERT INTO events (job_id, at_ms, kind, epoch, attempt) VALUES ('x', 1, 'y', 1, 1)")
    pooled.close()
    post(relayed)  # over the same connection, which commits
    assert rows(relayed, events) == 1


@on_servers
def test_a_write_needs_no_rollback(relayed: Store, relay: Relay) -> None:
    post(relayed)
    before = relay.trips
    for _ in range(10):
        with relayed.database.write() as connection:
            connection.execute(events.delete())
    relayed.database.retrying(lambda connection: connection.execute(events.delete()))
    assert relay.trips - before <= (22 if relayed.database.dialect == "mysql" else 33)  # and BEGIN


@on_servers
def test_a_failed_statement_leaves_nothing_open(relayed: Store) -> None:
    def fail(connection: sa.Connection) -> None:
        connection.execute(events.insert().values(job_id="x", at_ms=1, kind="y", epoch=1, attempt=1))
        connection.execute(sa.text("SELECT no_such_column FROM jobs"))

    post(relayed)
    with pytest.raises(sa.exc.DBAPIError, match="no_such_column"):
        relayed.database.retrying(fail)
    post(relayed)
    assert rows(relayed, events) == 2


def test_a_batch_fits_a_small_packet(private_mariadb: Callable[..., MariaDbServer]) -> None:
    server = private_mariadb(max_allowed_packet="1M")
    database = Database(server.create_database())
    upgrade(database)
    store = Store(database)
    for text, number in (("x", 6000), ("é" * 3000, 600), ("😀" * 60_000, 12)):
        before = rows(store, jobs)
        store.insert([Posting(type="made_up", parameters={"text": text})] * number, now_ms=1_000)
        assert rows(store, jobs) - before == number
    database.close()
