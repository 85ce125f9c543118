"""Keeping an HTTP server alive for as long as its job runs."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from taskflow import task

from flows.builtin.support.lines import Lines
from flows.builtin.support.processes import GuardedProcess, Stream
from jobrunner import stopping

PORT_SECONDS = 15.0
"""How long to wait for a port that is taken: a server whose conductor died needs some seconds to end."""
READY_SECONDS = 20.0
_TICK_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_ANNOUNCEMENT = re.compile(r"Serving HTTP on .* port (\d+) ")
_OWN_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (asked for by a person)


class PortTaken(Exception):
    """Another program listens on the port."""


class ServerDied(Exception):
    """The server process ended by itself."""


class ServerNotReady(Exception):
    """The server process runs but does not answer."""


class Serve(task.Task):  # type: ignore[misc]
    """Serves ``directory`` until it is asked to stop; then raises Stopped, with the server gone and the port free.

    Never returns otherwise: a server that ends by itself is a failure, for the flow's retry to mend. Nothing is left
    to undo: the server ends with the task, and with the conductor's process if that is killed.
    """

    def execute(self, port: int = 8080, directory: str = ".", host: str = "127.0.0.1") -> None:
        self._said = ""
        root = Path(directory).resolve()
        if not root.is_dir():
            raise NotADirectoryError(
                f"cannot serve {root}: not a directory on this machine ({socket.gethostname()})"
            )
        self._wait_for_port(host, port)
        # -I: a file called http.py in the current directory must not become the server.
        command = [sys.executable, "-I", "-u", "-m", "http.server", str(port)]
        with GuardedProcess([*command, "--bind", host, "--directory", str(root)]) as process:
            server = Server(process, host)
            server.wait_until_ready()
            self._report(f"serving {root} at {server.url}")
            server.watch()

    def _wait_for_port(self, host: str, port: int) -> None:
        deadline = time.monotonic() + PORT_SECONDS
        while (problem := why_not_free(host, port)) is not None:
            if problem.errno != errno.EADDRINUSE:
                raise OSError(problem.errno, f"cannot listen on {host} port {port}: {problem.strerror}")
            if time.monotonic() >= deadline:
                raise PortTaken(
                    f"port {port} on {host} is taken by another program on {socket.gethostname()}; "
                    "stop that one, or post the job with another --port"
                )
            self._report(f"waiting for port {port}, which is taken")
            if stopping.wait_for_stop(_TICK_SECONDS):
                raise stopping.Stopped(f"stopped while waiting for port {port}")

    def _report(self, message: str) -> None:
        if message != self._said:
            self._said = message
            print(message)
            self.notifier.notify(task.EVENT_UPDATE_PROGRESS, {"progress": 0.0, "message": message})


class Server:
    """A running server process: what it says, whether it answers, until it ends."""

    def __init__(self, process: GuardedProcess, host: str) -> None:
        self._process = process
        self._host = _OWN_ADDRESS.get(host, host)
        self._lines: dict[Stream, Lines] = {"stdout": Lines(), "stderr": Lines()}
        self._last_line = ""
        self._port: int | None = None

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    def wait_until_ready(self) -> None:
        """Return once the server has said that it listens, and has answered a request.

        That *something* answers on the port is not enough: it could be another program that was quicker.
        """
        deadline = time.monotonic() + READY_SECONDS
        while self._port is None or not self._answers():
            self._step()
            if time.monotonic() >= deadline:
                raise ServerNotReady(
                    f"the server did not answer within {READY_SECONDS:g} s{self._last_words}"
                )

    def watch(self) -> NoReturn:
        """Pass on what the server says; raises ServerDied when it ends, Stopped when it is to be stopped."""
        while True:
            self._step()

    def _step(self) -> None:
        for stream, data in self._process.read(_TICK_SECONDS):
            self._hear(self._lines[stream].feed(data))
        if self._process.finished:
            for lines in self._lines.values():
                self._hear(lines.flush())
            raise ServerDied(f"the server process ended with code {self._process.code}{self._last_words}")
        if stopping.stop_requested():
            raise stopping.Stopped(f"the server was stopped: {stopping.stop_reason()}")

    def _hear(self, lines: list[str]) -> None:
        for line in lines:
            print(line)
            self._last_line = line.strip() or self._last_line
            announced = _ANNOUNCEMENT.match(line)
            if announced is not None:
                self._port = int(announced[1])

    def _answers(self) -> bool:
        assert self._port is not None
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("HEAD", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    @property
    def _last_words(self) -> str:
        return f": {self._last_line[-300:]}" if self._last_line else ""


def why_not_free(host: str, port: int) -> OSError | None:
    """Try to listen on the port the way the server will; None if that works."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as problem:
        return problem
    return None
