"""The job type that serves a directory over HTTP."""

from __future__ import annotations

from pathlib import Path

from taskflow import retry
from taskflow.patterns import linear_flow

from flows.builtin.simple_http_webserver.tasks import Serve
from jobrunner import job

HIGHEST_PORT = 65535


@job(capabilities={"port_is_free"})
def simple_http_webserver(
    port: int = 8080, directory: Path = Path("."), host: str = "127.0.0.1", attempts: int = 5
) -> linear_flow.Flow:
    """Serve a directory over HTTP until the job is cancelled.

    The server is a process of its own. If it dies it is started again; if its conductor dies, another one takes over.

    Args:
        port: the port to listen on; 0 for any free one, which the job's progress and log tell
        directory: what to serve
        host: the address to listen on; 0.0.0.0 for all of the machine's
        attempts: how often the server is started before the job fails
    """
    if not 0 <= port <= HIGHEST_PORT:
        raise ValueError(f"port: {port} is not between 0 and {HIGHEST_PORT}")
    if attempts < 1:
        raise ValueError(f"attempts: {attempts} is less than 1")
    restart = retry.Times(attempts, name="restart")
    return linear_flow.Flow("simple_http_webserver", retry=restart).add(Serve("serve"))
