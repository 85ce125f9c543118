"""A relay between a client and its server: counts round trips, and loses answers."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType

STEP_S = 0.05


class Relay:
    """Passes bytes on, over TCP, to ``(host, port)``.

    ``trips`` counts how often the client began to speak after it was answered.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(STEP_S)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._live: list[socket.socket] = []
        self._to_lose: list[bytes] = []
        self.trips = 0

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def lose_answers_to(self, words: bytes, *, times: int = 1) -> None:
        """Do not pass on the answers to what the client says next with these words: the server has heard it, and the
        connection is gone.
        """
        self._to_lose = [words] * times

    @property
    def still_to_lose(self) -> int:
        return len(self._to_lose)

    def lead_to(self, host: str, port: int) -> None:
        """New connections go there; those that there are stay where they are."""
        self._target = (host, port)

    def cut(self) -> None:
        """Close all connections, as a server that ends does; new ones are passed on."""
        for live in self._live:
            _shut(live)

    def __enter__(self) -> Relay:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            server = socket.create_connection(self._target)
            for one in (client, server):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._live += [client, server]
            thread = threading.Thread(target=self._pass_on, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        asked, losing = False, False
        try:
            while not self._over.is_set():
                ready, _, _ = select.select([client, server], [], [], STEP_S)
                if client in ready:
                    said = client.recv(1 << 16)
                    if not said:
                        return
                    self.trips += not asked
                    asked = True
                    losing = losing or any(words in said for words in self._to_lose)
                    server.sendall(said)
                elif server in ready:
                    answer = server.recv(1 << 16)
                    if not answer:
                        return
                    asked = False
                    if losing:
                        self._to_lose.pop()
                        return
                    client.sendall(answer)
        except OSError:
            return  # cut, or one side is gone: so is the other
        finally:
            for one in (client, server):
                _shut(one)
                one.close()


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was closed already
        one.shutdown(socket.SHUT_RDWR)
