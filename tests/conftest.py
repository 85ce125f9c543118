"""Fixtures of all tests: databases and boards on real servers, shared over a run's processes, or private and breakable.

=====================  =============================================================================================
``sqlite_url``         a new SQLite file
``mariadb_url``        a new database on the run's MariaDB; ``postgres_url`` on its PostgreSQL
``redis_url``          an empty database on the run's Redis
``store_url``          each of SQLite, MariaDB and PostgreSQL in turn
``redis_server`` ...   the run's own servers, for their other methods; they cannot be stopped or paused
``private_redis`` ...  starts a server for this test alone: ``private_redis(appendonly=True)``; kill, pause, restart it
``free_port``          a port on 127.0.0.1 that stays this test's
=====================  =============================================================================================
"""

from __future__ import annotations

import logging
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.servers import (
    BinaryMissing,
    MariaDbServer,
    PostgresServer,
    RedisServer,
    ReservedPort,
    Server,
    ServerRun,
)

AnyServer = TypeVar("AnyServer", bound=Server)


@pytest.fixture(autouse=True)
def _leave_no_log_handlers() -> Iterator[None]:
    """A command in the test's process sets up logging for itself: its stream is closed when the test is over."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in before and type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    root.setLevel(level)


RUN = pytest.StashKey[ServerRun]()
LEFT_OUT = "PostgreSQL tests are left out: its programs (Debian's package postgresql) are not installed"
DEBIAN_PACKAGES = {"redis": "redis-server", "mariadb": "mariadb-server"}
MARKERS = {"redis": "redis", "mariadb": "mariadb", "postgres": "postgresql"}


# The run's servers: opened by the controller, handed to its workers, closed when all of them are done


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background jobs ignore Ctrl-C, and what they start inherits that; tests interrupt commands by it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "thorough: takes long, or repeats on one more server: `make thorough`")
    for marker in MARKERS.values():
        config.addinivalue_line(
            "markers", f"{marker}: needs a real server of that kind (set by the fixtures in use)"
        )


def server_run(config: pytest.Config) -> ServerRun:
    if RUN not in config.stash:
        handed_over = getattr(config, "workerinput", {}).get("server_run")
        config.stash[RUN] = ServerRun(**handed_over) if handed_over else ServerRun.open()
    return config.stash[RUN]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:  # type: ignore[no-untyped-def]
    node.workerinput["server_run"] = server_run(node.config).handed_over()


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN in config.stash and not hasattr(config, "workerinput"):
        config.stash[RUN].close((RedisServer, MariaDbServer, PostgresServer))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the servers that they use, so that ``-m "not mariadb"`` is possible."""
    for item in items:
        for kind, marker in MARKERS.items():
            if {f"{kind}_server", f"private_{kind}"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = [
        report for report in terminalreporter.stats.get("skipped", []) if LEFT_OUT in str(report.longrepr)
    ]
    if left_out:
        terminalreporter.write_line(f"{LEFT_OUT} ({len(left_out)} of them)", yellow=True, bold=True)


@contextmanager
def binaries_needed(kind: str) -> Iterator[None]:
    """A missing server fails the test, but for PostgreSQL, whose absence the summary tells."""
    try:
        yield
        return
    except BinaryMissing as error:
        missing = str(error)
    if kind == PostgresServer.kind:
        pytest.skip(LEFT_OUT)
    pytest.fail(
        f"{missing}: install Debian's package {DEBIAN_PACKAGES[kind]}, or let bin/test do it", pytrace=False
    )


def shared(config: pytest.Config, kind: type[AnyServer]) -> AnyServer:
    with binaries_needed(kind.kind):
        return server_run(config).get(kind)


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> RedisServer:
    return shared(pytestconfig, RedisServer)


@pytest.fixture(scope="session")
def mariadb_server(pytestconfig: pytest.Config) -> MariaDbServer:
    return shared(pytestconfig, MariaDbServer)


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared(pytestconfig, PostgresServer)


# Something new for each test


WITHOUT_TLS = "?ssl_disabled=true"
"""Saves PyMySQL loading the machine's certificates for each connection: 25 ms of processor time."""


def fresh_database(server: Server) -> Iterator[str]:
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    yield from fresh_database(redis_server)


@pytest.fixture
def mariadb_url(mariadb_server: MariaDbServer) -> Iterator[str]:
    for url in fresh_database(mariadb_server):
        yield url + WITHOUT_TLS


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    yield from fresh_database(postgres_server)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobrunner.sqlite"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("mariadb", marks=pytest.mark.mariadb),
        pytest.param("postgres", marks=pytest.mark.postgresql),
    ]
)
def store_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def free_port() -> Iterator[int]:
    with ReservedPort() as port:
        yield port.number


# Servers to break


def private(config: pytest.Config, kind: type[AnyServer]) -> Iterator[Callable[..., AnyServer]]:
    run = Path(server_run(config).directory)
    with ExitStack() as stack:

        def start(**settings: Any) -> AnyServer:
            server = kind(run / f"private-{kind.kind}-{uuid.uuid4().hex[:8]}", **settings)
            stack.callback(server.close)
            with binaries_needed(kind.kind):
                server.start()
            return server

        yield start


@pytest.fixture
def private_redis(pytestconfig: pytest.Config) -> Iterator[Callable[..., RedisServer]]:
    yield from private(pytestconfig, RedisServer)


@pytest.fixture
def private_mariadb(pytestconfig: pytest.Config) -> Iterator[Callable[..., MariaDbServer]]:
    yield from private(pytestconfig, MariaDbServer)


@pytest.fixture
def private_postgres(pytestconfig: pytest.Config) -> Iterator[Callable[..., PostgresServer]]:
    yield from private(pytestconfig, PostgresServer)
