"""Servers that stop, freeze, and come back: what it costs, and that no call waits for ever."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from taskflow import states

from jobrunner.errors import NotStorable, StoreUnavailable
from jobrunner.model import JobState
from jobrunner.persistence.nodes import report_node
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from tests.support.journals import Stage, staged, until
from tests.support.servers import MariaDbServer, PostgresServer, Server

Start = Callable[..., Server]


@pytest.fixture(
    params=[
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ]
)
def server(request: pytest.FixtureRequest) -> MariaDbServer | PostgresServer:
    started: MariaDbServer | PostgresServer = request.getfixturevalue(f"private_{request.param}")()
    return started


@pytest.fixture
def url(server: Server) -> str:
    url = server.create_database()
    database = Database(url)
    upgrade(database)
    database.close()
    return url


@pytest.fixture
def stage(url: str) -> Iterator[Stage]:
    with staged(url, patience=60.0, answer_timeout=2.0) as stage:
        yield stage


def test_an_outage_costs_time_and_nothing_else(server: Server, stage: Stage) -> None:
    flows = [stage.flow() for _ in range(3)]
    server.kill()
    for recorded in flows:
        recorded.start()
    waiting = [threading.Thread(target=recorded.journal.barrier) for recorded in flows]
    for thread in waiting:
        thread.start()
    until(lambda: any(recorded.journal._on_its_way for recorded in flows))
    with pytest.raises(StoreUnavailable, match="not available"):
        stage.store.get(flows[0].job.id)
    assert all(thread.is_alive() for thread in waiting)
    server.start()
    for thread in waiting:
        thread.join(30)
    assert [stage.atom(recorded)["state"] for recorded in flows] == [states.RUNNING] * 3
    for recorded in flows:
        recorded.finish()
        recorded.journal.settle(Settlement(state=JobState.SUCCEEDED))
    assert set(stage.store.states([recorded.job.id for recorded in flows]).values()) == {JobState.SUCCEEDED}


def test_an_outage_longer_than_the_patience_fails_the_flow_and_later_ones_run(
    server: Server, stage: Stage
) -> None:
    recorded = stage.flow()
    stage.writer.patience = 0.5
    server.kill()
    recorded.start()
    with pytest.raises(StoreUnavailable, match="not available"):
        recorded.journal.barrier()
    with pytest.raises(StoreUnavailable):  # and at once from now on
        recorded.journal.barrier()
    server.start()
    again = stage.flow(job_id=recorded.job.id)
    assert again.job.epoch == 2
    again.start()
    again.journal.barrier()
    assert stage.atom(again)["state"] == states.RUNNING


def test_a_frozen_server_is_given_up(server: Server, stage: Stage) -> None:
    recorded = stage.flow()
    stage.writer.patience = 1.0
    began = time.monotonic()
    server.pause()
    try:
        recorded.start()
        with pytest.raises(StoreUnavailable):
            recorded.journal.barrier()
        with pytest.raises(StoreUnavailable):
            stage.store.get(recorded.job.id)
    finally:
        server.resume()
    assert time.monotonic() - began < 30
    assert stage.store.get(recorded.job.id).state is JobState.RUNNING


def test_connections_that_the_server_closed_meanwhile_cost_nothing(server: Server, stage: Stage) -> None:
    recorded = stage.flow()
    server.restart()
    recorded.start()
    recorded.journal.barrier()
    assert stage.atom(recorded)["state"] == states.RUNNING
    assert stage.post()


def test_after_a_failover_behind_the_same_address_the_next_write_reaches_the_new_primary(
    postgres_url: str,
) -> None:
    """A name or an address that moves: the old primary takes no writes, and leaves old connections as they are."""
    database = Database(postgres_url)
    upgrade(database)
    with contextlib.ExitStack() as several:
        for connection in [several.enter_context(database.engine.connect()) for _ in range(3)]:
            connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            connection.commit()
    with pytest.raises(StoreUnavailable, match="read-only"):
        report_node(database, "n1", "n1:1", started_ms=1, report={})
    report_node(database, "n1", "n1:1", started_ms=1, report={})
    database.close()


@pytest.mark.mariadb
def test_an_account_that_is_let_in_no_more_costs_time_and_nothing_else(private_mariadb: Start) -> None:
    """Somebody changes its password, and a moment later puts it right."""
    server = private_mariadb()
    assert isinstance(server, MariaDbServer)
    root = server.create_database()
    name = root.rpartition("/")[2]
    server.execute("CREATE USER ann@'%' IDENTIFIED BY 'one'", f"GRANT ALL ON {name}.* TO ann@'%'")
    url = root.replace("root@", "ann:one@")
    database = Database(url)
    upgrade(database)
    database.close()
    with staged(url, patience=60.0) as stage:
        recorded = stage.flow()
        server.execute("ALTER USER ann@'%' IDENTIFIED BY 'two'")
        for (connection,) in server.execute(
            "SELECT id FROM information_schema.processlist WHERE user = 'ann'"
        ):
            server.execute(f"KILL {connection}")
        with pytest.raises(StoreUnavailable, match="refuses"):
            stage.store.get(recorded.job.id)
        recorded.start()
        waiting = threading.Thread(target=recorded.journal.barrier)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        server.execute("ALTER USER ann@'%' IDENTIFIED BY 'one'")
        waiting.join(30)
        recorded.finish()
        recorded.journal.settle(Settlement(state=JobState.SUCCEEDED))
        assert stage.store.get(recorded.job.id).state is JobState.SUCCEEDED


def test_what_does_not_fit_a_small_packet_is_refused_and_not_tried_for_ever(private_mariadb: Start) -> None:
    server = private_mariadb(max_allowed_packet="1M")
    url = server.create_database()
    database = Database(url)
    upgrade(database)
    database.close()
    with staged(url, patience=5.0) as stage:
        recorded = stage.flow()
        recorded.start()
        with pytest.raises(NotStorable, match="too large"):
            recorded.finish(result="x" * 1_000_000)
        limit = recorded.journal.result_limit
        recorded.finish(result='"' * ((limit - 2) // 2))
        recorded.journal.barrier()
        assert len(stage.atom(recorded)["results"]) == limit
