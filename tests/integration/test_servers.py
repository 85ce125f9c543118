"""The servers of the tests themselves: they start, answer, break, come back, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pymysql
import pytest
import redis
from sqlalchemy import create_engine, text

from tests.support.servers import (
    MariaDbServer,
    PostgresServer,
    RedisServer,
    ReservedPort,
    Server,
    ServerNotReady,
)

DEADLINE_SECONDS = 20.0


@pytest.fixture(
    params=[
        "redis",
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ]
)
def server(request: pytest.FixtureRequest) -> Server:
    settings = {"appendonly": True} if request.param == "redis" else {}
    started: Server = request.getfixturevalue(f"private_{request.param}")(**settings)
    return started


def write(server: Server, value: str) -> None:
    if isinstance(server, RedisServer):
        with server.client() as client:
            client.set("kept", value)
    elif isinstance(server, MariaDbServer | PostgresServer):
        if isinstance(server, MariaDbServer):
            server.execute("CREATE DATABASE IF NOT EXISTS kept")
        table = "kept.kept" if isinstance(server, MariaDbServer) else "kept"
        server.execute(f"CREATE TABLE {table} (value text)", f"INSERT INTO {table} VALUES ('{value}')")


def read(server: Server) -> str:
    if isinstance(server, RedisServer):
        with server.client() as client:
            return str(client.get("kept"))
    assert isinstance(server, MariaDbServer | PostgresServer)
    table = "kept.kept" if isinstance(server, MariaDbServer) else "kept"
    [(value,)] = server.execute(f"SELECT value FROM {table}")
    return str(value)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS:.0f} s: {what}"
        time.sleep(0.02)


def processes_in(directory: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and str(directory) in " ".join(process.info["cmdline"] or [])
    ]


def test_killed_server_comes_back_with_its_data(server: Server) -> None:
    write(server, "before")
    port, pid = server.port, server.pid
    server.kill()
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    server.start()
    assert (server.port, server.pid != pid) == (port, True)
    assert read(server) == "before"


def test_stopped_server_comes_back_with_its_data(server: Server) -> None:
    write(server, "before")
    server.stop()
    server.stop()
    assert not server.running
    server.restart()
    assert read(server) == "before"


def test_paused_server_keeps_its_port_but_does_not_answer(server: Server) -> None:
    server.pause()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.settimeout(0.3)
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert server.running
    server.resume()
    server.wait_until_ready()


def test_connections_outlive_a_pause(private_postgres: Callable[..., PostgresServer]) -> None:
    server = private_postgres()
    with server.connection() as connection:
        connection.execute("SET application_name = 'kept'")
        server.pause()
        server.resume()
        assert connection.execute("SHOW application_name").fetchall() == [("kept",)]


def test_closed_server_leaves_nothing(server: Server) -> None:
    write(server, "before")
    server.kill()
    server.start()
    assert processes_in(server.directory)
    server.close()
    assert processes_in(server.directory) == []
    assert not server.directory.exists()


@pytest.mark.parametrize("paused", [False, True])
def test_server_ends_with_the_process_that_it_belongs_to(server: Server, paused: bool) -> None:
    """A run that is killed cleans nothing up, so its servers' guards must."""
    kind, directory = type(server).__name__, server.directory.with_name(f"orphan-{server.directory.name}")
    script = f"""
import pathlib, signal, sys
from tests.support.servers import {kind}
server = {kind}(pathlib.Path({str(directory)!r}))
server.start()
if {paused}:
    server.pause()
print(server.pid, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert psutil.pid_exists(pid)
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not directory.exists(), "the guard removes the directory")
    wait_until(lambda: not processes_in(directory), "the guard ends as well")
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [(RedisServer, "no_such_setting"), (MariaDbServer, "no_such_setting"), (PostgresServer, "no_such")],
)
def test_server_that_does_not_start_shows_its_log(
    kind: type[Server], setting: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(f"private_{kind.kind}")  # for its way of telling that the programs are missing
    with pytest.raises(ServerNotReady, match=r"(?s)end of its log:.*no.such"):
        request.getfixturevalue(f"private_{kind.kind}")(**{setting: 1})


def test_shared_server_cannot_be_broken(redis_server: RedisServer) -> None:
    for harm in (redis_server.kill, redis_server.stop, redis_server.pause, redis_server.restart):
        with pytest.raises(RuntimeError, match="private_redis"):
            harm()
    assert redis_server.answers()


def test_each_test_gets_an_empty_database(redis_server: RedisServer) -> None:
    first, second = redis_server.create_database(), redis_server.create_database()
    assert first != second
    with redis.Redis.from_url(first) as mine, redis.Redis.from_url(second) as other:
        mine.set("key", "value")
        assert other.dbsize() == 0
        redis_server.drop_database(first)
        assert mine.dbsize() == 0


def test_store_url_is_a_database_to_write_to(store_url: str) -> None:
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (name VARCHAR(10))"))
        connection.execute(text("INSERT INTO things VALUES ('ä☃😀')"))
        assert connection.execute(text("SELECT name FROM things")).scalar_one() == "ä☃😀"
    engine.dispose()


def test_database_is_dropped_under_an_open_transaction(mariadb_server: MariaDbServer) -> None:
    url = mariadb_server.create_database()
    name = url.rpartition("/")[2]
    connection = mariadb_server.connection(database=name, autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE things (name INT)")
        cursor.execute("SELECT * FROM things")
        mariadb_server.drop_database(url)
        assert (name,) not in mariadb_server.execute("SHOW DATABASES")
        with pytest.raises(pymysql.err.OperationalError):
            cursor.execute("SELECT 1")


def test_redis_answers_on_its_unix_socket(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.unix_url) as client:
        assert client.ping()


def test_durable_settings(mariadb_server: MariaDbServer, postgres_server: PostgresServer) -> None:
    """What crash tests and measurements rest on."""
    assert mariadb_server.execute("SELECT @@innodb_flush_log_at_trx_commit") == [(1,)]
    assert postgres_server.execute("SHOW fsync") == [("on",)]


def test_reserved_ports_are_not_given_twice() -> None:
    held = [ReservedPort() for _ in range(20)]
    try:
        assert len({port.number for port in held}) == 20
        script = "from tests.support.servers import ReservedPort; print([ReservedPort().number for _ in range(50)])"
        others = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        assert not {port.number for port in held} & set(json.loads(others))
    finally:
        for port in held:
            port.release()
