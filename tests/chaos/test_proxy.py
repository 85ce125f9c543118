"""Proxies cut, hold and heal as they say; a COMMIT without an answer is a COMMIT all the same."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator

import psycopg
import pymysql
import pytest

from tests.chaos.proxy import BOTH, TO_CLIENT, TO_SERVER, Network, Proxy
from tests.support.servers import MariaDbServer, PostgresServer

PATIENCE_S = 10.0
SILENCE_S = 0.2


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets, and remembers it."""

    def handle(self) -> None:
        while data := self.request.recv(4096):
            self.server.heard.append(data)  # type: ignore[attr-defined]
            self.server.arrived.set()  # type: ignore[attr-defined]
            self.request.sendall(data.upper())


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.heard: list[bytes] = []
        self.arrived = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections are reset here on purpose."""


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture
def proxy(network: Network, echo: EchoServer) -> Proxy:
    return network.proxy(echo.server_address[1])


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S)


def says_nothing(client: socket.socket) -> bool:
    client.settimeout(SILENCE_S)
    try:
        return not client.recv(100)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE_S)


def test_passes_both_ways(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"HELLO"


def test_an_end_of_one_side_reaches_the_other(proxy: Proxy, echo: EchoServer) -> None:
    with connect(proxy) as client:
        client.sendall(b"last words")
        assert client.recv(100) == b"LAST WORDS"
    with connect(proxy) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"AGAIN"
    assert echo.heard == [b"last words", b"again"]


def test_a_cut_resets_connections_and_new_ones_until_healed(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"a")
        assert client.recv(100) == b"A"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with pytest.raises(ConnectionResetError), connect(proxy) as late:
        late.recv(100)
    proxy.heal()
    with connect(proxy) as client:
        client.sendall(b"b")
        assert client.recv(100) == b"B"


def test_what_is_held_comes_late(proxy: Proxy, echo: EchoServer) -> None:
    with connect(proxy) as client:
        proxy.hold(*BOTH)
        client.sendall(b"held")
        assert says_nothing(client)
        assert echo.heard == []
        proxy.heal(late=True)
        assert client.recv(100) == b"HELD"


def test_what_is_held_is_lost_with_its_connection(proxy: Proxy, echo: EchoServer) -> None:
    with connect(proxy) as client:
        proxy.hold(*BOTH)
        client.sendall(b"held")
        assert says_nothing(client)
        proxy.heal(late=False)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert echo.heard == []


def test_holds_answers_alone(proxy: Proxy, echo: EchoServer) -> None:
    with connect(proxy) as client:
        proxy.hold(TO_CLIENT)
        client.sendall(b"one way")
        assert echo.arrived.wait(PATIENCE_S)
        assert says_nothing(client)
        proxy.heal()
        assert client.recv(100) == b"ONE WAY"


def test_holds_questions_alone(proxy: Proxy, echo: EchoServer) -> None:
    with connect(proxy) as client:
        proxy.hold(TO_SERVER)
        client.sendall(b"one way")
        assert says_nothing(client)
        assert echo.heard == []
        proxy.heal()
        assert client.recv(100) == b"ONE WAY"


def test_a_server_that_is_not_there_resets(network: Network, free_port: int) -> None:
    with pytest.raises(ConnectionResetError), connect(network.proxy(free_port)) as client:
        client.recv(100)


@pytest.mark.parametrize("words", [b"COMMIT", b"update x; commit", b"Commit Prepared"])
def test_a_commit_arrives_and_its_answer_does_not(proxy: Proxy, echo: EchoServer, words: bytes) -> None:
    proxy.cut_commits()
    with connect(proxy) as client, connect(proxy) as other:
        client.sendall(b"select")
        assert client.recv(100) == b"SELECT"
        client.sendall(words)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        other.sendall(b"commit")  # one was to be cut, not two
        assert other.recv(100) == b"COMMIT"
    assert words in echo.heard
    assert proxy.commits_cut == 1


def test_a_commit_in_two_pieces_is_found(proxy: Proxy, echo: EchoServer) -> None:
    proxy.cut_commits()
    with connect(proxy) as client:
        client.sendall(b"com")
        assert client.recv(100) == b"COM"
        client.sendall(b"mit")
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_mariadb_commits_though_nobody_hears_of_it(network: Network, mariadb_server: MariaDbServer) -> None:
    url = mariadb_server.create_database()
    name = url.rpartition("/")[2]
    proxy = network.proxy(mariadb_server.port)
    mariadb_server.execute(f"CREATE TABLE {name}.t (n INT)")
    with mariadb_server.connection(port=proxy.port, autocommit=False, database=name) as client:
        with client.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1)")
        proxy.cut_commits()
        with pytest.raises(pymysql.err.OperationalError):
            client.commit()
    assert mariadb_server.execute(f"SELECT n FROM {name}.t") == [(1,)]
    mariadb_server.drop_database(url)


def test_postgresql_commits_though_nobody_hears_of_it(
    network: Network, postgres_server: PostgresServer
) -> None:
    proxy = network.proxy(postgres_server.port)
    postgres_server.execute("CREATE TABLE proxied (n INT)")
    client = postgres_server.connection(port=proxy.port, autocommit=False)
    client.execute("INSERT INTO proxied VALUES (1)")
    proxy.cut_commits()
    with pytest.raises(psycopg.OperationalError):
        client.commit()
    client.close()
    assert postgres_server.execute("SELECT n FROM proxied") == [(1,)]
    postgres_server.execute("DROP TABLE proxied")
