"""TCP proxies that can be cut: between each client and each server stands one.

What a proxy can do to the connections through it:

- ``cut``: all are reset, and new ones are reset as soon as they are made, until ``heal``.
- ``hold``: in one direction or both nothing passes any more; what is sent is kept. ``heal`` delivers it late, as a
  network does that was away for a moment, or resets the connections that kept something.
- ``cut_commits``: the next so many COMMITs reach the server, and instead of its answer the client gets a reset.

All proxies of a run share one thread with an event loop. Methods may be called from any thread and return when it is
done.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

TO_SERVER = "to_server"
TO_CLIENT = "to_client"
BOTH = (TO_SERVER, TO_CLIENT)

COMMIT = re.compile(rb"commit", re.IGNORECASE)
COMMITTING_S = 0.1
"""After a COMMIT's first answer the server has so long before the connection is reset: it may come after others."""
CALL_S = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Network:
    """The thread of all proxies of a run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._proxies: list[Proxy] = []
        self._thread.start()

    def proxy(self, port: int) -> Proxy:
        """A new proxy to ``port`` of this machine; it listens when this returns."""
        made = Proxy(self, port)
        self.call(made.listen)
        self._proxies.append(made)
        return made

    def call(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` in the loop's thread, and wait for it if it returns an awaitable."""

        async def run() -> Any:
            result = work()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(CALL_S)

    def close(self) -> None:
        """Close all proxies and end the thread. Closing twice is fine."""
        if self._loop.is_closed():
            return
        for proxy in self._proxies:
            self.call(proxy.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S)
        self._loop.close()


class Proxy:
    """One way to a server."""

    def __init__(self, network: Network, target: int) -> None:
        self._network = network
        self.target = target
        self.port = 0
        self.links: set[Link] = set()
        self.is_cut = False
        self.held: frozenset[str] = frozenset()
        self.commits_to_cut = 0
        self.commits_cut = 0
        """How many COMMITs never got their answers."""
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: ClientEnd(Link(self)), "127.0.0.1", 0, backlog=200)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self.links):
            link.reset()
        await asyncio.sleep(0)

    # Faults, from any thread

    def cut(self) -> None:
        """Reset all connections, and new ones, until :meth:`heal`."""
        self._network.call(self._cut)

    def hold(self, *directions: str) -> None:
        """Let nothing pass in these directions until :meth:`heal`."""
        self._network.call(lambda: self._hold(frozenset(directions)))

    def cut_commits(self, times: int = 1) -> None:
        """Reset the connections of the next COMMITs when the server has answered; its answer is dropped."""
        self.commits_to_cut += times

    def heal(self, *, late: bool = True) -> None:
        """Let everything pass again.

        :param late: deliver what was held; else the connections that kept something are reset
        """
        self._network.call(lambda: self._heal(late))

    # The same, in the loop's thread

    def _cut(self) -> None:
        self.is_cut = True
        for link in list(self.links):
            link.reset()

    def _hold(self, directions: frozenset[str]) -> None:
        self.held = directions

    def _heal(self, late: bool) -> None:
        self.is_cut = False
        self.held = frozenset()
        self.commits_to_cut = 0
        for link in list(self.links):
            if not late and link.keeps_something():
                link.reset()
            else:
                link.deliver()


class Link:
    """One connection through a proxy: an end at the client and an end at the server."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._ends: dict[str, asyncio.Transport] = {}
        self._kept: dict[str, list[bytes]] = {TO_SERVER: [], TO_CLIENT: []}
        self._closing: set[str] = set()
        self._last_bytes = b""
        self._commit_under_way = False
        self._connecting: asyncio.Task[None] | None = None

    # Its life

    def opened(self, client: asyncio.Transport) -> None:
        self._proxy.links.add(self)
        self._ends[TO_CLIENT] = client
        _without_delay(client)
        if self._proxy.is_cut:
            self.reset()
            return
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            server, _ = await loop.create_connection(lambda: ServerEnd(self), "127.0.0.1", self._proxy.target)
        except OSError:
            self.reset()
            return
        if self not in self._proxy.links:
            _reset(server)
            return
        self._ends[TO_SERVER] = server
        _without_delay(server)
        self.deliver()

    def reset(self) -> None:
        """End it at once, on both sides; resetting twice is fine."""
        self._proxy.links.discard(self)
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()  # a server that hangs takes no connection, and refuses none
        for end in self._ends.values():
            _reset(end)

    def ended(self, direction: str) -> None:
        """The side that sends in ``direction`` has nothing more to say: the other is told, after what is kept."""
        self._closing.add(direction)
        self.deliver()

    # What passes

    def received(self, direction: str, data: bytes) -> None:
        if self._commit_under_way and direction == TO_CLIENT:
            asyncio.get_running_loop().call_later(COMMITTING_S, self.reset)
            return
        self._kept[direction].append(data)
        self.deliver()

    def keeps_something(self) -> bool:
        return any(self._kept.values()) or bool(self._closing)

    def deliver(self) -> None:
        """Pass on what may pass."""
        for direction in BOTH:
            end = self._ends.get(direction)
            if end is None or direction in self._proxy.held:
                continue
            for data in self._kept[direction]:
                if direction == TO_SERVER:
                    self._look_for_commit(data)
                if not end.is_closing():
                    end.write(data)
            self._kept[direction].clear()
            if direction in self._closing:
                end.close()

    def _look_for_commit(self, data: bytes) -> None:
        wanted = self._proxy.commits_to_cut > 0 and not self._commit_under_way
        if wanted and COMMIT.search(self._last_bytes + data):
            self._proxy.commits_to_cut -= 1
            self._proxy.commits_cut += 1
            self._commit_under_way = True
        self._last_bytes = data[-(len("commit") - 1) :]


class ClientEnd(asyncio.Protocol):
    """The end at which the client is."""

    sends = TO_SERVER

    def __init__(self, link: Link) -> None:
        self.link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.link.opened(transport)

    def data_received(self, data: bytes) -> None:
        self.link.received(self.sends, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.link.ended(self.sends)
        else:
            self.link.reset()


class ServerEnd(ClientEnd):
    """The end at which the server is."""

    sends = TO_CLIENT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The link takes it up itself."""


def _without_delay(end: asyncio.Transport) -> None:
    end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reset(end: asyncio.Transport) -> None:
    """Close an end so that the other side gets a reset, not an end."""
    if not end.is_closing():
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    end.abort()
