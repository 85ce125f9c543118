"""Real servers for tests: each on a port of its own, with a data directory of its own, never the machine's own.

Invariants:

* A server is a grandchild of the test run: between the two stands a guard (:mod:`.guard`) that ends the server and
  removes its directory as soon as the run is gone, however it went. Nothing outlives a run.
* A server is signalled through a pidfd, so a process that happens to have got the same id is never hit.
* Ports lie below the kernel's ephemeral range and stay reserved while their server is down, so a server that is
  killed and restarted finds its port free, and nobody else answers there meanwhile.
* Shared servers (one of a kind for a whole run, also over pytest-xdist's workers) are never stopped or paused by a
  test: their methods refuse. A test that breaks a server starts a private one.
"""

from __future__ import annotations

from tests.support.servers.mariadb import MariaDbServer
from tests.support.servers.ports import ReservedPort
from tests.support.servers.postgresql import PostgresServer
from tests.support.servers.process import BinaryMissing, Server, ServerNotReady
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.shared import ServerRun

__all__ = [
    "BinaryMissing",
    "MariaDbServer",
    "PostgresServer",
    "RedisServer",
    "ReservedPort",
    "Server",
    "ServerNotReady",
    "ServerRun",
]
