"""Ports for servers that tests start, stop, and start again."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType

FIRST_PORT = 15000


class ReservedPort:
    """A TCP port on 127.0.0.1 that no other test process takes, also while nothing listens on it.

    It lies below the ephemeral range: a port inside it could be taken as the source port of any client while the
    server is down, and a client that connects to a free ephemeral port of its own machine can even reach itself.
    The reservation is an abstract socket's name, which the kernel gives back when the process ends.
    """

    def __init__(self) -> None:
        for port in random.sample(range(FIRST_PORT, _first_ephemeral_port()), k=1000):
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(f"\0jobrunner-tests-port-{port}")
            except OSError:
                claim.close()
                continue
            if _is_free(port):
                self.number = port
                # A bare descriptor: a shared server's port is held to the end of the process, without a warning.
                self._claim = claim.detach()
                return
            claim.close()
        raise RuntimeError(f"no free port between {FIRST_PORT} and {_first_ephemeral_port()} in 1000 tries")

    def release(self) -> None:
        """Give the port back; releasing twice is fine."""
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    def __enter__(self) -> ReservedPort:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.release()


def _first_ephemeral_port() -> int:
    with suppress(OSError):
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if low > FIRST_PORT + 1000:
            return low
    return 32768


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Servers set it as well: connections of a server before, in TIME_WAIT, do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
